"""What is asked of many runs, checked and brought to the one form."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxgd.axes import Axes, Spread
from jaxgd.blocks import ManyJob
from jaxgd.bounds import check_inside
from jaxgd.canonical import as_count
from jaxgd.checkpoint import Checkpoint
from jaxgd.data import Batches, given_data
from jaxgd.engines import Engine
from jaxgd.evaluate import Evaluate
from jaxgd.grid import Column, number_paths
from jaxgd.harvest import starts_of
from jaxgd.loop import checked_keep
from jaxgd.minimize import check_host_options, checked_engine
from jaxgd.packing import packing_of
from jaxgd.problem import Inputs, Problem, pose
from jaxgd.programs import option
from jaxgd.races import Halving, Rediscovered
from jaxgd.record import NOTHING, Record, checked_record
from jaxgd.refusal import described, shown
from jaxgd.rules import canonical_rule, treats_entries_alike
from jaxgd.runs import Runs
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
    data: Batches | None
    epochs: int | None
    record: Record | None
    keep: str | None
    lanes: int | None
    devices: Sequence[Any] | None
    prune: Halving | None
    enough: Rediscovered | None
    progress: bool
    callback: Callable[[Runs], Any] | None
    time_limit: float | None
    checkpoint: Checkpoint | None
    engine: Engine | None
    debug: bool
    throw: bool


def job_of(loss: Any, runs: Spread, options: Options) -> ManyJob:
    """Check all that says how the runs are made."""
    problem, x, inputs = pose(
        loss,
        runs.params,
        args=runs.args,
        bounds=options.bounds,
        has_aux=options.has_aux,
        key=runs.key,
        data=given_data(options.data),
    )
    rule = canonical_rule(runs.rule)
    if treats_entries_alike(rule):
        problem = dataclasses.replace(problem, packing=packing_of(x))
    stop = checked_stop(options.stop, stochastic=problem.stochastic)
    lanes = None if options.lanes is None else as_count(options.lanes, "lanes", at_least=1)
    record = checked_record(options.record, has_aux=problem.has_aux)
    if record.evaluate is not None:
        _check_evaluation(runs, problem, record.evaluate)
    keep = checked_keep(options.keep, stochastic=problem.stochastic)
    columns = _columns(runs, problem, rule, (stop, inputs))
    engine, devices = checked_engine(options.engine), _devices(options.devices)
    what = (problem, x, inputs, rule, stop, _rows_of(record), keep, engine)
    job = ManyJob(
        *what,
        columns,
        "key" in runs.columns,
        lanes,
        devices,
        pauses=options.prune is not None or record.evaluate is not None,
        evaluate=record.evaluate,
    )
    switches = {name: getattr(options, name) for name in ("progress", "debug", "throw")}
    check_host_options(options.callback, options.time_limit, **switches)
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
        *(None for _ in jax.tree.leaves((inputs.lower, inputs.upper, inputs.data))),
    )


def _rows_of(record: Record) -> Record:
    rows = record.rows
    return rows if rows.loss or rows.grad_norm or rows.params or rows.aux else NOTHING


def _check_evaluation(runs: Spread, problem: Problem, evaluate: Evaluate) -> None:
    places = jax.tree_util.tree_leaves_with_path(runs.params)
    for (path, _), kind in zip(places, problem.params.kinds, strict=True):
        place = jax.tree_util.keystr(path)
        if kind == "held" and place in runs.columns.get("params", {}):
            raise ValueError(f"record.evaluate needs params{place} to be the same in all runs")
    if problem.has_aux and evaluate.stop is not None:
        raise ValueError("record.evaluate.stop of many runs is without has_aux")


def checked_race(name: str, value: Any, kind: type) -> Any:
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
            raise TypeError(
                f"devices must be JAX devices, as jax.devices() has, got {shown(device)}"
            )
    if len(set(devices)) < len(devices):
        raise ValueError(f"devices must differ, got {devices}")
    return tuple(devices)
