"""The course of a job of many runs: in groups, by legs, with a choice after each."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxgd.crew import Board, Crew, Leg
from jaxgd.lanes import PAUSED
from jaxgd.ledger import Ledger
from jaxgd.minima import cluster
from jaxgd.progress import Bar
from jaxgd.races import Halving, Rediscovered
from jaxgd.runs import RTOL, Scale, points, succeeded
from jaxgd.signals import Interruption
from jaxgd.status import Status
from jaxgd.walk import End


@dataclasses.dataclass(frozen=True)
class Attention:
    """What is looked at while the runs go on."""

    interruption: Interruption
    stops: Callable[[], Any] | None
    """Whether the user's callback wants to stop."""
    time_limit: float | None
    bar: Bar | None


@dataclasses.dataclass
class Course:
    """How the runs of a job go to their end."""

    crew: Crew
    ledger: Ledger
    count: int
    max_steps: int
    final_row: bool
    prune: Halving | None
    enough: Rediscovered | None
    scale: Callable[[], Scale]
    """Typical sizes of loss and params, from the runs that have ended."""
    log: list[str] = dataclasses.field(default_factory=list)

    def follow(self, attention: Attention) -> None:
        """Go until all is done, or something says that it is enough."""
        board = Board()
        if attention.time_limit is not None:
            board.deadline = time.perf_counter() + attention.time_limit

        def look() -> int:
            self._show(attention.bar)
            if attention.stops is not None and attention.stops():
                return Status.STOPPED
            if attention.interruption.requested:
                return Status.INTERRUPTED
            late = board.deadline is not None and time.perf_counter() >= board.deadline
            return Status.TIME_LIMIT if late else Status.RUNNING

        board.halt = Status.INTERRUPTED if attention.interruption.requested else Status.RUNNING
        for first, runs in self._groups():
            self._go_together(runs, board, look)
            if board.halt or self._found_enough(first + len(runs)):
                break
        self._show(attention.bar)
        if attention.interruption.requested:  # perhaps when all had ended: it must not pass unseen
            self.log.append("Interrupted from the keyboard")
        status = self.ledger.status(slice(None))
        self.ledger.end(status == PAUSED, board.halt)
        self.ledger.end(status == Status.RUNNING, Status.NOT_STARTED)

    def _groups(self) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        size = self.count if self.enough is None else self.enough.every
        for first in range(0, self.count, size):
            yield first, np.arange(first, min(first + size, self.count))

    def _go_together(self, runs: Any, board: Board, look: Callable[[], int]) -> None:
        """Bring runs to their end, and at the steps of a choice leave some behind."""
        every = self.max_steps if self.prune is None else self.prune.every
        choices = range(every, self.max_steps, max(every, 1))
        for step in choices:
            leg = Leg(End(np.int32(step), np.int32(step)), PAUSED, resumed=step > every)
            self.crew.go(runs, leg, board, look)
            if board.halt:
                return
            runs = self._chosen(runs, step)
        rows = self.max_steps + self.final_row
        end = End(np.int32(self.max_steps), np.int32(rows))
        leg = Leg(end, Status.MAX_STEPS, resumed=len(choices) > 0)
        self.crew.go(runs, leg, board, look)

    def _chosen(self, runs: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
        """The best of the runs that have not ended; the others are pruned."""
        assert self.prune is not None
        waiting = runs[self.ledger.status(runs) == PAUSED]
        order = np.argsort(self.ledger.outcomes.loss[waiting], kind="stable")
        stay = math.ceil(round(self.prune.keep * len(waiting), 6))
        self.ledger.end(waiting[order[stay:]], Status.PRUNED)
        self.ledger.done += len(waiting) - stay
        self.log.append(f"At step {step:,}, {stay:,} of {len(waiting):,} runs went on")
        return np.sort(waiting[order[:stay]])

    def _found_enough(self, made: int) -> bool:
        if self.enough is None:
            return False
        outcomes, scale = self.ledger.outcomes, self.scale()
        ended = np.flatnonzero(succeeded(outcomes.status, outcomes.loss))
        loss, ends = outcomes.loss[ended].astype(np.float64), points(outcomes.x, ended)
        minima = cluster(loss, ends, scale.loss, scale.params, RTOL, 0.0)
        if not minima or len(minima[0]) < self.enough.times:
            return False
        self.log.append(f"The best minimum was found {len(minima[0]):,} times in {made:,} runs")
        return True

    def _show(self, bar: Bar | None) -> None:
        if bar is not None:
            lowest = self.ledger.lowest
            told = f"{lowest:.6g}" if np.isfinite(lowest) else "none yet"
            bar.show(self.ledger.done, {"best loss": told})
