"""A job of many runs, from what the user gave to its result."""

import dataclasses
import math
import time
import warnings
from typing import Any

import jax
import numpy as np

from jaxgd.archive import Contents
from jaxgd.asked import Options, checked_race, job_of
from jaxgd.axes import Axes, Spread, spread
from jaxgd.blocks import ManyJob, block_for
from jaxgd.checkpoint import Vault
from jaxgd.conduct import Attention, Course
from jaxgd.crew import Crew, workers_for
from jaxgd.data import steps_of, traced_of
from jaxgd.fingerprint import fingerprint_of_many
from jaxgd.harvest import gather, scale_of, starts_of
from jaxgd.keeping import Keeper, found_in
from jaxgd.ledger import Ledger
from jaxgd.metrics import meter_for
from jaxgd.panel import TOGETHER, Panel
from jaxgd.progress import Bar
from jaxgd.races import Halving, Rediscovered
from jaxgd.refusal import described, refuse_tracers
from jaxgd.replay import Replay
from jaxgd.runs import Runs
from jaxgd.signals import Interruption, catching_interrupts
from jaxgd.status import RunFailed, Status, keeping
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
    kept = options.checkpoint
    with (
        catching_interrupts(terminating=kept is not None) as interruption,
        found_in(kept) as vault,
    ):
        work = _Work(runs, job, max_steps, vault)
        result = work.carry_out_somehow(loss, options, interruption)
        if options.debug:
            result = Replay(loss, runs, options, max_steps, interruption).diagnose(result)
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


def _is_for_want_of_memory(error: BaseException) -> bool:
    """Whether fewer lanes might help; not if the user's callback raised it."""
    wants = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
    return wants and getattr(error, "result", None) is None


@dataclasses.dataclass
class _Work:
    """A job with its compiled block."""

    spread: Spread
    job: ManyJob
    max_steps: int
    vault: tuple[Vault, Contents | None] | None
    block: Any = None
    compile_seconds: float = 0.0

    def carry_out_somehow(self, loss: Any, options: Options, interruption: Interruption) -> Runs:
        """Make the runs, in fewer lanes if the device's memory has no room for as many."""
        given = None
        while True:
            try:
                self.block, seconds = block_for(loss, self.job)
                self.compile_seconds += seconds
                result = self.carry_out(options, interruption)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                lanes = self.job.lanes if self.block is None else self.block.made.sizes.lanes
                if not _is_for_want_of_memory(error) or lanes is None or lanes < 2:
                    raise
                given, self.block = given or lanes, None
                self.job = dataclasses.replace(self.job, lanes=lanes // 2)
                continue
            if given is not None:
                warnings.warn(
                    f"lanes: {given} did not fit into memory; the runs were made in "
                    f"{self.job.lanes}",
                    RuntimeWarning,
                    stacklevel=4,
                )
            return result

    def carry_out(self, options: Options, interruption: Interruption) -> Runs:
        """Make the runs."""
        began, job, count = time.perf_counter(), self.job, math.prod(self.spread.shape)
        final_row = not job.problem.stochastic
        ledger = Ledger(
            count,
            self.block.made.finished,
            job.record,
            -(-(self.max_steps + final_row) // job.record.every),
            self.block.made.row,
        )
        workers = workers_for(job.devices, count)
        course = self._course(ledger, workers, options)

        def so_far(ledger: Ledger) -> Runs:
            seconds = time.perf_counter() - began
            told: dict[str, Any] = {"compile_seconds": self.compile_seconds, "run_seconds": seconds}
            told |= {"engine": self._engine(workers), "log": tuple(course.log)}
            return gather(self.spread, job, ledger, course.panel, **told)

        callback = options.callback

        def stops() -> Any:
            assert callback is not None
            runs = so_far(ledger.copy())
            with keeping(runs):
                return callback(runs)

        bar = Bar(0, count, "runs") if options.progress else None
        try:
            asked = None if callback is None else stops
            course.follow(Attention(interruption, asked, options.time_limit, bar))
        finally:
            if bar is not None:
                bar.close()
        if course.panel is not None and options.keep is None:
            course.panel.hand_over(ledger, self.block.look)
        return so_far(ledger)

    def _course(self, ledger: Ledger, workers: int, options: Options) -> Course:
        """How the runs go."""
        job, count = self.job, math.prod(self.spread.shape)
        course = Course(
            Crew(self.block, ledger, workers),
            ledger,
            count,
            self.max_steps,
            not job.problem.stochastic,
            options.prune,
            options.enough,
            lambda: scale_of(job, ledger),
            self._panel(count),
            self._starts,
        )
        course.keeper = self._keeper(course, options)
        return course

    def _keeper(self, course: Course, options: Options) -> Keeper | None:
        """Of the checkpoints, if there are to be any."""
        if self.vault is None:
            return None
        names = ("bounds", "data", "prune", "enough")
        given = {name: getattr(options, name) for name in names} | {"max_steps": self.max_steps}
        told = fingerprint_of_many(self.spread, self.job, given, self.block.made)
        return Keeper(*self.vault, course.crew, course.ledger, course.panel, told, course.log)

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
