"""Each run of many against the loop in NumPy: any number of runs and lanes, whatever beside it."""

from dataclasses import dataclass

import jax
import numpy as np
import numpy_rules
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loop_cases import KINDS, Case, N, Twin, assert_agrees, loss, problem, tolerances

import jaxgd as gd
from jaxgd.rules import RULES

AXES = gd.Axes(rule=0, args=0)
BOX = (-1.5, 1.5)


@dataclass(frozen=True)
class Form:
    """What a program is compiled for; numbers, and how many runs, are drawn."""

    rule: str
    lanes: int
    tests: tuple = ()
    keep: str = "best"
    record: gd.Record | None = None
    chunk: int = 7
    bounded: bool = False
    engine: type = gd.engines.Cpu

    def __str__(self):
        tests, engine = "+".join(self.tests), self.engine.__name__
        return f"{self.rule}-{self.lanes}-{tests}-{self.keep}-{self.bounded}-{engine}"


FORMS = (
    Form("Momentum", 1, ("gtol", "target"), record=gd.Record(), engine=gd.engines.Plain),
    Form("Adam", 2, ("ftol",), "last", gd.Record(every=3, params=True), chunk=1),
    Form("RMSProp", 3, (), "last", gd.Record(loss=False), bounded=True),
    Form("GradientDescent", 5, ("target", "gtol", "ftol", "frtol", "xtol"), chunk=32),
    Form("AdaGrad", 8, ("xtol",), "best", gd.Record(grad_norm=False), bounded=True),
    Form("Adam", 13, ("gtol",), "last", chunk=64),
    Form("Adam", 9, (), "best", gd.Record(), chunk=16),
    Form("Momentum", 3, ("gtol", "frtol"), chunk=32, engine=gd.engines.Plain),
)


@st.composite
def jobs(draw, form):
    """The cases of a job, and the numbers for jaxgd, with a leading axis of runs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.sampled_from((1, 2, form.lanes, form.lanes + 1, 2 * form.lanes + 1, 31)))
    most = draw(st.sampled_from((0, 1, 6, 7, 40, 130)))
    problems = [problem(draw(st.sampled_from(KINDS)), rng) for _ in range(count)]
    starts = [start for _, start in problems]
    bounds = None
    if form.bounded:
        starts = [np.clip(start, *BOX) for start in starts]
        bounds = (np.full(N, BOX[0]), np.full(N, BOX[1]))
    # Rates over three decades: some runs end early, and some go non-finite.
    rates = 0.02 * 10 ** rng.uniform(-1.5, 1.5, count)
    options = {"bounds": bounds, "keep": form.keep}
    cases = [
        Case(Twin(p), numpy_rules.RULES[form.rule](rate), start, most, options)
        for (p, _), rate, start in zip(problems, rates, starts, strict=True)
    ]
    free, stop = cases[0].run(), {}
    for name in form.tests:
        values = tolerances(name, free)
        stop[name] = values[rng.integers(len(values))]
    stop = gd.Stop(**stop, patience=draw(st.integers(1, 3)))
    args = jax.tree.map(lambda *leaves: np.stack(leaves), *[p for p, _ in problems])
    return [case.with_stop(stop) for case in cases], rates, np.stack(starts), args, stop


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_run_is_that_of_the_loop_in_numpy(form):
    agreed = []

    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(jobs(form))
    def check(job):
        cases, rates, starts, args, stop = job
        with jax.enable_x64(True):
            runs = gd.minimize_many(
                loss, starts, RULES[form.rule](rates), cases[0].max_steps, axes=AXES, args=(args,),
                stop=stop, keep=form.keep, record=form.record, lanes=form.lanes,
                bounds=BOX if form.bounded else None, engine=form.engine(form.chunk),
            )  # fmt: skip
        assert len(runs) == len(cases)
        assert runs.engine.startswith(f"{form.engine.__name__.lower()}(chunk={form.chunk}), ")
        np.testing.assert_array_equal(runs.inputs.rule.learning_rate, rates)
        for i, case in enumerate(cases):
            oracle = case.run()
            if not case.is_steady(oracle):
                continue
            agreed.append(oracle.status)
            rows = case.max_steps + 1
            one = runs[i]
            assert one.history is None or len(one.history) == -(-len(oracle.loss_history) // form.record.every)  # fmt: skip  # noqa: E501
            assert_agrees(one, oracle, form.record)
            if form.record is not None and form.record.loss:
                past = runs.history.loss[i][-(-len(oracle.loss_history) // form.record.every) :]
                assert np.all(np.isnan(past)) and len(past) <= rows  # noqa: PT018

    check()
    assert len(agreed) > 20
    assert len(set(agreed)) >= 2, set(agreed)
