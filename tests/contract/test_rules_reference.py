"""Every update rule against its NumPy reference, in float64: by hand and through descend."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import RATES, RULE_CASES, assert_close, quick_jit, reference, with_rate

import jaxgd as gd
from jaxgd.rules import canonical_rule

STEPS = 50
CURVATURE = np.logspace(-4, 2, 10)  # condition number 1e6
START = np.concatenate([np.linspace(2, -1, 10), np.resize([-1.2, 1.0], 10)])
each_rate = pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
each_rule = pytest.mark.parametrize("rule", RULE_CASES.values(), ids=RULE_CASES)


def split(x):
    return {"bowl": x[:10], "valley": x[10:]}


def joined(tree, axis=0):
    return np.concatenate([tree["bowl"], tree["valley"]], axis=axis)


def loss(params):
    """An ill-conditioned quadratic and Rosenbrock's valley: two problems in one run.

    Each rule treats them apart, but for a global norm.
    """
    x, y = params["bowl"], params["valley"]
    bowl = jnp.sum(CURVATURE * x**2) / 2
    return bowl + jnp.sum(10 * (y[1:] - y[:-1] ** 2) ** 2 + 0.1 * (1 - y[:-1]) ** 2)


def gradient(x):
    """The gradient of the loss, by hand."""
    y = x[10:]
    residual = y[1:] - y[:-1] ** 2
    valley = np.zeros_like(y)
    valley[1:] += 20 * residual
    valley[:-1] -= 40 * residual * y[:-1] + 0.2 * (1 - y[:-1])
    return np.concatenate([CURVATURE * x[:10], valley])


def reference_run(rule):
    """The iterates and the updates of the reference."""
    rule, x = reference(rule), START
    state, xs, us = rule.init(x), [x], []
    for _ in range(STEPS):
        u, state = rule.update(gradient(x), state, x)
        x = x + u
        xs.append(x)
        us.append(u)
    return np.stack(xs), np.stack(us)


def test_the_gradient_by_hand_is_that_of_the_loss():
    with jax.enable_x64(True):
        assert_close(joined(jax.grad(loss)(split(START))), gradient(START), 1e-14)


@each_rate
@each_rule
def test_by_hand(rule, rate):
    """The user's own loop, with gradients that JAX has not made."""
    rule = with_rate(rule, rate)
    _, expected = reference_run(rule)
    with jax.enable_x64(True):
        update = quick_jit(functools.partial(type(rule).update, canonical_rule(rule)))
        x, us = START, []
        state = rule.init(split(jnp.asarray(x)))
        for _ in range(STEPS):
            u, state = update(split(gradient(x)), state, split(x))
            us.append(joined(u))
            x = x + us[-1]
    for part in (slice(0, 10), slice(10, 20)):
        assert_close(np.stack(us)[:, part], expected[:, part], 1e-12)


@each_rate
@each_rule
def test_descend(rule, rate):
    rule = with_rate(rule, rate)
    expected, _ = reference_run(rule)

    def run(rule, x):
        return gd.descend(loss, x, rule, STEPS, record=gd.Record(params=True)).history

    with jax.enable_x64(True):
        # Compiled as users compile it, with all optimisations.
        history = jax.jit(run)(canonical_rule(rule), split(START))
        xs = joined(history.params, axis=1)
        for part in (slice(0, 10), slice(10, 20)):
            assert_close(xs[:, part], expected[:, part], 1e-12)
        assert_close(history.loss, [float(loss(split(np.float64(x)))) for x in expected], 1e-12)
        rates = [reference(rule).rate(t) for t in range(STEPS + 1)]
        if rates[0] is None:  # several rules, or none
            assert history.learning_rate is None
        else:
            assert_close(np.broadcast_to(history.learning_rate, STEPS + 1), rates, 1e-14)
