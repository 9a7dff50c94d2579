"""Losses with a key: a fresh fold for every step, T rows, no final evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_rules
import pytest
from loop_cases import Case, assert_agrees, same_bits, untimed

import jaxgd as gd

CENTRE = np.array([1.0, -2.0, 0.5])
FULL = gd.Record(params=True)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def noisy(x, centre, *, key):
    noise = jax.random.normal(key, x.shape)
    return jnp.sum((x - centre - noise) ** 2) + jnp.sum(jnp.sqrt(x + 5))


class NoisyTwin:
    def __init__(self, key):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(200))
        draw = jax.vmap(lambda key: jax.random.normal(key, CENTRE.shape, jnp.float64))
        self.noise = np.asarray(draw(keys))

    def loss(self, x, t):
        return np.sum((x - CENTRE - self.noise[t]) ** 2) + np.sum(np.sqrt(x + 5))

    def grad(self, x, t):
        return 2 * (x - CENTRE - self.noise[t]) + 0.5 / np.sqrt(x + 5)


def oracle_of(key, rule, max_steps, stop=None, bounds=None):
    options = {"stop": stop, "bounds": bounds, "keep": "last", "stochastic": True}
    return Case(NoisyTwin(key), rule, np.zeros(3), max_steps, options).run()


def run(key, rule, max_steps, **options):
    options = {"record": FULL} | options
    return gd.minimize(noisy, np.zeros(3), rule, max_steps, args=(CENTRE,), key=key, **options)


STOPS = {
    "MAX_STEPS": (gd.Stop(), 7),
    "TARGET_REACHED": (gd.Stop(target=9.0, patience=2), 64),
    "CONVERGED_GRADIENT": (gd.Stop(gtol=0.9), 7),
    "CONVERGED_PARAMS": (gd.Stop(xtol=0.02, patience=2), 64),
}


@pytest.mark.parametrize("status", STOPS)
def test_a_stochastic_run_agrees_with_the_loop_in_numpy(status):
    stop, chunk = STOPS[status]
    ends = set()
    for seed in range(2):
        key = jax.random.key(seed)
        for max_steps in (0, 1, 7, 63, 64, 65, 129):
            rule, twin = gd.Adam(0.1), numpy_rules.Adam(0.1)
            result = run(key, rule, max_steps, stop=stop, engine=gd.engines.Plain(chunk))
            oracle = oracle_of(key, twin, max_steps, stop)
            if max_steps == 0:
                result = untimed(result, history=None)  # see the test of a run of no step
            assert_agrees(result, oracle, FULL if max_steps else None)
            if oracle.status == "MAX_STEPS":
                assert (result.evaluations, result.at_step) == (max_steps, max_steps)
                assert max_steps == 0 or len(result.history) == max_steps
            ends.add(oracle.status)
    assert status in ends


def test_a_run_of_no_step_returns_the_start_and_an_empty_history():
    result = run(jax.random.key(0), gd.Adam(0.1), 0)
    assert (result.steps, result.evaluations, result.status) == (0, 0, gd.Status.MAX_STEPS)
    assert np.isnan(result.loss)
    assert np.isnan(result.grad_norm)
    np.testing.assert_array_equal(result.params, np.zeros(3))
    assert len(result.history) == 0
    assert result.history.loss.shape == (0,)
    assert result.history.grad_norm.shape == (0,)
    assert result.history.params.shape == (0, 3)
    assert result.history.learning_rate.shape == (0,)


def test_it_fails_at_the_step_that_the_reference_fails_at():
    """Below -5 the loss is NaN; the rate is so high that some noise leads there."""
    ends = set()
    for seed in range(8):
        key = jax.random.key(seed)
        oracle = oracle_of(key, numpy_rules.GradientDescent(0.8), 130)
        assert_agrees(run(key, gd.GradientDescent(0.8), 130), oracle, FULL)
        ends.add(oracle.status)
    assert ends >= {"NON_FINITE"}


def test_bounds_hold_for_stochastic_runs_too():
    bounds = (np.array([-1.0, -1.0, -1.0]), np.array([0.5, 2.0, 2.0]))
    result = run(jax.random.key(1), gd.Momentum(0.05), 100, bounds=bounds)
    oracle = oracle_of(jax.random.key(1), numpy_rules.Momentum(0.05), 100, bounds=bounds)
    assert_agrees(result, oracle, FULL)
    assert np.any(np.asarray(result.history.params) == 0.5)


@pytest.mark.parametrize("steps", [0, 1, 130])
def test_descend_agrees_too(steps):
    jitted = jax.jit(
        lambda key, stop: gd.descend(
            noisy, np.zeros(3), gd.Adam(0.1), steps, args=(CENTRE,), key=key, stop=stop, record=FULL
        )
    )
    for stop in (gd.Stop(target=5.0, patience=2), gd.Stop(target=-1.0)):
        for seed in range(3):
            key = jax.random.key(seed)
            oracle = oracle_of(key, numpy_rules.Adam(0.1), steps, stop)
            assert_agrees(jitted(key, stop), oracle, FULL, rows=steps)


def test_the_default_is_to_keep_the_last():
    result = run(jax.random.key(0), gd.Adam(0.1), 50)
    assert (result.at_step, result.steps, result.evaluations) == (50, 50, 50)
    assert np.argmin(result.history.loss) < 49
    assert same_bits(result.loss, result.history.loss[-1])


@pytest.mark.parametrize("name", ["ftol", "frtol"])
@pytest.mark.parametrize("call", [gd.minimize, gd.descend])
def test_tests_that_compare_losses_are_errors(name, call):
    with pytest.raises(ValueError, match=name):
        call(
            noisy, np.zeros(3), gd.Adam(0.1), 5, args=(CENTRE,), key=jax.random.key(0),
            stop=gd.Stop(**{name: 1e-3}),
        )  # fmt: skip


@pytest.mark.parametrize("call", [gd.minimize, gd.descend])
def test_keeping_the_best_is_an_error(call):
    with pytest.raises(ValueError, match="keep"):
        call(
            noisy, np.zeros(3), gd.Adam(0.1), 5, args=(CENTRE,), key=jax.random.key(0), keep="best"
        )


def test_typed_and_raw_keys_are_the_same_run():
    typed = run(jax.random.key(7), gd.Adam(0.1), 100)
    raw = run(np.asarray(jax.random.PRNGKey(7)), gd.Adam(0.1), 100)
    for other in (raw, run(jax.random.key(7), gd.Adam(0.1), 100)):
        assert same_bits(untimed(other, state=None), untimed(typed, state=None))
    other = run(jax.random.key(8), gd.Adam(0.1), 100)
    assert not same_bits(other.params, typed.params)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_a_stochastic_run_in_two_parts_is_the_whole(make):
    rule = gd.Adam(gd.ExponentialDecay(0.1, rate=0.99))
    whole = run(make(3), rule, 130)
    for cut in (0, 1, 63, 64, 65, 129, 130):
        first = run(make(3), rule, cut)
        second = run(None if cut % 2 else make(3), rule, 130, state=first.state)
        for name in ("params", "at_step", "steps", "status"):
            assert same_bits(getattr(second, name), getattr(whole, name)), (cut, name)
        assert second.evaluations == 130 - cut
        if cut < 130:
            assert same_bits(second.loss, whole.loss)
            loss = [part.history.loss for part in (first, second) if len(part.history)]
            np.testing.assert_array_equal(np.concatenate(loss), whole.history.loss)


def test_aux_is_taken_with_a_key_as_well():
    def loss(x, *, key):
        noise = jax.random.normal(key, x.shape)
        return jnp.sum((x - noise) ** 2), {"x": x, "noise": noise}

    result = gd.minimize(loss, np.zeros(2), gd.Adam(0.1), 20, key=jax.random.key(0), has_aux=True)
    np.testing.assert_array_equal(result.aux["x"], result.params)
    assert result.aux["noise"].shape == (2,)
