"""Scripted runs: any sequence of losses and slopes at integer iterates, so that all is exact.

Rows that are not finite, ties and the ends of chunks are drawn together; nothing is rounded, so
minimize must agree with the loop in NumPy bit by bit, in every integer and in every float.
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loop_cases import (
    EVERY_ROW,
    WALK,
    Case,
    NumpyWalk,
    ScriptTwin,
    assert_agrees,
    engine_of,
    same_bits,
    script_of,
    scripted,
    untimed,
)

import jaxgd as gd

LENGTH = 160
SEAMS = (0, 1, 2, 6, 7, 8, 13, 14, 62, 63, 64, 65, 66, 126, 127, 128, 129, 130, 149, 150, 151)
BAD = (np.nan, np.inf, -np.inf)
SOME = ("gtol", "ftol", "target")

run_here = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Form:
    """What a program is compiled for. Which gradients are looked at depends on all of it."""

    chunk: int | None
    record: gd.Record | None = EVERY_ROW
    tests: tuple = ()
    bounded: bool = False
    size: int = 3
    keep: str = "best"


NO_TEST = gd.Stop()
NO_NORM = gd.Record(grad_norm=False)
FORMS = [
    Form(7),
    Form(64, NO_NORM),
    Form(64, tests=SOME),
    Form(7, NO_NORM, size=40),
    Form(128, NO_NORM, tests=("ftol", "xtol"), keep="last"),
    Form(None, None, tests=("target",), size=40, keep="last"),
    Form(1, gd.Record(params=True), tests=("frtol",), keep="last"),
    Form(64, gd.Record(every=5, params=True), bounded=True, tests=("xtol", "gtol")),
    Form(7, bounded=True, size=40, tests=("ftol",)),
    Form(64, NO_NORM, bounded=True, keep="last"),
    Form(128, gd.Record(every=64, grad_norm=False, params=True)),
]
LOWER = -140.0


def case_of(form, script, max_steps, stop):
    bounds = (np.full(form.size, LOWER), np.zeros(form.size)) if form.bounded else None
    options = {"stop": stop, "bounds": bounds, "keep": form.keep}
    return Case(ScriptTwin(script), NumpyWalk(), np.zeros(form.size), max_steps, options)


def play(form, script, max_steps, stop=NO_TEST, rule=WALK, **options):
    with jax.enable_x64(True):
        return gd.minimize(
            scripted,
            np.zeros(form.size),
            rule,
            max_steps,
            args=(script,),
            stop=stop,
            bounds=(LOWER, 0.0) if form.bounded else None,
            record=form.record,
            keep=form.keep,
            engine=engine_of(form),
            **options,
        )


def check_exactly(form, script, max_steps, stop=NO_TEST, rule=WALK):
    oracle = case_of(form, script, max_steps, stop).run()
    result = play(form, script, max_steps, stop, rule)
    assert_agrees(result, oracle, form.record, exact=True)
    return oracle


@st.composite
def scripts(draw):
    """Mostly falling, with ties, plateaus, misses of the tests, and rows that are not finite."""
    losses = draw(st.dictionaries(st.sampled_from(SEAMS), st.integers(-2, 3).map(float)))
    flat = draw(st.sampled_from(SEAMS))
    script = script_of(LENGTH)
    script["loss"][flat : flat + draw(st.integers(0, 70))] = script["loss"][flat]
    for at, value in losses.items():
        script["loss"][at] = value
    slope = draw(st.dictionaries(st.sampled_from(SEAMS), st.sampled_from([0.0, 0.5, 2.0])))
    for at, value in slope.items():
        script["slope"][at] = value
    for name in ("loss", "slope"):
        for at in draw(st.lists(st.sampled_from(SEAMS), max_size=2)):
            script[name][at] = draw(st.sampled_from(BAD))
    return script


@st.composite
def stops(draw, names):
    numbers = {
        "target": st.sampled_from([-1.0, 0.0, 3.0, 100.0, LENGTH - 65.0]),
        "gtol": st.sampled_from([0.0, 0.75, 1.0, 1.5]),
        "ftol": st.sampled_from([0.0, 0.5, 1.0]),
        "frtol": st.sampled_from([0.0, 1 / 96.5, 1 / 30.5]),
        "xtol": st.sampled_from([0.0, 1 / 65.5, 1 / 130.5]),
    }
    given_tests = {name: draw(numbers[name]) for name in names}
    return gd.Stop(**given_tests, patience=draw(st.integers(1, 4)))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_scripted_run_is_what_the_reference_makes_of_it(form):
    @run_here
    @given(script=scripts(), stop=stops(form.tests), max_steps=st.sampled_from(SEAMS))
    def check(script, stop, max_steps):
        check_exactly(form, script, max_steps, stop)

    check()
    check_rows_that_are_not_finite(form)


def check_rows_that_are_not_finite(form, rule=WALK):
    """At the start, the first and last row of chunks, the last row of all, and not after that."""
    never = gd.Stop(**{name: -9.0 if name == "target" else 0.0 for name in form.tests})
    for (at, what), bad in zip(
        itertools.product(SEAMS, ("losses", "slopes")), itertools.cycle(BAD), strict=False
    ):
        if form.bounded and at > -LOWER:
            continue
        script = script_of(LENGTH, **{what: {at: bad}})
        for max_steps in {at, 158}:
            oracle = check_exactly(form, script, max_steps, never, rule)
            assert (oracle.status, oracle.steps) == ("NON_FINITE", at)
            assert oracle.at_step == max(at - 1, 0)
        if at:
            assert check_exactly(form, script, at - 1, never, rule).status == "MAX_STEPS"


@pytest.mark.parametrize("chunk", [7, 64])
def test_patience_counts_across_the_ends_of_chunks(chunk):
    form = Form(chunk, tests=("ftol",))
    for flat in (1, 5, 6, 7, 60, 61, 62, 63, 64, 65, 125):
        for patience in (1, 2, 3, 4):
            script = script_of(LENGTH)
            script["loss"][flat:] = script["loss"][flat]
            oracle = check_exactly(form, script, 150, gd.Stop(ftol=0.5, patience=patience))
            assert (oracle.status, oracle.steps) == ("CONVERGED_LOSS", flat + patience)
            script["loss"][flat + patience] -= 10  # a miss: the count begins anew
            oracle = check_exactly(form, script, 150, gd.Stop(ftol=0.5, patience=patience))
            assert oracle.steps == flat + 2 * patience + 1


@pytest.mark.parametrize(
    ("clip", "record", "size"),
    [
        (gd.ClipByValue(1.0), NO_NORM, 3),
        (gd.ClipByValue(1.0), NO_NORM, 40),
        (gd.ClipByValue(1.0), gd.Record(), 3),
        (gd.ClipByGlobalNorm(100.0), NO_NORM, 3),
    ],
    ids=str,
)
def test_an_infinite_gradient_is_seen_though_it_is_clipped(clip, record, size):
    """All gradient entries are 1, so that a clipped step is a step of -1 all the same."""
    form = Form(64, record, size=size)
    rule = gd.chain(clip, gd.GradientDescent(1.0))
    for at in (0, 1, 63, 64, 65, 100):
        for bad in (np.inf, np.nan):
            oracle = check_exactly(form, script_of(LENGTH, slopes={at: bad}), 120, rule=rule)
            assert (oracle.status, oracle.steps) == ("NON_FINITE", at)
    check_exactly(form, script_of(LENGTH), 120, rule=rule)


def test_a_start_that_meets_a_test_is_returned():
    form = Form(64, tests=SOME)
    fine = script_of(LENGTH)
    for tests, status in (
        ({"target": LENGTH}, "TARGET_REACHED"),
        ({"gtol": 1.0}, "CONVERGED_GRADIENT"),
        ({"gtol": 1.0, "target": LENGTH}, "TARGET_REACHED"),
    ):
        stop = gd.Stop(**({"target": -5.0, "gtol": 0.5, "ftol": 0.5} | tests))
        oracle = check_exactly(form, fine, 100, stop)
        assert (oracle.status, oracle.steps, oracle.evaluations) == (status, 0, 1)
        oracle = check_exactly(form, fine, 0, stop)
        assert oracle.status == status
    nowhere = gd.Stop(target=-5.0, gtol=0.5, ftol=0.5)
    assert check_exactly(form, fine, 0, nowhere).status == "MAX_STEPS"


def test_ties_return_the_first_of_the_lowest():
    for lowest in ([3, 7], [63, 64, 100], [64, 128], [0, 1], [6, 7]):
        script = script_of(LENGTH, losses=dict.fromkeys(lowest, -7.0))
        for form in FORMS[:4]:
            oracle = check_exactly(form, script, 150, gd.Stop(**dict.fromkeys(form.tests, 0.0)))
            if not form.tests:
                assert oracle.at_step == lowest[0]


@pytest.mark.parametrize(
    ("steps", "keep", "bounded", "tests"),
    [
        (0, "best", False, SOME),
        (1, "last", False, ()),
        (64, "best", True, ("xtol", "frtol")),
        (130, "last", True, SOME),
        (150, "best", False, ()),
    ],
)
def test_descend_plays_scripts_as_the_reference_does(steps, keep, bounded, tests):
    form = Form(None, gd.Record(params=True), tests=tests, bounded=bounded, keep=keep)

    def whole(script, stop):
        x = jnp.zeros(form.size)
        bounds = (LOWER, 0.0) if bounded else None
        options = {"record": form.record, "keep": keep, "bounds": bounds, "stop": stop}
        return gd.descend(scripted, x, WALK, steps, args=(script,), **options)

    jitted = jax.jit(whole)

    @run_here
    @given(script=scripts(), stop=stops(tests))
    def check(script, stop):
        oracle = case_of(form, script, steps, stop).run()
        with jax.enable_x64(True):
            result = jitted(script, stop)
        assert_agrees(result, oracle, form.record, exact=True, rows=steps + 1)

    check()


def test_a_long_call_returns_its_rows_in_several_windows():
    """More rows than one call of the program has room for, and params only of some."""
    with jax.enable_x64(True):
        result = gd.minimize(
            lambda x: jnp.sum((x + 1e6) ** 2),
            np.zeros(2),
            WALK,
            40_000,
            record=gd.Record(every=7, params=True),
        )
    t = np.arange(0, 40_001, 7)
    np.testing.assert_array_equal(result.history.step, t)
    np.testing.assert_array_equal(result.history.params, -np.stack([t, t], 1))
    np.testing.assert_array_equal(result.history.loss, 2 * (1e6 - t) ** 2.0)
    assert result.at_step == 40_000


def test_the_same_call_gives_the_same_bits():
    form = Form(64, gd.Record(params=True), tests=SOME)
    script = script_of(LENGTH, losses={70: -3.0})
    stop = gd.Stop(gtol=0.5, ftol=0.0, target=-5.0)
    first, second = (play(form, script, 150, stop) for _ in range(2))
    assert same_bits(untimed(first), untimed(second))
    assert not same_bits(untimed(first), untimed(play(form, script, 149, stop)))
