"""The metrics of many runs: evaluated where all of them wait, judged run by run."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.archive import Contents
from jaxgd.ledger import Ledger
from jaxgd.metrics import Meter
from jaxgd.named import fitting, named, unnamed, whole
from jaxgd.problem import Problem
from jaxgd.status import Status
from jaxgd.tree import PyTree

TOGETHER = 64
"""Runs that are evaluated by one call."""


@dataclasses.dataclass
class Kept:
    """Of each run where it was when its metric was best; `step` is -1 before that."""

    step: Any
    x: PyTree


class Panel:
    """The metrics of all runs so far."""

    def __init__(self, meter: Meter, problem: Problem, count: int) -> None:
        self.meter, self._problem, self._count = meter, problem, count
        self._rows: dict[int, dict[str, Any]] = {}
        stop = meter.evaluate.stop
        self._best: Any = np.full(count, np.nan if stop is None else stop.worst)
        self._since: Any = np.zeros(count, np.int64)
        self._kept: Kept | None = None

    @property
    def every(self) -> int:
        """Steps from one evaluation to the next."""
        return self.meter.evaluate.every

    def packed(self, x: PyTree) -> PyTree:
        """Iterates as runs have them."""
        return self._problem.packed_rows(x)

    def take(self, step: int, runs: Any, x: PyTree) -> Any:
        """Evaluate some runs at a step.

        Args:
          step: at which they are.
          runs: their indices.
          x: their iterates, as runs have them, with a leading axis.

        Returns:
          The indices of those whose metric has not improved for too long.
        """
        if not len(runs):
            return runs
        values = self._evaluated(x, len(runs))
        if step not in self._rows:
            self._rows[step] = {name: np.full(self._count, np.nan) for name in values}
        for name, column in self._rows[step].items():
            column[runs] = values[name]
        stop = self.meter.evaluate.stop
        if stop is None:
            return runs[:0]
        value = values[stop.metric]
        better = stop.better(value, self._best[runs])
        self._best[runs] = np.where(better, value, self._best[runs])
        self._since[runs] = np.where(better, 0, self._since[runs] + 1)
        self._keep(step, runs[better], jax.tree.map(lambda leaf: np.asarray(leaf)[better], x))
        return runs[self._since[runs] >= stop.patience]

    def _evaluated(self, x: PyTree, count: int) -> dict[str, Any]:
        parts = [self.meter(jax.tree.map(operator.itemgetter(at), x)) for at in _few(count)]
        return {name: np.concatenate([p[name] for p in parts])[:count] for name in parts[0]}

    def _keep(self, step: int, runs: Any, x: PyTree) -> None:
        if self._kept is None:
            never: Any = np.full(self._count, -1, np.int32)
            room = jax.tree.map(lambda a: np.zeros((self._count, *a.shape[1:]), a.dtype), x)
            self._kept = Kept(never, room)
        self._kept.step[runs] = step
        for room, leaf in zip(jax.tree.leaves(self._kept.x), jax.tree.leaves(x), strict=True):
            room[runs] = leaf

    def hand_over(self, ledger: Ledger, look: Callable[[Any, PyTree, Any], Any]) -> None:
        """Let the best iterate of each run that an EarlyStop watches be the one it returns.

        Args:
          ledger: of the runs.
          look: the losses and gradient norms of some runs, at an iterate and a step of each.
        """
        if self._kept is None:
            return
        kept, outcomes = self._kept, ledger.outcomes
        ended = ~np.isin(outcomes.status, (Status.RUNNING, Status.NOT_STARTED))
        # A metric may be good where the loss is not finite any more.
        lost = (outcomes.status == Status.NON_FINITE) & (kept.step >= outcomes.steps)
        runs = np.flatnonzero((kept.step >= 0) & ended & ~lost)
        if not len(runs):
            return
        x, steps = jax.tree.map(lambda leaf: leaf[runs], kept.x), kept.step[runs]
        parts = []
        for at in _few(len(runs)):
            parts.append(look(runs[at], jax.tree.map(operator.itemgetter(at), x), steps[at]))
        loss, norm = (np.concatenate([part[i] for part in parts])[: len(runs)] for i in (0, 1))
        outcomes.at_step[runs], outcomes.loss[runs], outcomes.grad_norm[runs] = steps, loss, norm
        ends = self._problem.unpacked(x)
        for room, leaf in zip(jax.tree.leaves(outcomes.x), jax.tree.leaves(ends), strict=True):
            room[runs] = np.asarray(leaf)

    def state(self) -> Contents:
        """All of it for the disk."""
        rows = {f"panel.{s}.{name}": a for s, row in self._rows.items() for name, a in row.items()}
        arrays = {name: column.copy() for name, column in rows.items()}
        arrays |= {"panel.best": self._best.copy(), "panel.since": self._since.copy()}
        if self._kept is not None:
            kept = jax.tree.map(np.copy, self._kept.x)
            arrays |= {"panel.step": self._kept.step.copy(), **named("panel.x", kept)}
        told = {"steps": sorted(self._rows), "names": list(next(iter(self._rows.values()), {}))}
        return {**told, "kept": self._kept is not None}, arrays

    def restore(self, says: dict[str, Any], arrays: dict[str, Any], like: PyTree) -> None:
        """Be as it was on the disk; `like` is a tree of iterates of all runs."""
        each = (self._count,)
        self._rows = {
            whole(step): {n: fitting(arrays, f"panel.{step}.{n}", each) for n in says["names"]}
            for step in says["steps"]
        }
        self._best = fitting(arrays, "panel.best", each)
        self._since = fitting(arrays, "panel.since", each, self._since.dtype)
        if says["kept"]:
            steps = fitting(arrays, "panel.step", each, np.int32)
            self._kept = Kept(steps, unnamed(arrays, "panel.x", like))

    def table(self) -> tuple[dict[str, Any] | None, Any]:
        """The metrics by name, (runs, evaluations) each, NaN where a run has none; their steps."""
        if not self._rows:
            return None, None
        steps = sorted(self._rows)
        names = self._rows[steps[0]]
        rows = {name: np.stack([self._rows[s][name] for s in steps], axis=1) for name in names}
        return rows, np.array(steps)


def _few(count: int) -> list[Any]:
    """Indices of `TOGETHER` at a time, the last ones filled up with the last one."""
    starts = range(0, count, TOGETHER)
    return [np.minimum(np.arange(first, first + TOGETHER), count - 1) for first in starts]
