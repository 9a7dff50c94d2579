"""Compiled blocks of lanes: one program for any number of runs, and any numbers in them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.advance import advance
from jaxgd.driver import kept_or_made, prepared
from jaxgd.engines import Engine, LaneSizes, Load, Plain, gains, with_engine, work_of
from jaxgd.evaluate import Evaluate
from jaxgd.grid import Column
from jaxgd.lanes import Finished, Form, Lane, Orders, Window
from jaxgd.loop import Descent
from jaxgd.problem import Inputs, Problem, captured_by
from jaxgd.programs import option, shardings_over
from jaxgd.record import NOTHING, Record, Row
from jaxgd.rules import is_foreign
from jaxgd.spelling import digest_of
from jaxgd.stop import Stop
from jaxgd.tree import Layout, PyTree, divide, is_key, max_norm, traced_or_static
from jaxgd.walk import End


@dataclasses.dataclass(frozen=True)
class ManyJob:
    """What is to be run: one run in the one form of each part, and how the others differ."""

    problem: Problem
    x: PyTree
    inputs: Inputs
    rule: Any
    stop: Stop
    record: Record
    keep: str
    engine: Engine | None
    """None for the fastest that takes the loss."""
    columns: tuple[Column | None, ...]
    """For each traced leaf its values in the runs, or None if all share one."""
    own_keys: bool
    """Whether each run has a random key of its own; else it folds its index into the shared one."""
    lanes: int | None
    devices: tuple[Any, ...]
    pauses: bool
    evaluate: Evaluate | None = None
    """Metrics besides; no program depends on them."""

    def values(self) -> tuple[Any, Layout]:
        """All that is traced, for one run, and the layout of the rule."""
        _, numbers, layout = divide(self.rule, traced_or_static, is_leaf=is_foreign)
        return (self.x, (numbers, self.stop, self.inputs)), layout


@dataclasses.dataclass
class Speed:
    """How fast a block advances, as last seen; only the length of calls depends on it."""

    chunks: float = 0.0
    """A second; 0 while it is not known."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A compiled block of lanes on one device, or sharded over several."""

    advance: Callable[..., Any]
    lanes: Lane
    """Shapes of all lanes."""
    finished: Finished
    """Shapes of one outcome for each lane."""
    row: Row | None
    """Shapes of what is recorded of a row; None if nothing is."""
    sizes: LaneSizes
    """Of each device."""
    engine: str
    """What runs, in words."""
    captured: list[Any]
    """The arrays that the loss refers to, on the devices."""
    digest: str
    """By which the loss is told from others."""
    look: Callable[..., Any]
    """The losses and gradient norms of some runs, each at an iterate and a step; traced."""
    speed: Speed = dataclasses.field(default_factory=Speed)


@dataclasses.dataclass(frozen=True)
class Block:
    """A compiled block and the values with which it is called."""

    made: Made
    shards: int
    starts: tuple[Column, ...]
    """The mapped leaves of the params."""
    own: tuple[Column, ...]
    """The mapped leaves of all else."""
    shared: list[Any]
    """The values that all runs share, on the devices, and what the loss refers to."""
    x: PyTree
    """The start of the first run."""

    def look(self, runs: Any, x: PyTree, steps: Any) -> Any:
        """The losses and gradient norms of some runs, each at an iterate and a step."""
        own = [column.take(runs) for column in self.own]
        found = self.made.look(own, runs.astype(np.int32), x, steps, self.shared)
        return jax.tree.map(np.asarray, found)


def block_for(loss: Any, job: ManyJob) -> tuple[Block, float]:
    """The block for a job, from the loss's shelf or compiled now; and the seconds that took."""
    values, rule_layout = job.values()
    leaves, treedef = jax.tree.flatten(values)
    each, everywhere = shardings_over(job.devices)
    shared = [leaf for leaf, c in zip(leaves, job.columns, strict=True) if c is None]
    shared = jax.device_put(shared, everywhere)
    mapped = tuple(c is not None for c in job.columns)
    switches = (job.keep, job.record, job.engine, mapped, job.lanes, job.devices, job.pauses)

    def make() -> Made:
        return _compile(job, (leaves, treedef), rule_layout, shared, (each, everywhere))

    form = (job.problem, rule_layout, switches)
    made, seconds = kept_or_made(loss, form, values, make)
    starts, own = _columns(job)
    x = job.problem.packed(job.x)
    return Block(made, len(job.devices), starts, own, [*shared, *made.captured], x), seconds


def _columns(job: ManyJob) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """The columns of the params and those of all else."""
    first = len(jax.tree.leaves(job.x))
    parts = job.columns[:first], job.columns[first:]
    starts, own = (tuple(c for c in part if c is not None) for part in parts)
    return starts, own


def _compile(
    job: ManyJob, values: tuple[list[Any], Any], rule: Layout, shared: Any, places: tuple[Any, Any]
) -> Made:
    form, jaxpr = _form(job, values, rule)
    captured = jax.device_put(captured_by(jaxpr), places[1])
    shared = [*shared, *captured]
    one = _lanes(job, form, 1, shared)
    if job.pauses and any(map(is_key, jax.tree.leaves(one.walk))):
        raise TypeError(
            "prune and record.evaluate cannot be: the rule's state has a random key, which cannot "
            "wait"
        )
    load = _load(job, one, [_rows(part, 1) for part in _columns(job)], jaxpr)
    digest = digest_of(jaxpr)

    def make(engine: Engine, why: str) -> Made:
        sizes = engine.lane_sizes(load, job.lanes)
        told = engine.described(sizes) + why
        strides = sizes.in_kernel and not (job.pauses or job.problem.stochastic)
        whole = dataclasses.replace(form, engine=engine, sizes=sizes, strides=strides)
        return _made(job, whole, (shared, captured), places, (told, digest))

    platform = "Python" if option("jax_disable_jit") else job.devices[0].platform
    return with_engine(make, job.engine, platform, jaxpr, many=True)


def _made(job: ManyJob, form: Form, known: Any, places: tuple[Any, Any], told: Any) -> Made:
    """The compiled block of a form; `known` is what all runs share, and what of it is captured."""
    shared, captured = known
    count, sizes, (starts, own) = len(job.devices), form.sizes, _columns(job)
    block, room = _lanes(job, form, count * sizes.lanes, shared), count * sizes.window
    marks = _shape((count,), np.int32), _shape((count,), np.bool_)
    walks = _lanes(job, form, room, shared).walk if job.pauses else None
    runs = _shape((room,), np.int32)
    window = Window(runs, _rows(starts, room), _rows(own, room), walks, *marks)
    finished = jax.eval_shape(jax.vmap(form.finish, (0, None)), block, shared)
    each, everywhere = places
    function = functools.partial(advance, form)
    if count > 1:
        split, same = each.spec, everywhere.spec
        specs = (split, split, same, same)
        function = jax.shard_map(
            function, mesh=each.mesh, in_specs=specs, out_specs=split, check_vma=False
        )
    where = {"in_shardings": (each, each, everywhere, everywhere), "out_shardings": each}
    options = form.engine.compiler_options
    traced = prepared(function, block, window, _ORDERS, shared, donate=0, options=options, **where)
    row = jax.eval_shape(form.rows, block, shared) if job.record != NOTHING else None
    known = (sizes, told[0], captured, told[1], _look_of(form, everywhere))
    return Made(traced(), block, finished, row, *known)


_ZERO = np.int32(0)
_ORDERS = Orders(_ZERO, End(_ZERO, _ZERO), _ZERO, _ZERO, np.bool_(0))
"""The form of them."""


def _look_of(form: Form, everywhere: Any) -> Callable[..., Any]:
    """Compiled when it is called first, which few jobs do."""

    def one(own: list[Any], run: Any, x: PyTree, step: Any, shared: Any) -> Any:
        descent = form.descent(own, shared, run)
        problem, inputs = descent.problem, descent.inputs
        loss, grads = problem.evaluate(x, inputs, step)
        return loss, max_norm(problem.projected(x, grads, inputs))

    compiled: list[Any] = []

    def call(*args: Any) -> Any:
        args = jax.device_put(args, everywhere)
        if not compiled:
            compiled.append(prepared(jax.vmap(one, (0, 0, 0, 0, None)), *args)())
        return compiled[0](*args)

    return call


def _rows(columns: tuple[Column, ...], length: int) -> list[Any]:
    """Shapes of `length` rows of some columns."""
    return [_shape((length, *c.array.shape[1:]), c.array.dtype) for c in columns]


def _lanes(job: ManyJob, form: Form, length: int, shared: Any) -> Lane:
    """Shapes of `length` lanes."""
    starts, own = (_rows(part, length) for part in _columns(job))
    begin = jax.vmap(form.begin, (0, 0, 0, None))
    lanes: Lane = jax.eval_shape(begin, starts, own, _shape((length,), np.int32), shared)
    return lanes


def _form(job: ManyJob, values: tuple[list[Any], Any], rule: Layout) -> tuple[Form, Any]:
    """How a lane makes its run of mapped and shared values; and the jaxpr of the loss."""
    leaves, treedef = values
    problem, inputs = job.problem, job.problem.with_bounds_packed(job.inputs)
    problem, jaxpr = problem.traced(problem.packed(job.x), inputs)
    record, first = job.record, len(jax.tree.leaves(job.x))
    mapped = [column is not None for column in job.columns]
    impls = [
        jax.random.key_impl(leaf) if is_mapped and is_key(leaf) else None
        for leaf, is_mapped in zip(leaves, mapped, strict=True)
    ]
    counts = [len(columns) for columns in _columns(job)]
    key_is_shared = inputs.key is not None and not job.own_keys
    own_order = problem.plan is not None and not problem.plan.shared

    def filled(start: list[Any], own: list[Any], shared: Any) -> Any:
        sources = iter(shared), iter(start), iter(own)
        whole = []
        for i, (is_mapped, impl) in enumerate(zip(mapped, impls, strict=True)):
            leaf = next(sources[is_mapped + (is_mapped and i >= first)])
            wrap = impl is not None and leaf is not None
            whole.append(jax.random.wrap_key_data(leaf, impl=impl) if wrap else leaf)
        return jax.tree.unflatten(treedef, whole)

    def descent(own: list[Any], shared: Any, run: Any) -> Descent:
        _, (numbers, stop, inputs) = filled([None] * counts[0], own, shared)
        inputs = dataclasses.replace(inputs, captured=list(shared[mapped.count(False) :]))
        if key_is_shared:
            inputs = dataclasses.replace(inputs, key=jax.random.fold_in(inputs.key, run))
        if own_order:
            inputs = dataclasses.replace(inputs, data=inputs.data.of_run(run))
        inputs = problem.with_bounds_packed(inputs)
        return Descent(problem, inputs, rule.merge((), numbers), stop, record)

    def start(mapped: list[Any], shared: Any) -> PyTree:
        x, _ = filled(mapped, [None] * counts[1], shared)
        return problem.packed(jax.tree.map(jnp.asarray, x))

    stops = bool(job.stop.given)
    form = Form(descent, start, job.keep, Plain(), _NO_SIZES, record, job.pauses, stops)
    return form, jaxpr


_NO_SIZES = LaneSizes(1, 1, 1, 0, on_cpu=False, lanes_last=False)
"""Before they are known."""


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _load(job: ManyJob, one: Lane, start: PyTree, jaxpr: Any) -> Load:
    """What one run asks of the device."""
    scalar = one.walk.kept.loss.dtype.itemsize
    rows = _bytes(one.walk.carry.x) * job.record.params
    rows += sum(aval.size * aval.dtype.itemsize for aval in jaxpr.out_avals[1:]) * job.record.aux
    return Load(
        job.devices[0].platform,
        work_of(jaxpr) + sum(leaf.size for leaf in jax.tree.leaves(one.walk.carry)),
        _bytes(one),
        _bytes(start) + (_bytes(one.walk) if job.pauses else 0),
        scalar * (job.record.loss + job.record.grad_norm) + rows,
        gains(jaxpr),
    )
