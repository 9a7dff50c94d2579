"""Every update rule in lanes: what it does alone, and what it does in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import RULE_CASES, reference
from reference_loop import reference as loop

import jaxgd as gd


@pytest.fixture(autouse=True)
def _quick_to_compile():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


CURVATURES = np.array([1.0, 0.4, 2.5])
STARTS = np.array([[2.9, -2.4, 3.1], [-2.2, 3.5, -2.6], [2.5, 2.8, 4.0], [3.0, -3.3, 2.3]])
# Nobody comes near the minimum, around which some rules make the smallest rounding grow.
STEPS = 200


def loss(x):
    """Smooth, with one minimum, and a gradient that NumPy writes down in a line."""
    return jnp.sum(jnp.asarray(CURVATURES, x.dtype) * jnp.log(jnp.cosh(x)))


def value(x, _t):
    return np.sum(CURVATURES * np.log(np.cosh(x)))


def slope(x, _t):
    return CURVATURES * np.tanh(x)


@pytest.mark.parametrize("rule", RULE_CASES.values(), ids=RULE_CASES)
def test_each_run_in_lanes_is_the_run_alone_and_the_loop_in_numpy(rule):
    """Three lanes for four runs: one of them is refilled."""
    with jax.enable_x64(True):
        runs = gd.multistart(loss, STARTS, rule, STEPS, lanes=3, keep="last")
    for i, start in enumerate(STARTS):
        expected = loop(value, slope, reference(rule), start, STEPS, keep="last")
        assert gd.Status(runs.status[i]).name == expected.status
        assert runs.steps[i] == expected.steps
        np.testing.assert_allclose(runs.params[i], expected.x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(runs.loss[i], expected.loss, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(runs.grad_norm[i], expected.grad_norm, rtol=1e-12, atol=1e-12)


FIRST = {type(rule).__name__: rule for rule in reversed(RULE_CASES.values())}


@pytest.mark.parametrize("rule", FIRST.values(), ids=FIRST)
def test_in_float32_each_run_in_lanes_is_the_run_alone(rule):
    """Whatever the number of lanes and the order of the starts."""
    starts = STARTS.astype(np.float32)
    turned = gd.multistart(loss, starts[::-1], rule, STEPS, lanes=8, keep="last")
    for one, start in zip(reversed(list(turned)), starts, strict=True):
        alone = gd.minimize(loss, start, rule, STEPS, keep="last", record=None)
        assert (one.status, one.steps) == (alone.status, alone.steps)
        np.testing.assert_allclose(one.params, alone.params, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(one.loss, alone.loss, rtol=1e-6, atol=1e-6)
