"""Many runs that all take the same steps."""

import functools
from typing import Any

import jaxgd as gd
from benchmarks.case import BEST, LAST, Case, Target, both_rows, gather
from benchmarks.limit import limit_many
from benchmarks.measure import OURS, Contender
from benchmarks.peers.lbfgsb import lbfgsb_many
from benchmarks.peers.scan import optax_many
from benchmarks.peers.solvers import jaxopt_many, optimistix_many
from benchmarks.peers.torch_loop import compiled_many, eager_many
from benchmarks.problems import EXPONENTIALS, RASTRIGIN, ROSENBROCK, Problem
from benchmarks.settings import ADAM, Setting, others
from benchmarks.work import Work

LOSSES_ONLY = gd.Record(grad_norm=False)


def ours(work: Work) -> list[Contender]:
    """Our two rows."""
    call = functools.partial(
        gd.multistart,
        work.problem.loss,
        work.starts,
        work.setting.ours(work.rate),
        work.steps,
        record=LOSSES_ONLY if work.history else None,
    )
    return [
        Contender(LAST, OURS, functools.partial(call, keep="last"), _losses),
        # No gradient is 0 here, so nothing ends early, but every step is tested.
        Contender(
            BEST, OURS, functools.partial(call, keep="best", stop=gd.Stop(gtol=0.0)), _losses
        ),
    ]


def _losses(runs: gd.Runs) -> Any:
    return runs.loss


def case(work: Work, *targets: Target, quick: bool = False) -> Case:
    """Everybody who can do this work; two libraries only under Adam, which says enough of them.

    Compiling is what a quick call does most, so it leaves out what only takes longer.
    """
    makers = [
        functools.partial(optax_many, work),
        functools.partial(eager_many, work, "foreach"),
        functools.partial(eager_many, work, "fused"),
        functools.partial(limit_many, work),
    ]
    if not quick:
        makers.append(functools.partial(compiled_many, work))
    notes = []
    fullest = work.setting is ADAM and work.problem is ROSENBROCK and not work.history
    if fullest or (not quick and work.setting is ADAM and not work.history):
        makers[1:1] = [functools.partial(make, work) for make in (jaxopt_many, optimistix_many)]
    elif work.history:
        notes.append("jaxopt and optimistix keep no history, so they are not here")
    scipy_too = work.problem.numpy is not None and work.setting is ADAM
    if scipy_too and not (quick and work.history):
        makers.append(functools.partial(lbfgsb_many, work))
    rivals, skipped = gather(makers)
    own = ours(work)[: 1 if quick and not fullest else 2]
    return Case(str(work), (*rivals, *own), both_rows(*targets), (*notes, *skipped), close=0.05)


AIMS = {
    "rosenbrock": (Target(faster=8), Target("limit", slower=1.4)),
    "rosenbrock-history": (Target(faster=10), Target("limit", slower=1.5)),
    "rastrigin": (Target(faster=2), Target("optax", faster=5)),
    "exponentials": (Target(faster=6), Target("limit", slower=2)),
}


def _build(problem: Problem, setting: Setting, history: bool, aim: str, quick: bool) -> Case:
    runs, steps = (256, 50) if quick else (4096, 1000)
    return case(Work(problem, setting, runs, steps, history), *AIMS[aim], quick=quick)


def _registry() -> dict[str, Any]:
    forms = (
        (ROSENBROCK, False, "rosenbrock"),
        (ROSENBROCK, True, "rosenbrock-history"),
        (RASTRIGIN, False, "rastrigin"),
        (EXPONENTIALS, True, "exponentials"),
    )
    made = {
        aim: functools.partial(_build, problem, ADAM, history, aim)
        for problem, history, aim in forms
    }
    for setting in others():
        for problem, history, aim in forms:
            if aim != "rosenbrock-history":
                name = f"{aim}-{setting.name}"
                made[name] = functools.partial(_build, problem, setting, history, aim)
    return made


MANY = _registry()
