"""minimize and descend against the loop in NumPy, for drawn problems of every form."""

from dataclasses import dataclass

import jax
import numpy as np
import numpy_rules
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from loop_cases import (
    EVERY_ROW,
    KINDS,
    Case,
    Twin,
    assert_agrees,
    bounds_for,
    engine_of,
    loss,
    problem,
    tolerances,
)

import jaxgd as gd
from jaxgd.rules import RULES

ALL = ("target", "gtol", "ftol", "frtol", "xtol")
TESTS = (
    (), ("target",), ("gtol",), ("ftol",), ("frtol",), ("xtol",), ("gtol", "ftol"),
    ("target", "xtol"), ("frtol", "xtol"), ALL,
)  # fmt: skip
RECORDS = (
    gd.Record(),
    gd.Record(every=3),
    gd.Record(params=True),
    gd.Record(every=3, params=True),
    gd.Record(grad_norm=False),
    None,
)
BOUNDS = ("none", "scalar", "none", "array", "lower", "none", "upper")
CHUNKS = (1, 7, 64, 128, None)
STEPS = (0, 1, 2, 10, 63, 64, 65, 127, 128, 129, 200)
RATES = {
    "GradientDescent": 0.02, "Momentum": 0.005, "AdaGrad": 0.1, "AdaDelta": 1.0, "Lion": 0.01,
}  # fmt: skip

VARIANTS = {
    "Momentum, nesterov": {"nesterov": True},
    "RMSProp, centered": {"centered": True},
    "RMSProp, momentum": {"momentum": 0.8},
    "RMSProp, all": {"centered": True, "momentum": 0.8, "nesterov": True},
    "Adam, amsgrad": {"amsgrad": True},
    "AdamW, amsgrad": {"amsgrad": True, "weight_decay": 0.05},
    "Lion, decay": {"weight_decay": 0.05},
}


def made(name, rate, rules=RULES):
    """The rule of that name, here or in NumPy."""
    return rules[name.split(",")[0]](rate, **VARIANTS.get(name, {}))


run_here = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Form:
    """What a program is compiled for; numbers are drawn."""

    rule: str
    tests: tuple
    bounds: str = "none"
    keep: str = "best"
    record: gd.Record | None = EVERY_ROW
    chunk: int | None = None
    steps: int | None = None

    def __str__(self):
        tests = "+".join(self.tests) or "no test"
        parts = (self.rule, tests, self.bounds, self.keep, _brief(self.record), self.chunk)
        return "-".join(map(str, (*parts, *([] if self.steps is None else [self.steps]))))


def _brief(record):
    if record is None:
        return "nothing"
    fields = ("loss", "grad_norm", "params")
    return "".join(name[0] for name in fields if getattr(record, name)) + str(record.every)


def forms(rules, seed, steps=(None,)):
    """One form per rule in `rules`: each choice evenly often, in an order of its own."""
    rng = np.random.default_rng(seed)

    def shuffled(values):
        many = [values[i % len(values)] for i in range(len(rules))]
        return [many[i] for i in rng.permutation(len(rules))]

    columns = map(shuffled, (TESTS, BOUNDS, ("best", "last"), RECORDS, CHUNKS, steps))
    return [Form(*row) for row in zip(rules, *columns, strict=True)]


@st.composite
def cases(draw, form, steps=STEPS):
    """A case of a form, and the numbers for jaxgd: p, rate, bounds and stop."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(KINDS))
    p, start = problem(kind, rng)
    rate = RATES.get(form.rule.split(",")[0], 0.02) * 10 ** rng.uniform(-1, 0.5)
    if draw(st.integers(0, 5)) == 5:
        rate *= 300
    given_bounds, bounds = bounds_for(form.bounds, start, rng)
    if kind == "spike" and bounds is not None and draw(st.booleans()):
        # Zero at a bound: an iterate that reaches it has a loss, but no gradient.
        given_bounds, bounds, start = _shifted(given_bounds, bounds, start)
    rule = made(form.rule, rate, numpy_rules.RULES)
    steps = draw(st.sampled_from(steps)) if form.steps is None else form.steps
    case = Case(Twin(p), rule, start, steps, {"bounds": bounds, "keep": form.keep})
    free = case.run()
    stop = {}
    for name in form.tests:
        values = tolerances(name, free)
        stop[name] = values[rng.integers(len(values))]
    stop = gd.Stop(**stop, patience=draw(st.integers(1, 4)))
    return case.with_stop(stop), {"p": p, "rate": rate, "bounds": given_bounds, "stop": stop}


def _shifted(given_bounds, bounds, start):
    side = 0 if np.isfinite(bounds[0]).all() else 1
    shift = bounds[side][0]
    moved = tuple(None if side is None else side - shift for side in given_bounds)
    bounds = tuple(side - shift for side in bounds)
    return moved, bounds, np.clip(start - shift, *bounds)


def settled(case):
    """What the reference finds, if it is a result that rounding cannot change."""
    oracle = case.run()
    assume(case.is_steady(oracle))
    return oracle


MINIMIZE = [
    *forms([*RULES, *["GradientDescent", "Adam", "Momentum"] * 3], seed=1),
    *forms([*RULES, *VARIANTS], seed=3),
]


@pytest.mark.parametrize("form", MINIMIZE, ids=str)
def test_minimize_agrees_with_the_reference(form):
    @run_here
    @given(data=st.data())
    def check(data):
        case, numbers = data.draw(cases(form))
        oracle = settled(case)
        with jax.enable_x64(True):
            result = gd.minimize(
                loss,
                case.start,
                made(form.rule, numbers["rate"]),
                case.max_steps,
                args=(numbers["p"],),
                bounds=numbers["bounds"],
                stop=numbers["stop"],
                record=form.record,
                keep=form.keep,
                engine=engine_of(form),
            )
        assert_agrees(result, oracle, form.record)

    check()


DESCEND = forms([*RULES, *VARIANTS], seed=2, steps=STEPS)


@pytest.mark.parametrize("form", DESCEND, ids=str)
def test_descend_agrees_with_the_reference(form):
    def whole(x, p, rule, bounds, stop):
        return gd.descend(
            loss,
            x,
            rule,
            form.steps,
            args=(p,),
            bounds=bounds,
            stop=stop,
            record=form.record,
            keep=form.keep,
        )

    jitted = jax.jit(whole)

    @run_here
    @given(data=st.data())
    def check(data):
        case, numbers = data.draw(cases(form))
        oracle = settled(case)
        rule = made(form.rule, numbers["rate"])
        with jax.enable_x64(True):
            result = jitted(case.start, numbers["p"], rule, numbers["bounds"], numbers["stop"])
        assert_agrees(result, oracle, form.record, rows=form.steps + 1)

    check()


@pytest.mark.parametrize(("chunk", "tests"), [(None, ()), (1000, ("gtol", "xtol"))])
def test_long_runs_agree_with_the_reference(chunk, tests):
    form = Form("Adam", tests, record=gd.Record(params=True), chunk=chunk)
    ends = set()

    @settings(run_here, max_examples=6)
    @given(data=st.data())
    def check(data):
        case, numbers = data.draw(cases(form, steps=(1023, 1024, 1025, 1500, 2049)))
        oracle = settled(case)
        with jax.enable_x64(True):
            result = gd.minimize(
                loss,
                case.start,
                gd.Adam(numbers["rate"]),
                case.max_steps,
                args=(numbers["p"],),
                stop=numbers["stop"],
                record=form.record,
                engine=gd.engines.Plain(chunk),
            )
        assert_agrees(result, oracle, form.record)
        ends.add(oracle.steps)

    check()
    assert max(ends) > 500


def test_every_way_to_end_is_drawn():
    """The draws above are worth little if no tolerance is ever met."""
    seen = {}

    @settings(run_here, max_examples=100)
    @given(data=st.data(), tests=st.sampled_from(TESTS))
    def check(data, tests):
        case, _ = data.draw(cases(Form("Momentum", tests)))
        oracle = settled(case)
        seen.setdefault(oracle.status, set()).add(oracle.steps)

    check()
    for name in gd.Status.__members__:
        if "CONVERGED" in name or name in ("TARGET_REACHED", "MAX_STEPS", "NON_FINITE"):
            assert len(seen[name]) >= 2, name
