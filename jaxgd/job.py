"""A job of many runs, from what the user gave to its result."""

import dataclasses
import math
import time
import warnings
from typing import Any

import jax
import numpy as np

from jaxgd.asked import Options, checked_race, job_of
from jaxgd.axes import Axes, Spread, spread
from jaxgd.blocks import Block, ManyJob, block_for
from jaxgd.conduct import Attention, Course
from jaxgd.crew import Crew, workers_for
from jaxgd.data import steps_of, traced_of
from jaxgd.harvest import gather, scale_of, starts_of
from jaxgd.ledger import Ledger
from jaxgd.metrics import meter_for
from jaxgd.panel import TOGETHER, Panel
from jaxgd.progress import Bar
from jaxgd.races import Halving, Rediscovered
from jaxgd.refusal import described, refuse_tracers
from jaxgd.runs import Runs
from jaxgd.signals import Interruption, catching_interrupts
from jaxgd.status import RunFailed, Status
from jaxgd.tree import PyTree


def run_many(
    loss: Any, params: PyTree, rule: Any, max_steps: Any, options: Options, *, combine: bool
) -> Runs:
    """What `minimize_many` does; with `combine` every rule of a grid meets all else."""
    max_steps = steps_of(max_steps, options.epochs, options.data, default=1000)
    _refuse_what_is_traced(params, rule, options)
    axes = options.axes
    if not isinstance(axes, Axes):
        raise TypeError(f"axes must be a gd.Axes, got {described(axes)}")
    prune = checked_race("prune", options.prune, Halving)
    enough = checked_race("enough", options.enough, Rediscovered)
    options = dataclasses.replace(options, prune=prune, enough=enough)
    runs = spread(params, rule, options.args, options.key, axes, combine=combine)
    job = job_of(loss, runs, options)
    with catching_interrupts() as interruption:
        block, compile_seconds = block_for(loss, job)
        work = _Work(runs, job, block, max_steps, compile_seconds)
        result = work.carry_out(options, interruption)
    failed = np.array([Status(s).failed for s in np.unique(result.status)])
    if np.all(result.status == Status.NON_FINITE):
        warnings.warn(
            "every run became NaN or infinite: try a learning rate 3 to 10 times lower, or other "
            "starts",
            RuntimeWarning,
            stacklevel=3,
        )
    if options.throw and failed.all():
        raise RunFailed(result.message, result)
    return result


def _refuse_what_is_traced(params: PyTree, rule: Any, options: Options) -> None:
    names = ("args", "bounds", "stop", "key", "time_limit")
    given = {"params": params, "rule": rule} | {name: getattr(options, name) for name in names}
    given["data"] = traced_of(options.data)
    refuse_tracers("minimize_many", given)


@dataclasses.dataclass
class _Work:
    """A job with its compiled block."""

    spread: Spread
    job: ManyJob
    block: Block
    max_steps: int
    compile_seconds: float

    def carry_out(self, options: Options, interruption: Interruption) -> Runs:
        """Make the runs."""
        began, job, count = time.perf_counter(), self.job, math.prod(self.spread.shape)
        final_row = not job.problem.stochastic
        ledger = Ledger(
            count,
            self.block.made.finished,
            job.record,
            -(-(self.max_steps + final_row) // job.record.every),
        )
        workers = workers_for(job.devices, count)
        course = Course(
            Crew(self.block, ledger, workers),
            ledger,
            count,
            self.max_steps,
            final_row,
            options.prune,
            options.enough,
            lambda: scale_of(job, ledger),
            self._panel(count),
            self._starts,
        )

        def so_far(ledger: Ledger) -> Runs:
            seconds = time.perf_counter() - began
            told: dict[str, Any] = {"compile_seconds": self.compile_seconds, "run_seconds": seconds}
            told |= {"engine": self._engine(workers), "log": tuple(course.log)}
            return gather(self.spread, job, ledger, course.panel, **told)

        callback = options.callback
        stops = None if callback is None else lambda: callback(so_far(ledger.copy()))
        bar = Bar(0, count, "runs") if options.progress else None
        try:
            course.follow(Attention(interruption, stops, options.time_limit, bar))
        finally:
            if bar is not None:
                bar.close()
        if course.panel is not None and options.keep is None:
            course.panel.hand_over(ledger, self.block.look)
        return so_far(ledger)

    def _starts(self, runs: Any) -> PyTree:
        """The starts of some runs, as runs have them."""
        job = self.job
        starts = jax.tree.unflatten(jax.tree.structure(job.x), starts_of(job, runs))
        return job.problem.packed_rows(starts)

    def _panel(self, count: int) -> Panel | None:
        """Of the metrics, if there are any."""
        job = self.job
        if job.evaluate is None:
            return None
        some = jax.tree.map(lambda leaf: np.stack([leaf] * TOGETHER), self.block.x)
        meter = meter_for(job.evaluate, job.problem, some, job.inputs.held, many=True)
        return Panel(meter, job.problem, count)

    def _engine(self, workers: int) -> str:
        made, devices = self.block.made, self.block.shards
        where = f"{workers} thread{'s' * (workers > 1)}"
        where = where if devices == 1 else f"{devices} devices"
        return f"{made.engine}, {made.sizes.lanes} lanes on each of {where}"
