"""Lanes that do not fit into memory become fewer; in a process that may have no more of it."""

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

SCENE = """
import resource, sys, warnings
import jax, jax.numpy as jnp, numpy as np, jaxgd as gd

def loss(x):  # one of few numbers that needs megabytes
    waves = jnp.sin(x[:, None] * jnp.arange(1.0, 1e5, dtype=x.dtype)[None])
    return jnp.sum((waves @ waves.T / 1e5 - 0.3) ** 2)

starts = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)

def runs(lanes):
    one = jax.devices()[:1]
    return gd.multistart(loss, starts, gd.Adam(1e-6), 3, lanes=lanes, devices=one)

few = runs(2)  # so that all that is not of the lanes is there
there = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (there + 100 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    many = runs(int(sys.argv[1]))
assert len(said) == 1, said
print(said[0].message)
np.testing.assert_allclose(many.loss, few.loss, rtol=1e-4)
np.testing.assert_allclose(many.params, few.params, rtol=1e-4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel how much there is")
def test_lanes_that_do_not_fit_become_fewer_and_that_is_said_once():
    command = [sys.executable, "-c", SCENE, "48"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("lanes: 48 did not fit into memory; the runs were made in ")
