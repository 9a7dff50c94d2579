"""The calls of a compiled program that make up a run, from its beginning to where it ends."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.copies import duplicate, from_copies
from jaxgd.driver import Numbers, Program
from jaxgd.engines import SUSPECT, Goal, Ongoing, Output
from jaxgd.journal import Journal, Report, Seen
from jaxgd.loop import Carry
from jaxgd.metrics import Readings
from jaxgd.problem import Inputs
from jaxgd.record import NOTHING
from jaxgd.saving import Saver
from jaxgd.state import Best
from jaxgd.status import Status
from jaxgd.supply import Supply

CALL_SECONDS = 0.25
"""How long one call of a compiled program should take at most."""
CHUNK_SECONDS = 1.0
"""The same for a call of one chunk, or less."""
GROWTH = 8
"""How much longer a call may be than the one before, while the speed is not known."""


@dataclasses.dataclass
class Caller:
    """Calls the program until the run ends or something between two calls ends it.

    `between(run, report)` is asked after each call that was read, and answers RUNNING to go on.
    """

    program: Program
    numbers: Numbers
    max_steps: int
    final_row: bool
    """Whether the last iterate is evaluated: not if the loss is stochastic."""
    eager: bool
    """Read each call before the next is made, and begin with short ones: for callbacks."""
    deadline: float | None = None
    supply: Supply | None = None
    """Of data that is read while the run goes on."""
    readings: Readings | None = None
    """Of metrics at set steps."""
    saver: Saver | None = None
    """Of checkpoints."""
    has_enough: bool = False
    """Whether the run that goes on here had been ended by its metric."""
    compile_seconds: float = 0.0
    """What was compiled only when it was needed."""

    def call_to_end(
        self, run: Ongoing, step: int, journal: Journal, between: Callable[[Ongoing, Report], int]
    ) -> tuple[Ongoing, Report, int]:
        """Go on from `step` until the end; the status is the device's, or what `between` answered.

        Once the speed is known each call is read when the next is under way already, so that the
        device never waits; a call that follows the end of the run does nothing.
        """
        unread: deque[tuple[Output, float]] = deque()
        report: Any = None
        length, clock, dispatched = self._first_length(), 0.0, False
        self._take(step, run)
        self._settle(step, run)
        while True:
            until = self._until(step, length)
            dry = until == step < self.max_steps
            saves = self._has_to_save(step)
            if (until > step or not dispatched) and not (saves and unread):
                final = self.final_row and until == self.max_steps
                run, output = self._call(run, step, Goal.of(until, final=final))
                unread.append((output, time.perf_counter()))
                step, dispatched = until, True
                self._take(step, run)
            ahead = 0 if self.eager or self.program.rate is None or saves else 1
            if len(unread) <= ahead and step < self.max_steps and not dry:
                continue
            if not unread:  # and there is no further batch, or nobody waits for it
                status = between(run, report) or Status.STOPPED
                break
            output, began = unread.popleft()
            report, now = journal.absorb(output), time.perf_counter()
            self._learn(report, now - max(began, clock))
            length, clock = self._next_length(length), now
            if report.status == SUSPECT:
                unread.clear()  # they did nothing
                run, report = self._decide(run, report, journal)
                step, dispatched = report.carry_step, report.carry_step < self.max_steps
            self._settle(report.carry_step, run, valid=not report.ended)
            status = self._judge(run, report, between)
            if status != Status.RUNNING:
                break
            if not unread:
                self._save(run, report.carry_step, journal)
        for output, _ in unread:
            later = journal.absorb(output)
            report = report if report.ended else later
        return run, report, report.status if report.ended else status

    def _judge(
        self, run: Ongoing, report: Report, between: Callable[[Ongoing, Report], int]
    ) -> int:
        if report.ended:
            return report.status
        if self.is_enough:
            return Status.STOPPED
        if not self.final_row and report.carry_step >= self.max_steps:
            return Status.MAX_STEPS
        return between(run, report)

    @property
    def is_enough(self) -> bool:
        """Whether a metric ends the run."""
        return self.readings is not None and self.readings.enough

    def _call(self, run: Ongoing, step: int, goal: Goal) -> tuple[Ongoing, Output]:
        """Call the program on a run that is at a step."""
        numbers = dataclasses.replace(self.numbers, inputs=self.inputs_at(step))
        return self.program.advance(run, goal, *numbers.leaves())

    def inputs_at(self, step: int) -> Inputs:
        """What the loss is called with at a step, and some steps more."""
        inputs = self.numbers.inputs
        if self.supply is None:
            return inputs
        return dataclasses.replace(inputs, data=self.supply.feed(step))

    def _until(self, step: int, length: int) -> int:
        """How far a call may go: where the data at hand ends at the latest."""
        until = step if self.has_enough else min(self.max_steps, step + length)
        if self.saver is not None:
            until = self.saver.end_at(step, until)
        if self.readings is not None:
            until = min(until, self.readings.meter.evaluate.due(step))
        return until if self.supply is None else min(until, self.supply.end_at(step))

    def _take(self, step: int, run: Ongoing) -> None:
        if self.readings is not None:
            self.readings.take(step, run.carry.x)

    def _settle(self, step: int, run: Ongoing, *, valid: bool = True) -> None:
        """Take in the metrics of a call that was read, unless it did not get there."""
        readings = self.readings
        if readings is None:
            return
        if not valid:
            readings.waiting.clear()
        elif readings.settle(step) and readings.keeps:
            # An EarlyStop has each call read before the next is made: the run is where it was then.
            readings.kept = jax.tree.map(duplicate, run.carry)
            readings.row = self._lasting_row(readings.kept, step)

    def _lasting_row(self, carry: Carry, step: int) -> Any:
        """Loss and gradient norm where a run is, if its batch will be gone; else None."""
        if self.supply is None or not self._has_row(step):
            return None
        seen: Any = self.row_at(carry)
        if self.program.look is None:
            return seen.loss, seen.grad_norm
        (norm, _), late = self.program.look(carry.x, np.int32(step), self.inputs_at(step))
        self.compile_seconds += late
        return seen.loss, np.asarray(norm)[()]

    def row_at(self, carry: Carry) -> Seen | None:
        """The row of an iterate."""
        journal = Journal(NOTHING, "last", None)
        self.last_row(carry, journal)
        return journal.row(int(carry.step))

    def _first_length(self) -> int:
        return 1 if self.eager or self.program.rate is None else self._longest()

    def _next_length(self, length: int) -> int:
        return max(1, min(self._longest(), length * (2 if self.eager else GROWTH)))

    def _longest(self) -> int:
        rate, sizes = self.program.rate or 1.0, self.program.sizes
        left = math.inf if self.deadline is None else max(0.0, self.deadline - time.perf_counter())
        steps = int(rate * min(CALL_SECONDS, left))
        # What a call and a chunk cost besides: with many params as much as some steps.
        steps = max(steps, min(sizes.chunk, int(rate * min(CHUNK_SECONDS, left))))
        return max(1, min(steps, sizes.room - sizes.chunk))

    def _learn(self, report: Report, seconds: float) -> None:
        made = report.carry_step - report.first
        if made < 1 or report.ended:
            return  # it may have taken any time, or none
        rate = made / max(seconds, 1e-9)
        # A short call is mostly overhead: it can only say that the program is at least so fast.
        known = self.program.rate or 0.0
        self.program.rate = rate if seconds > 0.01 else max(rate, known)

    def _decide(self, run: Ongoing, report: Report, journal: Journal) -> tuple[Ongoing, Report]:
        """Make the step that is suspect: its gradient is not finite, or a number has overflowed."""
        self._settle(report.carry_step, run, valid=False)
        run, report = self._decided(run, report, journal)
        self._take(report.carry_step, run)
        return run, report

    def _decided(self, run: Ongoing, report: Report, journal: Journal) -> tuple[Ongoing, Report]:
        at = report.carry_step
        if not self._has_finite_gradient(run.carry, at):
            seen = self._row_of(run.carry, at, journal, bad=True)
            return run, dataclasses.replace(report, status=seen.status, steps=at)
        run = dataclasses.replace(run, status=np.int32(Status.RUNNING))
        last = at == self.max_steps
        goal = Goal.of(at if last else at + 1, final=last, trusted=True)
        run, output = self._call(run, at, goal)
        return run, journal.absorb(output)

    def _has_finite_gradient(self, carry: Carry, step: int) -> bool:
        assert self.program.look is not None
        (norm, _), late = self.program.look(carry.x, np.int32(step), self.inputs_at(step))
        self.compile_seconds += late
        return bool(np.isfinite(norm))

    def locate(self, run: Ongoing, report: Report, step: int) -> Carry:
        """The carry at an earlier iterate: the chunk that holds it is done again up to there.

        The same compiled step makes it, so it has the same bits. The run stays as it is.
        """
        if step >= report.carry_step:
            source, at = run.carry, report.carry_step
        elif step >= report.before_step:
            source, at = run.before, report.before_step
        else:
            assert run.best is not None
            source, at = run.best, report.best_step
        return self.brought(source, at, step)

    def brought(self, source: Carry, at: int, step: int) -> Carry:
        """A carry, which is at a step, brought to a later one up to which all is finite."""
        while at < step:
            again, output = self._call(self._copy(source), at, Goal.of(step, trusted=True))
            source, at = again.carry, Report.of(output).carry_step
        return source

    def _save(self, run: Ongoing, step: int, journal: Journal) -> None:
        """Have a checkpoint made, if it is due, of a run that is at a step and goes on."""
        if self.saver is None or not self._has_to_save(step):
            return
        began = time.perf_counter()
        carry = self._sound(run.carry, step)
        best: Best | Carry | None = None
        if carry is None:
            return  # the run is about to end
        if run.best is not None and journal.best is not None:
            best = before = self.saver.before
            if before is None or journal.best.step != int(before.step):
                best = jax.tree.map(duplicate, run.best)
        self.saver.save(carry, best, journal, self.readings, time.perf_counter() - began)

    def _has_to_save(self, step: int) -> bool:
        return self.saver is not None and self.saver.vault.is_due(step)

    def _has_row(self, step: int) -> bool:
        """Whether there is a batch for it; all else is there."""
        return self.supply is None or self.supply.end_at(step) > step

    def _sound(self, carry: Carry, step: int) -> Carry | None:
        """A copy of the carry; None if the row of its step is not finite."""
        if not self._has_row(step):
            return self._copy(carry).carry
        again, output = self._call(self._copy(carry), step, Goal.of(step, final=True))
        status, sound = Report.of(output).status, again.carry
        if status == SUSPECT and not self._has_finite_gradient(carry, step):
            return None
        return None if status == Status.NON_FINITE else sound

    def lasting(self, carry: Carry, run: Ongoing, report: Report) -> Carry:
        """Where a run goes on: at `carry`, or, where its row may send it back, a step before."""
        step = report.carry_step
        sound = self._has_row(step) and self._sound(carry, step) is not None
        if sound or report.before_step == step:
            return carry
        return self.brought(run.before, report.before_step, step - 1)

    def last_row(self, carry: Carry, journal: Journal) -> Report:
        """Evaluate the row of an iterate, without another step; the carry stays as it is."""
        at = int(carry.step)
        _, output = self._call(self._copy(carry), at, Goal.of(at, final=True))
        if Report.of(output).status != SUSPECT:
            return journal.absorb(output)
        return self._row_of(carry, at, journal, bad=not self._has_finite_gradient(carry, at))

    def _row_of(self, carry: Carry, step: int, journal: Journal, *, bad: bool = False) -> Report:
        _, output = self._call(self._copy(carry), step, Goal.of(step, final=True, trusted=True))
        return journal.absorb(output, bad=bad)

    def _copy(self, carry: Carry) -> Ongoing:
        lowest = self.program.fresh.lowest
        return from_copies(carry, None if lowest is None else np.asarray(np.inf, lowest.dtype))
