"""What has become of the runs so far, on the host."""

import copy
import itertools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.lanes import PAUSED, Film, Finished
from jaxgd.record import Record, Row
from jaxgd.status import Status


class Ledger:
    """The outcomes of all runs, as arrays with a leading axis of runs.

    Several threads write to it, each the rows of its own runs.
    """

    def __init__(self, count: int, like: Finished, record: Record, rows: int) -> None:
        self._lock = threading.Lock()
        self._record, self._rows = record, rows
        self.outcomes: Finished = jax.tree.map(lambda leaf: _unknown(count, leaf), like)
        self.film: Row | None = None
        self.done = 0
        """Runs that have ended."""
        self.lowest = np.inf
        """The lowest loss of them."""

    def copy(self) -> "Ledger":
        """What is known now, in arrays of its own."""
        same = copy.copy(self)
        same.outcomes, same.film = jax.tree.map(np.copy, (self.outcomes, self.film))
        same.end(same.outcomes.status == PAUSED, Status.RUNNING)
        return same

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
            if self.film is None:
                count = len(self.outcomes.run)
                self.film = jax.tree.map(
                    lambda leaf: _unknown(count, leaf[0, 0, :1], self._rows), film.rows
                )
        marks = (film.run, film.first, film.count)
        run, first, made = (np.asarray(mark)[:chunks] for mark in marks)
        pairs = zip(jax.tree.leaves(self.film), jax.tree.leaves(film.rows), strict=True)
        leaves = [(mine, np.asarray(theirs)) for mine, theirs in pairs]
        for some in _in_step(run, first, made):
            for lanes in _groups(first[some.start], made[some.start]):
                marks = tuple(mark[some.start][lanes] for mark in (run, first, made))
                length = made[some.start, 0] if some.stop > some.start + 1 else None
                for mine, theirs in leaves:
                    rows = np.concatenate(theirs[some, :length])[:, lanes].swapaxes(0, 1)
                    _copy_rows(mine, rows, marks, some.stop - some.start, self._record.every)

    def status(self, runs: Any) -> np.ndarray[Any, Any]:
        """The statuses of some runs."""
        chosen: np.ndarray[Any, Any] = self.outcomes.status[runs]
        return chosen

    def end(self, runs: Any, status: int) -> None:
        """Say how some runs ended that the device has not ended."""
        self.outcomes.status[runs] = status


def _unknown(count: int, leaf: Any, *more: int) -> np.ndarray[Any, Any]:
    """Room for the values of all runs: NaN until they are known, or 0 where there is no NaN."""
    shape = (count, *more, *leaf.shape[1:])
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


def _copy_rows(mine: Any, rows: Any, marks: tuple[Any, ...], chunks: int, every: int) -> None:
    """Take the recorded ones of some lanes' rows, (lanes, rows, ...).

    Args:
      mine: where to, (runs, rows, ...).
      rows: all of them.
      marks: of each lane its run, the step of its first row, and how many of a chunk are valid.
      chunks: how many chunks the rows are of.
      every: steps from one recorded row to the next.
    """
    run, first, made = marks
    if np.ptp(first) == 0 and np.ptp(made) == 0:  # much faster than to index each row
        skipped = int(-first[0] % every)
        some = rows[:, skipped : chunks * int(made[0]) : every]
        at = (int(first[0]) + skipped) // every
        mine[run, at : at + some.shape[1]] = some
        return
    step = first[:, None] + np.arange(rows.shape[1])
    valid = (step < (first + made)[:, None]) & (step % every == 0)
    runs = np.broadcast_to(run[:, None], valid.shape)
    mine[runs[valid], step[valid] // every] = rows[valid]
