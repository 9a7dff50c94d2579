"""Of a run that went non-finite, what was so first: asked after its end, at no cost before.

The state of such a run is that of its last finite iterate, so the step after it can be made again,
by the same compiled program to the same bits; and there each array is looked at.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.calls import Caller
from jaxgd.canonical import is_number
from jaxgd.driver import Job, kept_or_made, prepared
from jaxgd.loop import Carry
from jaxgd.problem import Inputs
from jaxgd.result import Result
from jaxgd.run import Run
from jaxgd.status import Status
from jaxgd.tree import NO_LEAVES, PyTree, arithmetic_dtype, real_dtype

NAMED = 4
"""Arrays of a kind that are named at most."""


def diagnosed(loss: Any, job: Job, run: Run, result: Result) -> Result:
    """A result with its diagnosis, if it is NON_FINITE.

    Args:
      loss: the user's function, on whose shelf the program that looks at the arrays is.
      job: what was run.
      run: the run of it.
      result: how that went.
    """
    if result.status != Status.NON_FINITE:
        return result
    numbers, steps = run.numbers, int(result.steps)
    caller = Caller(run.program, numbers, steps, final_row=False, eager=True, supply=run.supply)
    before = result.state.carry

    def make() -> Any:
        return prepared(_looking(job), before.x, np.int32(0), numbers.inputs)()

    form, values = (job.problem, NO_LEAVES, "diagnosis"), (job.x, numbers.inputs)
    look, seconds = kept_or_made(loss, form, values, make)

    def view(carry: Carry) -> _View:
        step = int(carry.step)
        found = look(carry.x, np.int32(step), caller.inputs_at(step))
        value, *parts = jax.tree.map(np.asarray, found)
        return _View(step, value, *([_Entries(*one) for one in part.items()] for part in parts))

    there = view(caller.brought(before, int(before.step), steps))
    told = f"At step {there.step:,}: {_told(view(before), there)}"
    given = _bad(there.given)
    told += f"; it was called with {_listed(there.given, given, _Entries.wrong)}." if given else "."
    late = result.compile_seconds
    late = None if late is None else late + seconds
    return dataclasses.replace(result, diagnosis=told, compile_seconds=late)


def _looking(job: Job) -> Any:
    problem, given = job.problem.traced(job.x, job.inputs)[0], job.problem

    def look(x: PyTree, step: Any, inputs: Inputs) -> Any:
        loss, grads = problem.evaluate(x, inputs, step)
        params, grads = (_seen("params", problem.unpacked(tree)) for tree in (x, grads))
        with_it = _seen("args", given.args.merge((), inputs.args))
        if given.plan is not None:
            with_it |= _seen("batch", given.given(inputs, step).data.batch)
        return loss, params, grads, with_it

    return look


def _seen(name: str, tree: PyTree) -> dict[str, Any]:
    """What is seen of each array that has floats, by where it is."""
    places = jax.tree_util.tree_leaves_with_path(tree)
    return {
        name + jax.tree_util.keystr(path): _seen_of(jnp.asarray(leaf))
        for path, leaf in places
        if is_number(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    }


def _seen_of(leaf: jax.Array) -> tuple[Any, ...]:
    """Its size, how many entries are NaN and how many infinite; between what the others are."""
    nan, fine = jnp.isnan(leaf), jnp.isfinite(leaf)
    sizes = jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf
    sizes = sizes.astype(arithmetic_dtype(real_dtype(leaf.dtype)))
    low, high = (jnp.where(fine, sizes, end) for end in (jnp.inf, -jnp.inf))
    counts = jnp.sum(nan), jnp.sum(~fine & ~nan)
    return leaf.size, *counts, jnp.min(low, initial=jnp.inf), jnp.max(high, initial=-jnp.inf)


@dataclasses.dataclass(frozen=True)
class _Entries:
    """What was seen of an array."""

    name: str
    seen: tuple[Any, ...]

    @property
    def bad(self) -> bool:
        """Whether an entry is not finite."""
        return bool(self.seen[1] + self.seen[2])

    def wrong(self) -> str:
        """How many entries are not finite."""
        size, nan, infinite, *_ = self.seen
        kinds = [f"{n:,} {kind}" for n, kind in ((nan, "nan"), (infinite, "infinite")) if n]
        return f"{self.name} ({' and '.join(kinds)} of {size:,})"

    def between(self) -> str:
        """Where the finite entries are."""
        size, *_, low, high = self.seen
        if low > high:
            return f"{self.name} without a finite entry"
        shown = f" = {low:.6g}" if size == 1 else f" in [{low:.6g}, {high:.6g}]"
        return self.name + shown


@dataclasses.dataclass(frozen=True)
class _View:
    """What was seen at an iterate."""

    step: int
    loss: Any
    params: list[_Entries]
    grads: list[_Entries]
    given: list[_Entries]
    """The args and the batch."""


def _told(before: _View, there: _View) -> str:
    """What was not finite first: the params, the loss or the gradient."""
    loss, wrong = f"the loss is {float(there.loss):.6g}", _bad(there.params)
    if wrong and there.step == before.step:
        return f"the start is not finite in {_listed(there.params, wrong, _Entries.wrong)}"
    if wrong:
        return (
            f"the update of step {before.step:,} has made params non-finite, "
            f"{_listed(there.params, wrong, _Entries.wrong)}; before it the loss is "
            f"{float(before.loss):.6g} with {_listed(before.params, wrong, _Entries.between)}, "
            f"the gradient there has {_listed(before.grads, wrong, _Entries.between)}"
        )
    wrong = _bad(there.grads)
    shown = _listed(there.params, wrong or list(range(len(there.params))), _Entries.between)
    at = f"where all params are finite, with {shown}"
    if wrong:
        gradient = f"the gradient is not finite in {_listed(there.grads, wrong, _Entries.wrong)}"
        finite = np.isfinite(there.loss)
        return f"{gradient}; {loss}, {at}" if finite else f"{loss}, {at}; {gradient}"
    if not np.isfinite(there.loss):
        return f"{loss}, {at}; the gradient is finite"
    return f"{loss} and the gradient finite when evaluated alone, rounded otherwise, {at}"


def _bad(some: list[_Entries]) -> list[int]:
    return [i for i, entries in enumerate(some) if entries.bad]


def _listed(entries: list[_Entries], which: list[int], told: Any) -> str:
    more = len(which) - NAMED
    named = ", ".join(told(entries[i]) for i in which[:NAMED])
    return named + (f" and {more:,} more" if more > 0 else "")
