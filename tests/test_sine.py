"""Sine and cosine in strides: as accurate as they say, and never a wrong answer far from 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd
from jaxgd.engines.sine import FARTHEST, cosine, sine


@pytest.mark.parametrize(("ours", "exact"), [(sine, np.sin), (cosine, np.cos)])
@pytest.mark.parametrize("reach", [1.0, 4.0, 100.0, FARTHEST])
def test_they_are_accurate_to_what_they_say(ours, exact, reach):
    x = np.random.default_rng(0).uniform(-reach, reach, 200_000).astype(np.float32)
    x[:5] = 0.0, np.float32(np.pi), np.float32(np.pi / 2), -np.float32(np.pi), 1e-20
    error = np.asarray(jax.jit(ours)(x), np.float64) - exact(x.astype(np.float64))
    assert np.max(np.abs(error)) < 1.2e-7


def test_beyond_their_reach_they_say_so():
    far = jnp.float32([2 * FARTHEST, -1e30, np.inf, np.nan])
    assert np.isnan(sine(far)).all()
    assert np.isnan(cosine(far)).all()


@pytest.mark.parametrize("options", [{"keep": "last"}, {"stop": gd.Stop(gtol=1e-3)}])
def test_runs_that_go_far_are_made_by_the_functions_of_the_library(options):
    """Half of the starts are where the vector forms end, and are crossed by some of the runs."""

    def loss(x):
        return jnp.sum(jnp.sin(x) + 1e-4 * jnp.abs(x))

    starts = np.linspace(-2 * FARTHEST, 2 * FARTHEST, 12, dtype=np.float32)[:, None] + np.ones(3)
    starts[0] = FARTHEST + 0.3, FARTHEST - 0.3, 1.0
    starts = starts.astype(np.float32)
    fast = gd.multistart(loss, starts, gd.Adam(0.05), 80, **options)
    plain = gd.multistart(loss, starts, gd.Adam(0.05), 80, engine=gd.engines.Plain(), **options)
    assert fast.engine.startswith("cpu")
    np.testing.assert_array_equal(fast.status, plain.status)
    # A float32 of that size is a thousandth apart from its neighbour.
    np.testing.assert_allclose(fast.params, plain.params, atol=5e-3)
    np.testing.assert_allclose(fast.loss, plain.loss, atol=2e-3)


UNSEEN = {
    "a comparison": lambda x: jnp.where(jnp.sin(1e4 * x) > 0, 0.0, 1.0),
    "a sign": lambda x: jnp.sign(jnp.cos(1e4 * x)),
    "nan_to_num": lambda x: jnp.nan_to_num(jnp.sin(1e4 * x)),
    "a whole number": lambda x: (1e6 * jnp.sin(1e4 * x)).astype(jnp.int32).astype(jnp.float32),
}


@pytest.mark.float32
@pytest.mark.parametrize("what", UNSEEN)
def test_where_a_nan_would_go_unseen_there_are_no_polynomials(what):
    def loss(x):
        return jnp.sum((x - 3) ** 2) + jax.lax.stop_gradient(jnp.sum(UNSEEN[what](x)))

    starts = np.linspace(-2, 2, 16, dtype=np.float32)[:, None]
    record = gd.Record(params=True)
    runs = gd.multistart(loss, starts, gd.GradientDescent(0.05), 40, keep="last", record=record)
    assert runs.engine.startswith("cpu")
    expected = jax.vmap(jax.vmap(loss))(runs.history.params)
    np.testing.assert_allclose(runs.history.loss, expected, rtol=1e-4, atol=1e-4)
