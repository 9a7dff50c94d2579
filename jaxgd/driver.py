"""The driver: compiles a run, keeps the program as long as its loss lives, and calls it in pieces.

All that is not pure happens here and above: compilation, clocks, signals, callbacks.
"""

import contextlib
import dataclasses
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.engines.cost import work_of
from jaxgd.engines.plain import Flight, Plain, Sizes, Window, advance, launch
from jaxgd.loop import Descent
from jaxgd.problem import Inputs, Problem
from jaxgd.record import Record
from jaxgd.refusal import USE_DESCEND
from jaxgd.stop import Stop
from jaxgd.tree import Layout, PyTree, divide, max_norm, traced_or_static

PROGRAMS_PER_LOSS = 64


@dataclasses.dataclass
class Numbers:
    """The traced values of a call besides params and state."""

    rule: list[Any]
    stop: Stop
    inputs: Inputs

    def leaves(self) -> tuple[list[Any], Stop, Inputs]:
        """As arguments of the compiled functions."""
        return self.rule, self.stop, self.inputs


@dataclasses.dataclass
class Program:
    """The compiled functions of one form of run."""

    begin: Callable[..., Flight]
    advance: Callable[..., tuple[Flight, Window]]
    look: "Look"
    fresh: Flight
    """Shapes and dtypes of a flight."""
    sizes: Sizes
    rate: float | None = None
    """Steps per second as last seen; only the length of calls depends on it."""


class Look:
    """An evaluation at one iterate, with aux; compiled when it is first needed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Callable[..., Any] | None = function
        self._compiled: Callable[..., Any] | None = None
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        """The loss, the gradient norm and aux."""
        if self._compiled is None:
            began = time.perf_counter()
            assert self._function is not None
            self._compiled, self._function = _traced(self._function, *args)(), None
            self.seconds = time.perf_counter() - began
        return self._compiled(*args)


_programs: dict[int, tuple[Any, OrderedDict[Any, Program]]] = {}


def _shelf(loss: Any) -> tuple[OrderedDict[Any, Program], Any]:
    """The programs of a loss, held weakly: they go when it does; and what tells its methods apart.

    A bound method is a new object at each access, so its programs belong to its instance.
    """
    owner, method = getattr(loss, "__self__", loss), getattr(loss, "__func__", None)
    name = id(owner)
    if name in _programs and _programs[name][0]() is owner:
        return _programs[name][1], method
    shelf: OrderedDict[Any, Program] = OrderedDict()
    with contextlib.suppress(TypeError):
        _programs[name] = (weakref.ref(owner, lambda _: _programs.pop(name, None)), shelf)
    return shelf, method


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
    engine: Plain


def program_for(loss: Any, job: Job) -> tuple[Program, Numbers, float]:
    """The compiled program for a run, from the shelf or made now; and the seconds that took."""
    _, rule_numbers, rule_layout = divide(job.rule, traced_or_static)
    numbers = Numbers(rule_numbers, job.stop, job.inputs)
    leaves, treedef = jax.tree.flatten((job.x, numbers.leaves()))
    shelf, method = _shelf(loss)
    form = (job.problem.form, rule_layout, job.record, job.keep, job.engine, treedef, method)
    key = (form, tuple(map(_kind, leaves)), _configuration())
    program = shelf.get(key)
    if program is not None:
        shelf.move_to_end(key)
        return program, numbers, 0.0
    began = time.perf_counter()
    program = _compile(job, rule_layout, numbers)
    shelf[key] = program
    while len(shelf) > PROGRAMS_PER_LOSS:
        shelf.popitem(last=False)
    return program, numbers, time.perf_counter() - began


_OPTIONS = (
    "jax_enable_x64",
    "jax_disable_jit",
    "jax_default_device",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_debug_nans",
    "jax_debug_infs",
)


def _kind(leaf: Any) -> Any:
    """What a compiled program depends on in an argument."""
    if not hasattr(leaf, "dtype"):
        return type(leaf)
    placed = getattr(leaf, "committed", False) and leaf.sharding
    return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False), placed


def _configuration() -> tuple[Any, ...]:
    """JAX's options that change what a function compiles to."""
    return tuple(map(_option, _OPTIONS))


def _option(name: str) -> Any:
    return getattr(jax.config, name, None)


def _compile(job: Job, rule_layout: Layout, numbers: Numbers) -> Program:
    x, record = job.x, job.record
    traced, jaxpr = job.problem.traced(x, numbers.inputs)

    def descent(rule: list[Any], stop: Stop, inputs: Inputs) -> Descent:
        return Descent(traced, inputs, rule_layout.merge((), rule), stop, record)

    def begin(x: PyTree, *values: Any) -> Flight:
        d = descent(*values)
        carry = d.begin(x)
        loss, _ = jax.eval_shape(d.evaluate, carry)
        lowest = jax.numpy.full((), np.inf, loss.dtype) if job.keep == "best" else None
        return launch(carry, lowest)

    def look(x: PyTree, step: Any, *values: Any) -> Any:
        d = descent(*values)
        loss, grads = d.evaluate(dataclasses.replace(d.begin(x), step=step))
        norm = max_norm(traced.projected(x, grads, d.inputs))
        return loss, norm, traced.call(x, d.inputs, step)[1]

    begun = _traced(begin, x, *numbers.leaves())
    fresh = jax.eval_shape(begin, x, *numbers.leaves())
    snapshot = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(fresh.carry.x))
    work = work_of(jaxpr) + sum(leaf.size for leaf in jax.tree.leaves(fresh.carry))
    sizes = job.engine.sizes(work, snapshot if record.params else 0, record.every)

    def run(flight: Flight, until: Any, final: Any, *values: Any) -> tuple[Flight, Window]:
        return advance(descent(*values), sizes, flight, until, final)

    until, final = np.int32(0), np.bool_(False)
    moved = _traced(run, fresh, until, final, *numbers.leaves(), donate=0)
    return Program(begun(), moved(), Look(look), fresh, sizes)


def _traced(function: Any, *args: Any, donate: Any = ()) -> Callable[[], Callable[..., Any]]:
    """Trace `function` now, so that what is wrong with it is said; the answer compiles it.

    Under `jax.disable_jit` it stays as it is.
    """
    traced = jax.jit(function, donate_argnums=donate).trace(*args)
    if len(traced.jaxpr.in_avals) > len(jax.tree.leaves(args)):
        # The loss and all numbers have been looked at: it can only be a function of the rule's.
        raise ValueError(f"rule {USE_DESCEND}")
    return (lambda: function) if _option("jax_disable_jit") else traced.lower().compile
