"""What has become of the runs so far, on the host."""

import copy
import itertools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.archive import Contents
from jaxgd.lanes import PAUSED, Film, Finished
from jaxgd.named import fitting, named, unnamed, whole
from jaxgd.record import Record, Row
from jaxgd.status import Status


class Ledger:
    """The outcomes of all runs, as arrays with a leading axis of runs.

    Several threads write to it, each the rows of its own runs.
    """

    def __init__(
        self, count: int, like: Finished, record: Record, rows: int, row: Row | None
    ) -> None:
        self._lock = threading.Lock()
        self._record, self._rows, self._rows_like = record, rows, row
        self.outcomes: Finished = jax.tree.map(lambda leaf: _unknown(count, leaf), like)
        self._film: Row | None = None
        self._known: Any = np.zeros(count, np.int64)
        self.done = 0
        """Runs that have ended."""
        self.lowest = np.inf
        """The lowest loss of them."""

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self._known)

    def copy(self) -> "Ledger":
        """What is known now, in arrays of its own."""
        same = copy.copy(self)
        same.outcomes, same._known, same._film = self._copied()
        same.end(same.outcomes.status == PAUSED, Status.RUNNING)
        return same

    def state(self) -> Contents:
        """The same for the disk."""
        outcomes, known, film = self._copied()
        leaves = {} if film is None else dict(enumerate(jax.tree.leaves(film)))
        arrays = {f"film.{i}": leaf for i, leaf in leaves.items()}
        says = {"done": self.done, "lowest": self.lowest, "film": len(leaves)}
        return says, {"known": known, **named("outcomes", outcomes), **arrays}

    def restore(self, says: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Know what the disk knew."""
        self.done, self.lowest = whole(says["done"]), float(says["lowest"])
        self._known = fitting(arrays, "known", self._known.shape, self._known.dtype)
        self.outcomes = unnamed(arrays, "outcomes", self.outcomes)
        if says["film"]:
            leaves, form = jax.tree.flatten(self._rows_like)
            room = self._rows, len(self._known)
            film = [
                fitting(arrays, f"film.{i}", (*room, *leaf.shape[1:]), leaf.dtype)
                for i, leaf in enumerate(leaves)
            ]
            self._film = jax.tree.unflatten(form, film)

    def _copied(self) -> Any:
        # Never more rows known than are there.
        return jax.tree.map(np.copy, (self.outcomes, self._known, self._film))

    def absorb(self, finished: Finished, count: int) -> None:
        """Take in the outcomes in the first `count` rows of a call."""
        if not count:
            return
        runs = np.asarray(finished.run)[:count]
        for mine, theirs in zip(
            jax.tree.leaves(self.outcomes), jax.tree.leaves(finished), strict=True
        ):
            mine[runs] = np.asarray(theirs)[:count]
        status = np.asarray(finished.status)[:count]
        ended = (status != PAUSED) & (status != Status.NON_FINITE)
        losses = np.asarray(finished.loss)[:count][ended].astype(np.float64)
        with self._lock:
            self.done += int(np.sum(status != PAUSED))
            self.lowest = float(np.fmin(self.lowest, np.min(losses, initial=np.inf)))

    def absorb_film(self, film: Film, chunks: int) -> None:
        """Take in the recorded rows of a call's first `chunks` chunks."""
        with self._lock:
            if self._film is None:
                room = self._rows, len(self._known)
                self._film = jax.tree.map(
                    lambda leaf: np.empty((*room, *leaf.shape[3:]), leaf.dtype), film.rows
                )
        marks = (film.run, film.first, film.count)
        run, first, made = (np.asarray(mark)[:chunks] for mark in marks)
        pairs = zip(jax.tree.leaves(self._film), jax.tree.leaves(film.rows), strict=True)
        leaves = [(mine, np.asarray(theirs)) for mine, theirs in pairs]
        for some in _in_step(run, first, made):
            for lanes in _groups(first[some.start], made[some.start]):
                marks = tuple(mark[some.start][lanes] for mark in (run, first, made))
                for mine, theirs in leaves:
                    _copy_rows(mine, theirs[some][:, :, lanes], marks, self._record.every)
                self._known[marks[0]] = (first + made)[some.stop - 1][lanes]

    def history(self) -> Row | None:
        """The rows of all runs, (runs, rows, ...) each: NaN, or 0, where a run has none (yet)."""
        if self._film is None:
            return None
        known = -(-self._known // self._record.every)
        late: Any = np.arange(self._rows)[:, None] >= known

        def one(leaf: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            leaf[late] = np.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
            return leaf.swapaxes(0, 1)

        rows: Row = jax.tree.map(one, self._film)
        return rows

    def status(self, runs: Any) -> np.ndarray[Any, Any]:
        """The statuses of some runs."""
        chosen: np.ndarray[Any, Any] = self.outcomes.status[runs]
        return chosen

    def end(self, runs: Any, status: int) -> None:
        """Say how some runs ended that the device has not ended."""
        self.outcomes.status[runs] = status


def _unknown(count: int, leaf: Any) -> np.ndarray[Any, Any]:
    """Room for the values of all runs: NaN until they are known, or 0 where there is no NaN."""
    shape = (count, *leaf.shape[1:])
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return np.full(shape, np.nan, leaf.dtype)
    return np.zeros(shape, leaf.dtype)


FEW = 4
"""Groups of lanes that are copied one after another; more of them all at once."""


def _in_step(run: Any, first: Any, made: Any) -> list[slice]:
    """The chunks, those together through which all lanes go on with the same runs abreast."""
    if not len(run):
        return []
    abreast = (np.ptp(first, axis=1) == 0) & (np.ptp(made, axis=1) == 0)
    goes_on = np.all(run[1:] == run[:-1], axis=1) & (first[1:, 0] == first[:-1, 0] + made[:-1, 0])
    goes_on &= abreast[1:] & abreast[:-1] & (made[1:, 0] == made[:-1, 0])
    starts = [0, *(np.flatnonzero(~goes_on) + 1), len(run)]
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(starts)]


def _groups(first: np.ndarray[Any, Any], made: np.ndarray[Any, Any]) -> list[Any]:
    """The lanes that made rows, those together that began at the same step and made as many."""
    busy = np.flatnonzero(made)
    if len(busy) == len(made) and np.ptp(first) == 0 and np.ptp(made) == 0:
        return [slice(None)]
    marks = first[busy].astype(np.int64) * 2**31 + made[busy]
    values, group = np.unique(marks, return_inverse=True)
    if len(values) > FEW:
        return [busy]
    return [busy[group == i] for i in range(len(values))]


def _copy_rows(mine: Any, rows: Any, marks: tuple[Any, ...], every: int) -> None:
    """Take the recorded ones of some lanes' rows, (chunks, rows, lanes, ...).

    Args:
      mine: where to, (rows, runs, ...): what comes together lies together.
      rows: of chunks that follow one another; of one, if not all lanes are at the same step.
      marks: of each lane its run, the step of its first row, and how many rows of a chunk are
        valid.
      every: steps from one recorded row to the next.
    """
    run, first, made = marks
    if np.ptp(first) == 0 and np.ptp(made) == 0:  # much faster than to index each row
        skipped = int(-first[0] % every)
        at, some = (int(first[0]) + skipped) // every, rows[:, : int(made[0])]
        if every > 1 or len(rows) == 1:
            some = some.reshape(-1, *some.shape[2:])[None, skipped::every]
        room = mine[at : at + some.shape[0] * some.shape[1]]
        room.reshape(*some.shape[:2], *room.shape[1:])[:, :, _places(run)] = some
        return
    step = first + np.arange(rows.shape[1])[:, None]
    valid = (step < first + made) & (step % every == 0)
    runs = np.broadcast_to(run, valid.shape)
    mine[step[valid] // every, runs[valid]] = rows[0][valid]


def _places(run: Any) -> Any:
    """Runs as a slice, where they are a sequence of equal steps."""
    if len(run) < 2 or run[1] <= run[0] or np.any(np.diff(run) != run[1] - run[0]):
        return run
    return slice(int(run[0]), int(run[-1]) + 1, int(run[1] - run[0]))
