"""The course of a job of many runs: in groups, by legs, with a choice after each."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgd.crew import Board, Crew, Leg
from jaxgd.keeping import Keeper, Place
from jaxgd.lanes import PAUSED
from jaxgd.ledger import Ledger
from jaxgd.minima import cluster
from jaxgd.panel import Panel
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
    panel: Panel | None = None
    """Of metrics at set steps."""
    starts: Callable[[Any], Any] = lambda runs: runs
    """The starts of some runs, as runs have them."""
    log: list[str] = dataclasses.field(default_factory=list)
    keeper: Keeper | None = None
    """Of checkpoints."""
    place: Place | None = None
    """How far it has come."""

    def follow(self, attention: Attention) -> None:
        """Go until all is done, or something says that it is enough."""
        board, keeper = Board(), self.keeper
        place = None if keeper is None else keeper.take_up()
        if keeper is not None:
            board.due = lambda: keeper.vault.seconds_left
        if attention.time_limit is not None:
            board.deadline = time.perf_counter() + attention.time_limit

        def look() -> int:
            self._show(attention.bar)
            try:
                halt = self._asked(attention, board)
            except Exception:  # of the user's callback
                self._keep(board, Status.STOPPED)
                raise
            self._keep(board, halt)
            return halt

        board.halt = Status.INTERRUPTED if attention.interruption.requested else Status.RUNNING
        if place is None or not place.done:
            self._go_from(place, board, look)
        if keeper is not None and attention.interruption.terminated:
            keeper.vault.say_where()
        self._show(attention.bar)
        if attention.interruption.requested:  # perhaps when all had ended: it must not pass unseen
            told = attention.interruption.terminated
            self.log.append("Told to terminate" if told else "Interrupted from the keyboard")
        status = self.ledger.status(slice(None))
        self.ledger.end(status == PAUSED, board.halt)
        self.ledger.end(status == Status.RUNNING, Status.NOT_STARTED)

    def _go_from(self, place: Place | None, board: Board, look: Callable[[], int]) -> None:
        """Bring group after group to its end, from a place on."""
        for first, runs in self._groups():
            if place is not None and first < place.first:
                continue
            self._go_together(place or self._begun(first, runs), board, look)
            place = None
            if board.halt or self._found_enough(first + len(runs)):
                break
        if self.keeper is not None and not board.halt and self.place is not None:
            self.keeper.save(dataclasses.replace(self.place, done=True))

    def _asked(self, attention: Attention, board: Board) -> int:
        """What ends all, if something does."""
        if attention.stops is not None and attention.stops():
            return Status.STOPPED
        if attention.interruption.requested:
            return Status.INTERRUPTED
        late = board.deadline is not None and time.perf_counter() >= board.deadline
        return Status.TIME_LIMIT if late else Status.RUNNING

    def _keep(self, board: Board, halt: int) -> None:
        """Have a checkpoint made if it is due, or if all is about to end."""
        keeper, place = self.keeper, self.place
        if keeper is None or place is None:
            return
        if halt or keeper.vault.is_due(self.crew.steps):
            with board.gate.closed():
                keeper.save(place)
                board.halt = board.halt or halt  # before anybody goes on

    def _groups(self) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        size = self.count if self.enough is None else self.enough.every
        for first in range(0, self.count, size):
            yield first, np.arange(first, min(first + size, self.count))

    def _begun(self, first: int, runs: Any) -> Place:
        """Where some runs begin."""
        if self.panel is not None:
            self.panel.take(0, runs, self.starts(runs))
        return Place(first, 0, runs, resumed=False)

    def _go_together(self, place: Place, board: Board, look: Callable[[], int]) -> None:
        """Bring runs to their end, and at the steps of a choice leave some behind."""
        for step in self._stations()[place.station :]:
            self.place = place
            leg = Leg(End(np.int32(step), np.int32(step)), PAUSED, place.resumed)
            self.crew.go(self._waiting(place, step), leg, board, look)
            if board.halt:
                return
            runs = self._who_go_on(place.runs, step)
            place = Place(place.first, place.station + 1, runs, resumed=True)
        self.place, runs = place, place.runs
        rows = min(self.max_steps + self.final_row, 2**31 - 1)  # int32 on the device
        end = End(np.int32(self.max_steps), np.int32(rows))
        leg = Leg(end, Status.MAX_STEPS, place.resumed)
        self.crew.go(self._waiting(place, rows), leg, board, look)
        last_row = self.final_row or self.max_steps == 0  # seen at a station, or at the start
        if self.panel is not None and not self.max_steps % self.panel.every and not last_row:
            ends = self.ledger.outcomes
            last = (ends.status[runs] == Status.MAX_STEPS) & (ends.at_step[runs] == self.max_steps)
            x = jax.tree.map(lambda leaf: leaf[runs[last]], ends.x)
            self.panel.take(self.max_steps, runs[last], self.panel.packed(x))

    def _waiting(self, place: Place, end: int) -> np.ndarray[Any, Any]:
        """The runs of a place that have its leg before them: all, unless other lanes made some."""
        if not self.crew.begins_again:
            return place.runs
        self.crew.begins_again = False
        status, saved = self.ledger.status(place.runs), self.ledger.outcomes.saved
        waits: Any = status == Status.RUNNING
        if place.resumed:
            waits = (status == PAUSED) & (saved.carry.step[place.runs] < end)
        waiting: np.ndarray[Any, Any] = place.runs[waits]
        return waiting

    def _stations(self) -> list[int]:
        """The steps at which runs wait for each other."""
        steps: set[int] = set()
        if self.prune is not None:
            steps |= set(range(self.prune.every, self.max_steps, self.prune.every))
        if self.panel is not None:  # the last one too, if an iterate is evaluated there
            end = self.max_steps + self.final_row
            steps |= set(range(self.panel.every, end, self.panel.every))
        return sorted(steps)

    def _who_go_on(self, runs: Any, step: int) -> Any:
        """The runs that have not ended, and that no metric and no choice ends here."""
        waiting = runs[self.ledger.status(runs) == PAUSED]
        if self.panel is not None and not step % self.panel.every:
            there = self.ledger.outcomes.saved.carry.x
            x = jax.tree.map(lambda leaf: leaf[waiting], there)
            late = self.panel.take(step, waiting, x)
            self.ledger.end(late, Status.STOPPED)
            self.ledger.done += len(late)
            waiting = np.setdiff1d(waiting, late)
        if self.prune is not None and not step % self.prune.every and step < self.max_steps:
            waiting = self._chosen(waiting, step)
        return waiting

    def _chosen(self, waiting: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
        """The best of some runs; the others are pruned."""
        assert self.prune is not None
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
