"""What has become of the runs so far, on the host."""

import copy
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
        run, first, made = (np.asarray(mark)[:chunks, None] for mark in marks)
        length = jax.tree.leaves(film.rows)[0].shape[1]
        at = np.arange(length)[:, None]
        step = first + at
        valid = (at < made) & (step % self._record.every == 0)
        runs, rows = np.broadcast_to(run, valid.shape)[valid], step[valid] // self._record.every
        for mine, theirs in zip(
            jax.tree.leaves(self.film), jax.tree.leaves(film.rows), strict=True
        ):
            mine[runs, rows] = np.asarray(theirs)[:chunks][valid]

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
