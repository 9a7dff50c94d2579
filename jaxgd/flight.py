"""A run on the host: calls of the compiled program, the rows they return, the iterate wanted."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.driver import Numbers, Program
from jaxgd.engines.plain import Flight, Window
from jaxgd.loop import Carry
from jaxgd.record import NOTHING, History, Record
from jaxgd.status import Status

CALL_SECONDS = 0.25
"""How long one call of a compiled program should take at most."""
GROWTH = 8
"""How much longer a call may be than the one before, while the speed is not known."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Where a run is, as of the last call that was read."""

    status: int
    steps: int
    first: int
    count: int
    carry_step: int
    before_step: int
    best_step: int

    @property
    def ended(self) -> bool:
        """Whether the device ended the run."""
        return self.status != Status.RUNNING


@dataclasses.dataclass(frozen=True)
class Seen:
    """The row of one iterate on the host."""

    step: int
    loss: Any
    grad_norm: Any


@dataclasses.dataclass
class Journal:
    """The rows of a run on the host: what the history needs, the latest, and the best."""

    record: Record
    keep: str
    best: Seen | None = None
    parts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    recent: list[tuple[int, Any, Any]] = dataclasses.field(default_factory=list)

    def copy(self) -> "Journal":
        """One that may go its own way."""
        return dataclasses.replace(self, parts=list(self.parts), recent=list(self.recent))

    def absorb(self, window: Window) -> Report:
        """Take in the rows of one call; waits for the device."""
        report = Report(*np.asarray(window.report).tolist())
        count, first = report.count, report.first
        loss = np.asarray(window.rows.loss)[:count]
        norm = None
        if window.rows.grad_norm is not None:
            norm = np.asarray(window.rows.grad_norm)[:count]
        if count:
            self.recent = [*self.recent[-1:], (first, loss, norm)]
            self._look_for_best(report, loss, norm)
        if self.record != NOTHING and (count or not self.parts):
            self.parts.append(self._recorded(first, count, loss, norm, window))
        return report

    def _look_for_best(self, report: Report, loss: Any, norm: Any) -> None:
        if self.keep != "best":
            return
        fine = loss[: len(loss) - (report.status == Status.NON_FINITE)].astype(np.float64)
        at = int(np.argmin(fine)) if len(fine) else 0
        if len(fine) and (self.best is None or fine[at] < self.best.loss):
            self.best = Seen(report.first + at, loss[at], None if norm is None else norm[at])

    def _recorded(
        self, first: int, count: int, loss: Any, norm: Any, window: Window
    ) -> dict[str, Any]:
        every = self.record.every
        steps = np.arange(first + -first % every, first + count, every)
        # Copies: a view would hold the whole room of the call.
        rows: dict[str, Any] = {"step": steps}
        if self.record.loss:
            rows["loss"] = loss[steps - first].copy()
        if self.record.grad_norm:
            rows["grad_norm"] = norm[steps - first].copy()
        if self.record.params:
            rows["params"] = jax.tree.map(
                lambda leaf: np.asarray(leaf)[: len(steps)].copy(), window.snapshots
            )
        return rows

    def row(self, step: int) -> Seen | None:
        """The row at `step`, if it is the best or among the latest."""
        for first, loss, norm in reversed(self.recent):
            if first <= step < first + len(loss):
                at = step - first
                return Seen(step, loss[at], None if norm is None else norm[at])
        return self.best if self.best is not None and self.best.step == step else None

    def history(self, rate: Any) -> History | None:
        """All that was recorded."""
        if self.record == NOTHING:
            return None
        series = {
            name: jax.tree.map(lambda *a: np.concatenate(a), *[part[name] for part in self.parts])
            for name in self.parts[0]
        }
        loss, norm, params = (series.get(name) for name in ("loss", "grad_norm", "params"))
        return History(series["step"], loss, norm, params, rate)


@dataclasses.dataclass
class Pilot:
    """Calls the program until the run ends or something between two calls ends it.

    `between(flight, report)` is asked after each call that was read, and answers RUNNING to go on.
    """

    program: Program
    numbers: Numbers
    max_steps: int
    final_row: bool
    """Whether the last iterate is evaluated: not if the loss is stochastic."""
    eager: bool
    """Read each call before the next is made, and begin with short ones: for callbacks."""
    deadline: float | None = None

    def fly(
        self, flight: Flight, step: int, journal: Journal, between: Callable[[Flight, Report], int]
    ) -> tuple[Flight, Report, int]:
        """Fly from `step` until the end; the status is the device's, or what `between` answered.

        Once the speed is known each call is read when the next is under way already, so that the
        device never waits; a call that follows the end of the run does nothing.
        """
        unread: deque[tuple[Window, int, float]] = deque()
        length, clock, dispatched = self._first_length(), 0.0, False
        while True:
            if step < self.max_steps or not dispatched:
                until = min(self.max_steps, step + length)
                flight, window = self._call(
                    flight, until, self.final_row and until == self.max_steps
                )
                unread.append((window, until - step, time.perf_counter()))
                step, dispatched = until, True
            ahead = 0 if self.eager or self.program.rate is None else 1
            if len(unread) <= ahead and step < self.max_steps:
                continue
            window, steps, began = unread.popleft()
            report, now = journal.absorb(window), time.perf_counter()
            self._learn(steps, now - max(began, clock))
            length, clock = self._next_length(length), now
            status = self._judge(flight, report, between)
            if status != Status.RUNNING:
                break
        for window, _, _ in unread:
            later = journal.absorb(window)
            report = report if report.ended else later
        return flight, report, report.status if report.ended else status

    def _judge(
        self, flight: Flight, report: Report, between: Callable[[Flight, Report], int]
    ) -> int:
        if report.ended:
            return report.status
        if not self.final_row and report.carry_step >= self.max_steps:
            return Status.MAX_STEPS
        return between(flight, report)

    def _call(self, flight: Flight, until: int, final: bool) -> tuple[Flight, Window]:
        values = self.numbers.leaves()
        return self.program.advance(flight, np.int32(until), np.bool_(final), *values)

    def _first_length(self) -> int:
        if self.program.rate is None:
            return 1
        return self.program.sizes.chunk if self.eager else self._longest()

    def _next_length(self, length: int) -> int:
        return max(1, min(self._longest(), length * (2 if self.eager else GROWTH)))

    def _longest(self) -> int:
        seconds = CALL_SECONDS
        if self.deadline is not None:
            seconds = min(seconds, max(0.0, self.deadline - time.perf_counter()))
        steps = int((self.program.rate or 1.0) * seconds)
        return max(1, min(steps, self.program.sizes.room - self.program.sizes.chunk))

    def _learn(self, steps: int, seconds: float) -> None:
        rate = max(steps, 1) / max(seconds, 1e-9)
        # A short call is mostly overhead: it can only say that the program is at least so fast.
        known = self.program.rate or 0.0
        self.program.rate = rate if seconds > 0.01 else max(rate, known)

    def locate(self, flight: Flight, report: Report, step: int) -> Carry:
        """The carry at an earlier iterate: the chunk that holds it is done again up to there.

        The same compiled step makes it, so it has the same bits. The flight stays as it is.
        """
        if step >= report.carry_step:
            source, at = flight.carry, report.carry_step
        elif step >= report.before_step:
            source, at = flight.before, report.before_step
        else:
            assert flight.best is not None
            source, at = flight.best, report.best_step
        while at < step:
            lowest = None if flight.lowest is None else np.asarray(np.inf, flight.lowest.dtype)
            again, window = self._call(relaunch(source, lowest), step, False)
            source, at = again.carry, int(np.asarray(window.report)[4])
        return source

    def last_row(self, flight: Flight, report: Report, journal: Journal) -> Report:
        """Evaluate the row of the iterate that a run was stopped at; the flight stays as it is."""
        lowest = None if flight.lowest is None else np.asarray(np.inf, flight.lowest.dtype)
        _, window = self._call(relaunch(flight.carry, lowest), report.carry_step, True)
        return journal.absorb(window)


def relaunch(carry: Carry, lowest: Any) -> Flight:
    """A flight from copies of `carry`, whose own arrays live on when the flight's are donated."""
    best = None if lowest is None else carry
    running: Any = np.int32(Status.RUNNING)
    flight = Flight(carry, carry, best, lowest, running, carry.step, carry.step)
    copied: Flight = jax.tree.map(duplicate, flight)
    return copied


def duplicate(leaf: Any) -> Any:
    """A copy that shares no memory. Host memory serves: it costs no compilation."""
    if isinstance(leaf.dtype, np.dtype):
        return np.array(leaf)
    return jax.device_put(leaf, may_alias=False)  # a random key in the rule's state
