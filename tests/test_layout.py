"""In which layout lanes run on a CPU: by what a loss is made of, never by the clock."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd
from jaxgd.engines import gains


def cut(x):
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2)


def looped(x):
    return jax.lax.fori_loop(0, 3, lambda i, s: s + x[i] ** 2 * jnp.exp(-x[0]), 0.0)


LOSSES = {
    "elementwise": (lambda x: jnp.sum(x**2 - jnp.cos(x)), True),
    "with exp": (lambda x: jnp.sum(jnp.exp(-(x**2)) + x**2), False),
    "cut up": (cut, True),
    "cut up in a loop, with exp": (looped, True),
    "products of matrices": (lambda x: jnp.sum((jnp.eye(4, 3, dtype=x.dtype) @ x[:3]) ** 2), False),
}


@pytest.mark.parametrize(("loss", "expected"), LOSSES.values(), ids=LOSSES)
def test_the_layout_follows_from_the_jaxpr_and_changes_results_by_rounding_at_most(loss, expected):
    assert gains(jax.make_jaxpr(loss)(np.zeros(4, np.float32))) == expected
    starts = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    wide = gd.multistart(loss, starts, gd.Adam(0.01), 50, lanes=16)
    narrow = gd.multistart(loss, starts, gd.Adam(0.01), 50, lanes=3)  # too few for it
    np.testing.assert_allclose(wide.params, narrow.params, rtol=2e-5, atol=2e-6)
