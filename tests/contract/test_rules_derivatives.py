"""Hypergradients: each float of every rule and of its schedule, in both modes, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import (
    RULE_CASES,
    along_the_floats,
    assert_close,
    central_differences,
    decaying_rate,
    gradients,
    off_the_ends,
    quick_jit,
    varied,
    walk,
    with_rate,
)

import jaxgd as gd
from jaxgd.rules import canonical_rule

START = np.array([1.3, -0.7, 0.4])


def loss(x):
    """Smooth, not quadratic, with gradients that keep their signs for 20 steps from START."""
    return jnp.sum(jnp.array([1.0, 2.0, 0.5]) * jnp.log(jnp.cosh(x))) + 0.1 * x[0] * x[1]


def final_loss(rule):
    return gd.descend(loss, START, rule, 20, record=None).loss


each_rule = pytest.mark.parametrize("rule", RULE_CASES.values(), ids=RULE_CASES)


def check(function, rule):
    """Reverse mode against central differences, and forward mode against reverse mode."""
    value, floats = along_the_floats(function, canonical_rule(varied(rule, off_the_ends)))
    expected = central_differences(value, floats)
    reverse = quick_jit(jax.grad(value))(floats)
    assert_close(reverse, expected, 1e-5)
    # Small ones too, down to where differences see only the rounding of the value.
    np.testing.assert_allclose(reverse, expected, rtol=1e-5, atol=1e-7)
    direction = np.cos(np.arange(len(floats)))
    _, forward = quick_jit(lambda *at: jax.jvp(value, *at))((floats,), (direction,))
    assert_close(forward, direction @ reverse, 1e-10)


@each_rule
def test_the_loss_after_20_steps_is_differentiable_in_each_float(rule):
    """Those of the rule and those of its schedule."""
    with jax.enable_x64(True):
        check(final_loss, with_rate(rule, decaying_rate()))


@each_rule
def test_a_loop_of_ones_own_is_differentiable_in_each_float(rule):
    """With a plain number as the learning rate."""
    with jax.enable_x64(True):
        x, grads = np.linspace(-1, 1, 40), gradients()
        weights = gradients(1)
        check(lambda rule: jnp.sum(weights * walk(rule, x, grads)), rule)


@each_rule
def test_params_that_never_get_a_gradient_leave_the_hypergradient_finite(rule):
    """Roots and quotients of averages that stay zero: where() must not hide a NaN behind it."""

    def moved(rule):
        x = START.astype(jnp.result_type(float))
        state = rule.init(x)
        for g in (jnp.array([0.0, 1.0, -1.0]), jnp.array([0.0, 0.5, 0.0])):
            u, state = rule.update(g, state, x)
            x = x + u
        return jnp.sum(x)

    value, floats = along_the_floats(moved, canonical_rule(rule))
    assert np.all(np.isfinite(quick_jit(jax.grad(value))(floats)))


@each_rule
def test_where_no_gradient_is_left_the_hypergradient_is_finite(rule):
    """A run that reached the minimum: all gradients are 0, and with them their norm."""

    def moved(rule):
        return gd.descend(lambda x: jnp.sum((x - 1) ** 2), jnp.ones(3), rule, 3, record=None).loss

    value, floats = along_the_floats(moved, canonical_rule(rule))
    assert np.all(np.isfinite(quick_jit(jax.grad(value))(floats)))
