"""Laws of every schedule, each variant of it, and NumPy references on drawn parameters."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import (
    SCHEDULE_CASES,
    along_the_floats,
    assert_close,
    central_differences,
    nearby,
    off_the_ends,
    quick_jit,
    reference,
    varied,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import jaxgd as gd
from jaxgd.canonical import canonical

STEPS = np.arange(201)


@pytest.fixture(scope="module", params=SCHEDULE_CASES.values(), ids=SCHEDULE_CASES)
def schedule(request):
    return request.param


def call(schedule, step):
    return schedule(step)


def call_at_all(schedule, steps):
    return jax.vmap(schedule)(steps)


compiled_at_all = quick_jit(call_at_all)
once = quick_jit(call)


def over_steps(schedule, steps):
    return np.asarray(compiled_at_all(canonical(schedule, "schedule"), steps))


def compare(schedule):
    """The schedule and its reference at all steps, in float64."""
    expected = [reference(schedule)(int(t)) for t in STEPS]
    with jax.enable_x64(True):
        rates = over_steps(schedule, STEPS)
        assert rates.dtype == np.float64
        np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-14 * max(expected))
    assert np.all(np.isfinite(rates))
    assert np.all(rates >= 0)


@pytest.mark.parametrize("i", range(4))
def test_agrees_with_the_reference(schedule, i):
    compare(varied(schedule, nearby(i)))


def drawn(data):
    """Change a number into one drawn from its range."""

    def whole(accepts, least):
        return data.draw(st.integers(max(least, int(accepts.at_least or 0)), 120))

    def change(field, value):
        accepts = field.metadata["number"]
        if accepts.rank and accepts.whole:
            size = len(value)
            return sorted(data.draw(st.sets(st.integers(0, 150), min_size=size, max_size=size)))
        if accepts.whole:
            return whole(accepts, 1 if accepts.above is not None else 0)
        low = accepts.above if accepts.above is not None else accepts.at_least
        top = accepts.below if accepts.below is not None else low + 2
        # Sixteenths: what is exact in binary leaves no doubt on which side of a jump a step is.
        entry = st.integers(int(accepts.above is not None), int((top - low) * 16) - 1)
        entries = [low + data.draw(entry) / 16 for _ in range(len(value) if accepts.rank else 1)]
        return entries if accepts.rank else entries[0]

    return change


# No shrinking: it takes minutes, and what is drawn has few digits already.
@settings(max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(data=st.data())
def test_agrees_with_the_reference_for_drawn_numbers(schedule, data):
    compare(varied(schedule, drawn(data)))


def test_is_finite_and_not_negative_far_beyond_its_length(schedule):
    for x64 in (False, True):
        with jax.enable_x64(x64):
            steps = np.concatenate([np.arange(400), [10**4, 10**6, 2**31 - 1]]).astype("int32")
            rates = over_steps(schedule, steps)
        assert rates.dtype == (np.float64 if x64 else np.float32)
        assert np.all(np.isfinite(rates))
        assert np.all(rates >= 0)


@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
def test_all_forms_of_a_step_agree(schedule, x64):
    with jax.enable_x64(x64):
        fine = 1e-12 if x64 else 1e-5
        for t in (0, 29, 61):
            rates = [schedule(form(t)) for form in (int, np.int64, jnp.int32, np.asarray)]
            rates += [once(schedule, form(t)) for form in (np.int32, jnp.int32)]
            assert {rate.dtype for rate in rates} == {np.dtype("float64" if x64 else "float32")}
            assert {rate.shape for rate in rates} == {()}
            assert not any(rate.weak_type for rate in rates)
            np.testing.assert_allclose(rates, rates[0], rtol=fine)


def test_vmap_over_steps_is_a_loop_over_them_without_jit_too(schedule):
    with jax.enable_x64(True):
        made = canonical(schedule, "schedule")
        loop = [once(made, t) for t in STEPS[::3]]
        np.testing.assert_allclose(over_steps(made, STEPS[::3]), loop, rtol=1e-12)
        with jax.disable_jit():
            eager = [call(made, int(t)) for t in STEPS[::40]]
        np.testing.assert_allclose([once(made, t) for t in STEPS[::40]], eager, rtol=1e-12)


def test_vmap_over_each_number_is_a_loop_and_traces_once(schedule):
    chex.clear_trace_counter()
    counted = quick_jit(chex.assert_max_traces(call_at_all, n=1))
    with jax.enable_x64(True):
        made = [canonical(varied(schedule, nearby(i)), "schedule") for i in range(3)]
        loop = [counted(one, STEPS) for one in made]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *made)
        together = quick_jit(jax.vmap(call_at_all, (0, None)))(stacked, STEPS)
        np.testing.assert_allclose(together, np.stack(loop), rtol=1e-12)
        assert not np.allclose(loop[0], loop[1])


def test_is_differentiable_in_each_float(schedule):
    with jax.enable_x64(True):
        made = canonical(varied(schedule, off_the_ends), "schedule")
        value, floats = along_the_floats(lambda s: jax.vmap(s)(jnp.asarray(STEPS)), made)
        expected = central_differences(value, floats)
        forward = quick_jit(jax.jacfwd(value))(floats).T
        assert np.all(np.isfinite(forward))
        # Where a number moves a jump across a step, the difference is no derivative.
        smooth = np.abs(expected) < 1e4
        assert np.mean(smooth) > 0.97
        np.testing.assert_allclose(
            np.where(smooth, forward, 0), np.where(smooth, expected, 0), rtol=1e-5, atol=5e-6
        )
        reverse = quick_jit(jax.jacrev(value))(floats).T
        np.testing.assert_allclose(reverse, forward, rtol=1e-10, atol=1e-13)


def test_is_a_learning_rate_in_descend(schedule):
    def loss(x):
        return x**2 / 2

    def run(rule):
        return gd.descend(loss, 1.0, rule, 100, record=gd.Record(params=True)).history

    rates = [reference(schedule)(t) for t in range(101)]
    xs = np.cumprod([1.0, *(1 - np.array(rates[:-1]))])
    with jax.enable_x64(True):
        history = quick_jit(run)(gd.GradientDescent(schedule))
        assert_close(history.params, xs, 1e-12)
        np.testing.assert_allclose(history.learning_rate, rates, rtol=1e-12, atol=1e-16)


def test_a_function_of_the_step_is_a_schedule_too():
    result = gd.descend(lambda x: x**2 / 2, 1.0, gd.GradientDescent(lambda t: 1 / (t + 2)), 3)
    np.testing.assert_allclose(result.params, 1 / 2 * 2 / 3 * 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(result.history.learning_rate, [1 / 2, 1 / 3, 1 / 4, 1 / 5])


RESTARTS = gd.CosineRestarts(0.5, period=10)


@pytest.mark.parametrize("growth", [1.0, 1.1, 1.2, 1.3, 1.7, 3.0])
@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
def test_a_restart_at_a_step_is_seen_at_that_step(growth, x64):
    """Also where rounding has restart 21 = 10 + 11 of growth 1.1 just after step 21."""
    schedule = dataclasses.replace(RESTARTS, growth=growth)
    expected = [reference(schedule)(int(t)) for t in STEPS]
    with jax.enable_x64(x64):
        rates = over_steps(schedule, STEPS)
    np.testing.assert_allclose(rates, expected, atol=1e-10 if x64 else 1e-4)
