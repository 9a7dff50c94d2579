"""Where arrays lie, and JAX's own guards: neither may break a run."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd


def bowl(x):
    return jnp.sum((x - 1) ** 2)


GUARDS = {
    "nans": lambda: jax.debug_nans(True),
    "infs": lambda: jax.debug_infs(True),
    "transfers": lambda: jax.transfer_guard("disallow"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_guards_are_for_the_users_code(guard):
    x = jnp.zeros(2)
    with GUARDS[guard]():
        result = gd.minimize(bowl, x, gd.Adam(0.1), 100, stop=gd.Stop(xtol=0.0, ftol=0.0))
    assert result.loss < 1e-2
    assert np.isfinite(result.history.loss).all()


def test_descend_works_where_nans_are_an_error():
    with jax.debug_nans(True):
        result = jax.jit(lambda x: gd.descend(bowl, x, gd.Adam(0.1), 9))(jnp.zeros(2))
        eager = gd.descend(bowl, jnp.zeros(2), gd.Adam(0.1), 9)
    np.testing.assert_allclose(result.loss, eager.loss, rtol=1e-6)


ON_TWO_DEVICES = """
    import jax, jax.numpy as jnp, numpy as np, jaxgd as gd
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

    first, second = jax.devices()

    def bowl(x, scale=1.0):
        return jnp.sum(scale * (x - 1) ** 2)

    def run(x, steps=40, **options):
        return gd.minimize(bowl, x, gd.Adam(0.1), steps, **options)

    for record in (gd.Record(), gd.Record(params=True), None):
        plain = run(jnp.zeros(4), record=record)
        there = run(jax.device_put(jnp.zeros(4), second), record=record)
        assert there.params.devices() == {second}
        np.testing.assert_array_equal(there.params, plain.params)

    spread = NamedSharding(Mesh(np.array([first, second]), ("d",)), P("d"))
    x = jax.device_put(jnp.zeros(4), spread)
    seen = []
    whole = run(x, 40, callback=lambda info: seen.append(info))
    assert whole.params.sharding == spread, whole.params.sharding
    np.testing.assert_allclose(whole.params, plain.params, rtol=1e-6)
    np.testing.assert_array_equal(x, np.zeros(4))
    half = run(x, 20)
    rest = run(x, 40, state=half.state)
    np.testing.assert_array_equal(rest.params, whole.params)
    assert all(np.isfinite(info.params).all() for info in seen) and len(seen) > 2
    data = jax.device_put(jnp.ones(4), second)
    np.testing.assert_allclose(run(np.zeros(4), args=(data,)).params, plain.params)
"""


def test_arrays_stay_where_the_user_put_them():
    code = textwrap.dedent(ON_TWO_DEVICES)
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | two)
