"""Every update rule through minimize: it converges, retraces nothing, and takes complex params."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import (
    RULE_CASES,
    assert_close,
    gradients,
    nearby,
    quick_jit,
    varied,
    walk,
    with_rate,
)

import jaxgd as gd
from jaxgd.rules import canonical_rule


@pytest.fixture(autouse=True)
def _quick_to_compile():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


each_rule = pytest.mark.parametrize("rule", RULE_CASES.values(), ids=RULE_CASES)


@each_rule
def test_converges_also_in_complex_params_and_numbers_retrace_nothing(rule):
    """A rate that falls from 1 to 0 suits every rule; its minimum at 0 suits a weight decay."""
    traces = []

    def loss(params):
        traces.append(1)
        real = jnp.sum(jnp.array([1.0, 0.5, 0.25]) * params["real"] ** 2)
        return (real + jnp.sum(jnp.abs(params["complex"]) ** 2)) / 2

    start = {"real": jnp.array([1.0, -0.6, 0.3]), "complex": jnp.array([0.5 - 0.8j, -0.2 + 0.1j])}
    rule = with_rate(rule, gd.CosineDecay(1.0, steps=1500))
    result = gd.minimize(loss, start, rule, max_steps=1500, keep="last")
    assert result.history.loss[0] > 0.8
    assert result.loss < 1e-5
    assert np.max(np.abs(result.params["complex"])) < 5e-3
    assert 1 <= len(traces) <= 3
    first = len(traces)
    for i in (1, 2):
        start = jax.tree.map(lambda leaf: 2 * leaf, start)
        other = varied(rule, nearby(i))
        again = gd.minimize(loss, start, other, max_steps=10 * i, keep="last")
        assert again.compile_seconds == 0
        assert len(traces) == first


@pytest.mark.promotion
@each_rule
def test_a_complex_descent_on_a_line_through_zero_is_the_real_one_turned(rule):
    """A rule looks at the magnitude of a complex number where it looks at that of a real one."""
    phase = np.exp(0.7j)
    with jax.enable_x64(True):
        rule, x, grads = canonical_rule(rule), np.linspace(-1, 1, 40), gradients()
        walked = quick_jit(walk)
        moves_anyway = walked(rule, 0 * x, 0 * grads)
        # Yogi's first moment begins at 1e-6, not on the line.
        off = 1e3 * float(np.max(np.abs(moves_anyway)))
        turned = walked(rule, phase * x, phase * grads)
        expected = phase * walked(rule, x, grads)
        np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-13 + off)


@pytest.mark.promotion
def test_a_linear_rule_sees_a_complex_number_as_its_two_parts():
    """Which rules are linear in the gradients is found by trying."""
    linear = []
    with jax.enable_x64(True):
        walked, x = quick_jit(walk), np.linspace(-1, 1, 40)
        a, b = gradients(), gradients(1)
        for name, case in RULE_CASES.items():
            rule = canonical_rule(case)
            parts = walked(rule, x, a), walked(rule, -2 * x, b)
            if np.allclose(walked(rule, -x, a + b), sum(parts), rtol=0, atol=1e-12):
                linear.append(name)
                together = walked(rule, x - 2j * x, a + 1j * b)
                assert_close(together, parts[0] + 1j * parts[1], 1e-13, name)
    assert {"GradientDescent", "Momentum", "Momentum-nesterov"} <= set(linear)


@pytest.mark.promotion
def test_complex_runs_of_linear_rules_are_those_of_stacked_parts():
    target = np.array([1 + 2j, -0.5 - 1j])

    def loss(z):
        return jnp.sum(jnp.abs(z - target) ** 2)

    def stacked(xy):
        return jnp.sum((xy - np.stack([target.real, target.imag])) ** 2)

    with jax.enable_x64(True):
        for rule in (gd.GradientDescent(0.1), gd.Momentum(0.1, nesterov=True)):
            z = gd.descend(loss, np.zeros(2, complex), rule, 20).params
            xy = gd.descend(stacked, np.zeros((2, 2)), rule, 20).params
            assert_close(z, xy[0] + 1j * xy[1], 1e-13)
