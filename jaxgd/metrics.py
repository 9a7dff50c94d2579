"""The metrics of runs: computed on the device between two calls, judged on the host."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.driver import prepared
from jaxgd.evaluate import Evaluate
from jaxgd.problem import Problem
from jaxgd.programs import key_of, kinds_of, shelf_of
from jaxgd.pytree import pytree
from jaxgd.refusal import shown
from jaxgd.tree import PyTree, strong


@dataclasses.dataclass
class Meter:
    """What computes the metrics of some params."""

    evaluate: Evaluate
    data: PyTree
    held: list[Any]
    """The leaves of the params that are not optimised."""
    compiled: Any

    def __call__(self, x: PyTree) -> dict[str, Any]:
        """The metrics at an iterate, or at many with a leading axis; it does not wait for them."""
        values: dict[str, Any] = self.compiled(x, self.held, self.data)
        return values


def meter_for(
    evaluate: Evaluate, problem: Problem, x: PyTree, held: list[Any], *, many: bool = False
) -> Meter:
    """What computes the metrics, from the shelf of its function or compiled now.

    Args:
      evaluate: checked.
      problem: whose params they are of.
      x: the optimised leaves of one iterate; if `many`, of some, with a leading axis.
      held: the other leaves, the same for all.
      many: whether it is called with many iterates at once.
    """
    data = jax.tree.map(lambda leaf: jnp.asarray(strong(leaf)), evaluate.data)
    shelf, method = shelf_of(evaluate.fn)
    leaves, treedef = jax.tree.flatten((x, held, data))
    places = tuple(getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(x))
    key = (key_of(problem.params), problem.packing, treedef, kinds_of(leaves), method, many, places)
    made = shelf.get(key)
    if made is None:

        def one(x: PyTree, held: list[Any], data: PyTree) -> Any:
            params = problem.params.merge(jax.tree.leaves(problem.unpacked(x)), held)
            return jax.tree.map(jnp.asarray, evaluate.called(params, data))

        function = jax.vmap(one, (0, None, None)) if many else one
        names = tuple(jax.eval_shape(function, x, held, data))
        made = prepared(function, x, held, data)(), names
        shelf.put(key, made)
    compiled, names = made
    if evaluate.stop is not None and evaluate.stop.metric not in names:
        raise ValueError(
            f"metric must be one of {sorted(names)}, got {shown(evaluate.stop.metric)}"
        )
    return Meter(evaluate, data, held, compiled)


@pytree
class Watched:
    """What a run knows of the metric that an EarlyStop watches."""

    kept: Any
    """Where it was when the best value was found; None if that is not to be returned."""
    best: Any
    since: Any
    counted: Any
    row: Any = None
    """Loss and gradient norm there."""


@dataclasses.dataclass
class Readings:
    """The metrics of one run so far."""

    meter: Meter
    steps: list[int] = dataclasses.field(default_factory=list)
    values: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    waiting: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    """Of calls that have not been read yet."""
    keeps: bool = True
    """Whether the iterate with the best value is to be returned."""
    kept: Any = None
    """Where the run was when the best value was found."""
    row: Any = None
    """Loss and gradient norm there, if its batch may be gone in the end."""
    best: Any = None
    """The best value of the metric that an EarlyStop watches."""
    since: int = 0
    """Evaluations since it was found."""
    counted: int = -1
    """The step of the last evaluation that was compared."""

    def state(self) -> "Watched | None":
        """What a run that is continued must know of its metric."""
        if self.best is None:
            return None
        since, counted = np.int32(self.since), np.int32(self.counted)
        return Watched(self.kept, np.asarray(self.best), since, counted, self.row)

    def take_up(self, state: "Watched | None") -> None:
        """Go on from there."""
        if state is None or self.meter.evaluate.stop is None:
            return
        if state.kept is not None or not self.keeps:  # else the best iterate is not known any more
            self.kept, self.best = state.kept if self.keeps else None, state.best
            self.row = state.row
            self.since, self.counted = int(state.since), int(state.counted)

    def take(self, step: int, x: PyTree) -> None:
        """Evaluate an iterate, if it is due."""
        if step % self.meter.evaluate.every == 0:
            self.waiting.append((step, self.meter(x)))

    def settle(self, step: int) -> bool:
        """Take in what was evaluated up to a step; whether the last of it is the best so far."""
        found = False
        while self.waiting and self.waiting[0][0] <= step:
            at, values = self.waiting.pop(0)
            if at not in self.steps[-1:]:
                self.steps.append(at)
                self.values.append(jax.tree.map(np.asarray, values))
                if at > self.counted:  # the first one of a continuation has been seen before
                    found, self.counted = self._compare(self.values[-1]), at
        return found

    def _compare(self, values: dict[str, Any]) -> bool:
        stop = self.meter.evaluate.stop
        if stop is None:
            return False
        value = values[stop.metric]
        better = bool(stop.better(value, stop.worst if self.best is None else self.best))
        self.best, self.since = (value, 0) if better else (self.best, self.since + 1)
        return better

    @property
    def enough(self) -> bool:
        """Whether the metric has not improved for too long."""
        stop = self.meter.evaluate.stop
        return stop is not None and self.since >= stop.patience

    def table(self) -> tuple[dict[str, Any] | None, Any]:
        """The metrics by name, each with an axis of evaluations, and their steps."""
        if not self.values:
            return None, None
        names = self.values[0]
        rows = {name: np.stack([row[name] for row in self.values]) for name in names}
        return rows, np.array(self.steps)

    def copy(self) -> "Readings":
        """One that may go its own way."""
        steps, values, waiting = list(self.steps), list(self.values), list(self.waiting)
        return dataclasses.replace(self, steps=steps, values=values, waiting=waiting)
