"""The driver: makes the compiled functions of a run.

All that is not pure happens here and above: compilation, clocks, signals, callbacks.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.engines import (
    Cost,
    Engine,
    Goal,
    Ongoing,
    Output,
    Sizes,
    is_streamed,
    ongoing_from,
    with_engine,
    work_of,
)
from jaxgd.evaluate import Evaluate
from jaxgd.loop import Descent, unguarded
from jaxgd.problem import Inputs, Problem, captured_by
from jaxgd.programs import is_placed, key_of, kinds_of, option, shelf_of
from jaxgd.record import Record
from jaxgd.refusal import USE_DESCEND
from jaxgd.rules import is_foreign
from jaxgd.spelling import digest_of
from jaxgd.stop import Stop
from jaxgd.tree import Layout, PyTree, divide, max_norm, traced_or_static


@dataclasses.dataclass
class Numbers:
    """The traced values of a call besides params and state."""

    rule: list[Any]
    stop: Stop
    inputs: Inputs

    def leaves(self) -> tuple[list[Any], Stop, Inputs]:
        """As arguments of the compiled functions."""
        return self.rule, self.stop, self.inputs

    def with_captured(self, captured: list[Any]) -> "Numbers":
        """The same with what the loss refers to."""
        inputs = dataclasses.replace(self.inputs, captured=captured)
        return dataclasses.replace(self, inputs=inputs)


@dataclasses.dataclass
class Program:
    """The compiled functions of one form of run."""

    begin: Callable[..., Ongoing]
    advance: Callable[..., tuple[Ongoing, Output]]
    look: "Look | None"
    """None where aux is not asked for and rows have all else."""
    fresh: Ongoing
    """Shapes and dtypes of a run between two calls."""
    sizes: Sizes
    engine: str
    """What runs, in words."""
    captured: list[Any]
    """The arrays that the loss refers to."""
    digest: str
    """By which the loss is told from others."""
    rate: float | None = None
    """Steps per second as last seen; only the length of calls depends on it."""


class Look:
    """An evaluation at one iterate, with aux; compiled when it is first needed."""

    def __init__(self, function: Callable[..., Any], engine: Engine, platform: str) -> None:
        self._function: Callable[..., Any] | None = function
        self._engine, self._platform = engine, platform
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> tuple[Any, float]:
        """The gradient norm and aux; and the seconds that it took to compile."""
        began, compiled, function = time.perf_counter(), self._compiled, self._function
        if compiled is None:
            assert function is not None

            def make(engine: Engine, _: str) -> Any:
                whole = functools.partial(engine.whole, function)
                return prepared(whole, *args, options=engine.compiler_options)()

            compiled = with_engine(make, self._engine, self._platform, None, many=False)
            self._compiled, self._function = compiled, None
            return compiled(*args), time.perf_counter() - began
        return compiled(*args), 0.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be run, checked and in the one form of each part."""

    problem: Problem
    x: PyTree
    inputs: Inputs
    rule: Any
    stop: Stop
    record: Record
    keep: str
    engine: Engine | None
    """None for the fastest that takes the loss."""
    evaluate: Evaluate | None = None
    """Metrics besides; no program depends on them."""
    chooses: bool = True
    """Whether a metric may say which iterate is returned."""


def program_for(loss: Any, job: Job) -> tuple[Program, Numbers, float]:
    """The compiled program for a run, from the shelf or made now; and the seconds that took."""
    _, rule_numbers, rule_layout = divide(job.rule, traced_or_static, is_leaf=is_foreign)
    numbers = Numbers(rule_numbers, job.stop, job.inputs)
    form = (job.problem, rule_layout, (job.keep, job.record, job.engine))
    values = (job.x, numbers.leaves())
    program, seconds = kept_or_made(loss, form, values, lambda: _compile(job, rule_layout, numbers))
    return program, numbers.with_captured(program.captured), seconds


def kept_or_made(
    loss: Any, form: tuple[Problem, Layout, Any], values: Any, make: Callable[[], Any]
) -> tuple[Any, float]:
    """A program from the loss's shelf, or made now; and the seconds that took.

    Args:
      loss: the user's function.
      form: how it is called, the layout of the update rule, and what else the program depends on.
      values: all that is traced, for one run.
      make: makes the program.
    """
    problem, rule, switches = form
    leaves, treedef = jax.tree.flatten(values)
    shelf, method = shelf_of(loss)
    layouts = tuple(map(key_of, (problem.params, problem.args, rule)))
    called = (problem.has_aux, problem.plan, problem.bounded, switches, treedef, method)
    key = (layouts, called, kinds_of(leaves))
    program = shelf.get(key)
    if program is not None:
        return program, 0.0
    began = time.perf_counter()
    program = make()
    shelf.put(key, program)
    return program, time.perf_counter() - began


def _compile(job: Job, rule_layout: Layout, numbers: Numbers) -> Program:
    # Parts of the job, since what is compiled must not keep all of it alive.
    x, record, keep = job.x, job.record, job.keep
    problem, jaxpr = job.problem.traced(x, numbers.inputs)
    captured, problem = captured_by(jaxpr), dataclasses.replace(problem, apart=is_streamed(jaxpr))
    numbers = numbers.with_captured(captured)

    def descent(rule: list[Any], stop: Stop, inputs: Inputs) -> Descent:
        return Descent(problem, inputs, rule_layout.merge((), rule), stop, record)

    def begin(x: PyTree, *values: Any) -> Ongoing:
        d = descent(*values)
        carry = d.begin(x)
        lowest = jax.numpy.full((), np.inf, problem.loss_dtype) if keep == "best" else None
        return ongoing_from(carry, lowest)

    placed = [leaf for leaf in jax.tree.leaves((x, numbers.inputs)) if is_placed(leaf)]
    # What is not used is kept then, since it says on which device the rest must lie. Not always:
    # on jax 0.12 what a loss captured would live on.
    begun = prepared(begin, x, *numbers.leaves(), keep_unused=bool(placed))
    fresh = jax.eval_shape(begin, x, *numbers.leaves())
    where: dict[str, Any] = {}
    if placed:
        fresh, where, begun = _placed(fresh, begun())
    platform = _platform(placed)

    def make(engine: Engine, why: str) -> tuple[Any, Sizes, Any]:
        sizes = engine.sizes(_cost(job, fresh, jaxpr))

        def run(ongoing: Ongoing, goal: Goal, *values: Any) -> tuple[Ongoing, Output]:
            return engine.advance(descent(*values), sizes, ongoing, goal)

        call = fresh, Goal.of(0), *numbers.leaves()
        options = engine.compiler_options
        moved = prepared(run, *call, donate=0, options=options, **where)
        return moved(), sizes, (engine, why)

    moved, sizes, (engine, why) = with_engine(make, job.engine, platform, jaxpr, many=False)
    rows_have_all = (record.grad_norm or job.stop.gtol is not None) and not problem.has_aux
    later = None if rows_have_all else Look(_looking(problem), engine, platform)
    told, digest = engine.described(sizes) + why, digest_of(jaxpr)
    return Program(begun(), moved, later, fresh, sizes, told, captured, digest)


def _looking(problem: Problem) -> Callable[..., Any]:
    """Evaluates at one iterate. Not by way of the rule: it is kept, with all that it leads to."""

    def look(x: PyTree, step: Any, inputs: Inputs) -> Any:
        _, grads = problem.evaluate(x, inputs, step)
        return max_norm(problem.projected(x, grads, inputs)), problem.aux(x, inputs, step)

    return look


def _cost(job: Job, fresh: Ongoing, jaxpr: Any) -> Cost:
    """What an engine's sizes depend on."""
    params = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(fresh.carry.x))
    work = work_of(jaxpr) + sum(leaf.size for leaf in jax.tree.leaves(fresh.carry))
    row = max(leaf.dtype.itemsize for leaf in (jaxpr.out_avals[0], job.stop.patience))
    aux = sum(aval.size * aval.dtype.itemsize for aval in jaxpr.out_avals[1:])
    snapshot = params * job.record.params + aux * job.record.aux
    goes_back = job.keep == "best" or bool(job.stop.given)
    return Cost(work, row, snapshot, job.record.every, goes_back)


def _platform(placed: list[Any]) -> str:
    """Of the device that a run is on, or what it is on instead."""
    devices = {device for leaf in placed for device in leaf.sharding.device_set}
    if option("jax_disable_jit") or len(devices) > 1:
        return "several devices" if devices else "Python"
    default = devices.pop() if devices else option("jax_default_device")
    return str(getattr(default, "platform", default or jax.default_backend()))


def _placed(fresh: Ongoing, begin: Any) -> tuple[Ongoing, dict[str, Any], Any]:
    """The form of a run that lies where the user's arrays lie, and stays there."""
    shardings = begin.output_shardings
    there = jax.tree.map(
        lambda leaf, place: leaf.update(sharding=place),
        fresh,
        shardings,
    )
    return there, {"out_shardings": (shardings, None)}, lambda: begin


def prepared(
    function: Any, *args: Any, donate: Any = (), options: dict[str, Any] | None = None, **where: Any
) -> Any:
    """Trace `function` now, so that what is wrong with it is said; the answer compiles it.

    Args:
      function: pure.
      args: what it is called with.
      donate: which of them it may overwrite.
      options: the compiler's.
      where: further options of jax.jit.

    Under `jax.disable_jit` it stays as it is.
    """
    if option("jax_disable_jit"):
        return lambda: function
    traced = jax.jit(function, donate_argnums=donate, **where).trace(*args)
    if len(traced.jaxpr.in_avals) > len(jax.tree.leaves(args)):
        # The loss and all numbers have been looked at: it can only be a function of the rule's.
        raise ValueError(f"rule {USE_DESCEND}")
    lowered = traced.lower()
    return lambda: _Quiet(lowered.compile(compiler_options=options))


class _Quiet:
    """A compiled function out of reach of the guards that the user has set."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    @property
    def output_shardings(self) -> Any:
        """Where the outputs lie."""
        return self._compiled.output_shardings

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        if not any(map(option, _GUARDS)):
            return self._compiled(*args)
        with unguarded():
            return self._compiled(*args)


_GUARDS = ("jax_debug_nans", "jax_debug_infs", "jax_transfer_guard")
