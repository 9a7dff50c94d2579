"""A job of many runs, from what the user gave to its result."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxgd.axes import Axes, Spread, spread
from jaxgd.blocks import Block, ManyJob, block_for
from jaxgd.bounds import check_inside
from jaxgd.canonical import as_count
from jaxgd.conduct import Attention, Course
from jaxgd.crew import Crew, workers_for
from jaxgd.driver import option
from jaxgd.engines import Engine
from jaxgd.grid import Column, number_paths
from jaxgd.harvest import gather, scale_of, starts_of
from jaxgd.ledger import Ledger
from jaxgd.loop import checked_keep
from jaxgd.minimize import check_host_options, checked_engine
from jaxgd.packing import packing_of
from jaxgd.problem import Inputs, Problem, pose
from jaxgd.progress import Bar
from jaxgd.races import Halving, Rediscovered
from jaxgd.record import NOTHING, Record, checked_record
from jaxgd.refusal import described, refuse_tracers
from jaxgd.rules import canonical_rule, treats_entries_alike
from jaxgd.runs import Runs
from jaxgd.signals import Interruption, catching_interrupts
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop, checked_stop
from jaxgd.tree import PyTree


@dataclasses.dataclass(frozen=True)
class Options:
    """What the three calls have in common; `minimize_many` says what each means."""

    axes: Axes
    args: tuple[Any, ...]
    bounds: Any
    stop: Stop | None
    has_aux: bool
    key: Any
    record: Record | None
    keep: str | None
    lanes: int | None
    devices: Sequence[Any] | None
    prune: Halving | None
    enough: Rediscovered | None
    progress: bool
    callback: Callable[[Runs], Any] | None
    time_limit: float | None
    engine: Engine | None
    throw: bool


def run_many(
    loss: Any, params: PyTree, rule: Any, max_steps: Any, options: Options, *, combine: bool
) -> Runs:
    """What `minimize_many` does; with `combine` every rule of a grid meets all else."""
    max_steps = as_count(max_steps, "max_steps", at_least=0)
    _refuse_what_is_traced(params, rule, options)
    axes = options.axes
    if not isinstance(axes, Axes):
        raise TypeError(f"axes must be a gd.Axes, got {described(axes)}")
    prune = _checked("prune", options.prune, Halving)
    enough = _checked("enough", options.enough, Rediscovered)
    options = dataclasses.replace(options, prune=prune, enough=enough)
    runs = spread(params, rule, options.args, options.key, axes, combine=combine)
    job = _job(loss, runs, options)
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
    refuse_tracers("minimize_many", given)


def _job(loss: Any, runs: Spread, options: Options) -> ManyJob:
    """Check all that says how the runs are made."""
    problem, x, inputs = pose(
        loss,
        runs.params,
        args=runs.args,
        bounds=options.bounds,
        has_aux=options.has_aux,
        key=runs.key,
    )
    rule = canonical_rule(runs.rule)
    if treats_entries_alike(rule):
        problem = dataclasses.replace(problem, packing=packing_of(x))
    stop = checked_stop(options.stop, stochastic=problem.stochastic)
    lanes = None if options.lanes is None else as_count(options.lanes, "lanes", at_least=1)
    job = ManyJob(
        problem,
        x,
        inputs,
        rule,
        stop,
        _checked_record(options.record),
        checked_keep(options.keep, stochastic=problem.stochastic),
        checked_engine(options.engine),
        _columns(runs, problem, rule, (stop, inputs)),
        "key" in runs.columns,
        lanes,
        _devices(options.devices),
        pauses=options.prune is not None,
    )
    check_host_options(
        options.callback, options.time_limit, progress=options.progress, throw=options.throw
    )
    if problem.bounded:
        everyone = np.arange(math.prod(runs.shape))
        starts = jax.tree.unflatten(jax.tree.structure(x), starts_of(job, everyone))
        check_inside(inputs.lower, starts, inputs.upper)
    return job


def _columns(
    runs: Spread, problem: Problem, rule: Any, shared: tuple[Stop, Inputs]
) -> tuple[Column | None, ...]:
    """For each leaf of what is traced, in its order, the values of all runs, if it is mapped."""
    stop, inputs = shared

    def of(name: str, tree: PyTree, kinds: tuple[str, ...], kind: str) -> list[Column | None]:
        places = jax.tree_util.tree_leaves_with_path(tree)
        paths = [jax.tree_util.keystr(path) for path, _ in places]
        mine = runs.columns.get(name, {})
        return [mine.get(path) for path, k in zip(paths, kinds, strict=True) if k == kind]

    numbers = [runs.columns.get("rule", {}).get(path) for path in number_paths(rule)]
    keys = [] if inputs.key is None else [runs.columns.get("key", {}).get("")]
    return (
        *of("params", runs.params, problem.params.kinds, "moving"),
        *numbers,
        *(None for _ in jax.tree.leaves(stop)),
        *of("params", runs.params, problem.params.kinds, "held"),
        *of("args", runs.args, problem.args.kinds, "held"),
        *keys,
        *(None for _ in jax.tree.leaves((inputs.lower, inputs.upper))),
    )


def _checked_record(record: Any) -> Record:
    record = checked_record(record)
    return record if record.loss or record.grad_norm or record.params else NOTHING


def _checked(name: str, value: Any, kind: type) -> Any:
    """A race with checked fields, or None."""
    if value is None:
        return None
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a gd.{kind.__name__} or None, got {described(value)}")
    return value.checked()  # type: ignore[attr-defined]


def _devices(devices: Sequence[Any] | None) -> tuple[Any, ...]:
    if devices is None:
        default = option("jax_default_device")
        return (default,) if isinstance(default, jax.Device) else tuple(jax.local_devices())
    if not isinstance(devices, list | tuple) or not devices:
        raise TypeError(f"devices must be a list of JAX devices, got {described(devices)}")
    for device in devices:
        if not isinstance(device, jax.Device):
            raise TypeError(f"devices must be JAX devices, as jax.devices() has, got {device!r}")
    if len(set(devices)) < len(devices):
        raise ValueError(f"devices must differ, got {devices}")
    return tuple(devices)


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
        )

        def so_far(ledger: Ledger) -> Runs:
            seconds = time.perf_counter() - began
            told: dict[str, Any] = {"compile_seconds": self.compile_seconds, "run_seconds": seconds}
            told |= {"engine": self._engine(workers), "log": tuple(course.log)}
            return gather(self.spread, job, ledger, **told)

        callback = options.callback
        stops = None if callback is None else lambda: callback(so_far(ledger.copy()))
        bar = Bar(0, count, "runs") if options.progress else None
        try:
            course.follow(Attention(interruption, stops, options.time_limit, bar))
        finally:
            if bar is not None:
                bar.close()
        return so_far(ledger)

    def _engine(self, workers: int) -> str:
        made, devices = self.block.made, self.block.shards
        where = f"{workers} thread{'s' * (workers > 1)}"
        where = where if devices == 1 else f"{devices} devices"
        return f"{made.engine}, {made.sizes.lanes} lanes on each of {where}"
