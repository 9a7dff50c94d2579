"""Runs of many that went non-finite, made again alone, to say what was so first."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.asked import Options
from jaxgd.axes import Spread
from jaxgd.data import given_data
from jaxgd.diagnosis import diagnosed
from jaxgd.loop import unguarded
from jaxgd.minimize import job_for, run_of
from jaxgd.problem import pose
from jaxgd.result import Result
from jaxgd.run import Watch
from jaxgd.runs import Runs
from jaxgd.signals import Interruption
from jaxgd.state import Marks
from jaxgd.status import Status

MOST = 8
"""Runs that are made again."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """What it takes to make one of the runs again."""

    loss: Any
    spread: Spread
    options: Options
    max_steps: int
    interruption: Interruption

    def diagnose(self, runs: Runs) -> Runs:
        """The runs with diagnoses of the first that are NON_FINITE."""
        found = []
        for run in np.flatnonzero(runs.status == Status.NON_FINITE)[:MOST].tolist():
            steps = int(runs.steps[run])
            # Rounded otherwise, it may take some steps more.
            until = min(self.max_steps, steps + steps // 8 + 8)
            with unguarded():
                alone = self._alone(run, until)
            if self.interruption.requested:
                break
            found.append((run, _told(alone, steps)))
        return dataclasses.replace(runs, diagnoses=tuple(found))

    def _alone(self, run: int, steps: int) -> Result:
        """One of the runs, as `minimize` makes it."""
        spread, options = self.spread, self.options
        given: dict[str, Any] = {name: spread.of(name, run) for name in ("params", "args", "key")}
        if given["key"] is not None and "key" not in spread.columns:
            given["key"] = jax.random.fold_in(given["key"], run)
        plan, feed = given_data(options.data)
        if plan is not None and feed is not None and not plan.shared:
            feed = feed.of_run(jnp.uint32(run))
        given |= {"bounds": options.bounds, "has_aux": options.has_aux, "data": (plan, feed)}
        problem, x, inputs = pose(self.loss, **given)
        asked = (options.stop, None, "last", options.engine)
        job = job_for(problem, (x, inputs), spread.of("rule", run), asked)
        again = run_of(self.loss, job, steps, None, Marks(""))
        result = again.go(job.x, None, Watch(self.interruption, None, None, progress=False))
        return diagnosed(self.loss, job, again, result)


def _told(alone: Result, steps: int) -> str:
    if not alone.diagnosis:
        return f"At step {steps:,}, but not where it is made again alone, rounded otherwise."
    if alone.steps == steps:
        return alone.diagnosis
    return f"At step {steps:,}; made again alone, rounded otherwise: {alone.diagnosis}"
