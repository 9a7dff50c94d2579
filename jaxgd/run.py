"""One run from its beginning, or from a state, to its result."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgd.calls import Caller
from jaxgd.copies import duplicate, from_copies
from jaxgd.driver import Numbers, Program
from jaxgd.engines import Ongoing
from jaxgd.journal import Journal, Report, Seen
from jaxgd.loop import Carry
from jaxgd.metrics import Readings
from jaxgd.problem import Problem
from jaxgd.progress import Bar
from jaxgd.record import NOTHING, History
from jaxgd.result import Result
from jaxgd.resuming import resume
from jaxgd.saving import Saver
from jaxgd.schedules import rate_at
from jaxgd.signals import Interruption
from jaxgd.state import Best, Marks, State, adapted
from jaxgd.status import Status, keeping
from jaxgd.supply import Supply
from jaxgd.tree import PyTree


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is looked at between the calls of a run."""

    interruption: Interruption
    callback: Callable[[Result], Any] | None
    time_limit: float | None
    progress: bool
    saver: Saver | None = None


@dataclasses.dataclass
class Run:
    """A run: what it minimises, its program, and its rows so far."""

    problem: Problem
    program: Program
    numbers: Numbers
    journal: Journal
    max_steps: int
    marks: Marks
    compile_seconds: float
    supply: Supply | None = None
    """Of data that is read while the run goes on."""
    readings: Readings | None = None
    """Of metrics at set steps."""
    kept_before: Best | None = None
    first_step: int = 0

    def go(self, x: PyTree, state: State | None, watch: Watch) -> Result:
        """Run to the end and say how it went."""
        began, compiled = time.perf_counter(), self.compile_seconds
        limit = None if watch.time_limit is None else began + float(watch.time_limit)
        callback, caller = watch.callback, self._caller(watch, limit)
        run = self._from_somewhere(x, state, caller)
        step = int(run.carry.step)

        def late() -> bool:
            return limit is not None and time.perf_counter() >= limit

        if self.supply is not None:
            self.supply.gives_up = lambda: watch.interruption.requested or late()

        def between(run: Ongoing, report: Report) -> int:
            self._show(bar, report)
            if callback is not None:
                so_far = self._peek(caller, run, report)
                with self._kept(so_far, caller, run, report):
                    if callback(so_far):
                        return Status.STOPPED
            if watch.interruption.requested:
                return Status.INTERRUPTED
            return Status.TIME_LIMIT if late() else Status.RUNNING

        bar = Bar(step, self.max_steps, "steps") if watch.progress else None
        try:
            run, report, status = caller.call_to_end(run, step, self.journal, between)
            self._show(bar, report)
        finally:
            if bar is not None:
                bar.close()
        result = self._conclude(caller, run, report, status, self.journal)
        self._save(result, caller, run, report)
        if watch.saver is not None and watch.interruption.terminated:
            watch.saver.vault.say_where()
        compiling = self.compile_seconds + caller.compile_seconds
        running = time.perf_counter() - began - (compiling - compiled)
        return dataclasses.replace(result, compile_seconds=compiling, run_seconds=running)

    @contextlib.contextmanager
    def _kept(self, so_far: Result, caller: Caller, run: Ongoing, report: Report) -> Iterator[None]:
        """Let an error have the result so far, and the disk too."""
        try:
            with keeping(so_far):
                yield
        except Exception:
            self._save(so_far, caller, run, report)
            raise

    def _save(self, result: Result, caller: Caller, run: Ongoing, report: Report) -> None:
        saver, carry = caller.saver, result.state.carry
        if saver is None:
            return
        if not (report.ended or caller.final_row or caller.is_enough):
            carry = caller.lasting(carry, run, report)
        if saver.step != int(carry.step):  # not again what is there
            saver.save(carry, result.state.best, self.journal, self.readings)

    def _caller(self, watch: Watch, limit: float | None) -> Caller:
        return Caller(
            self.program,
            self.numbers,
            self.max_steps,
            final_row=not self.problem.stochastic,
            eager=watch.callback is not None or self._watches,
            deadline=limit,
            supply=self.supply,
            readings=self.readings,
            saver=watch.saver,
        )

    def _from_somewhere(self, x: PyTree, state: State | None, caller: Caller) -> Ongoing:
        """The run where it begins: at its start, a state, or what is on the disk."""
        saver = caller.saver
        if saver is not None and saver.step is not None:
            self.first_step = saver.first_step
            run, self.kept_before = resume(saver, caller, self.journal, self.readings)
        elif state is not None:
            run = self._continue(state, caller)
        else:
            run = self.program.begin(x, *self.numbers.leaves())
        if saver is not None:
            saver.take_over(self.first_step, int(run.carry.step), self.kept_before)
        return run

    def _continue(self, state: State, caller: Caller) -> Ongoing:
        fresh = self.program.fresh
        carry = adapted(state.carry, fresh.carry)
        self.first_step = int(carry.step)
        if self.readings is not None:
            self.readings.take_up(state.watched)
        lowest = None
        if fresh.lowest is not None:
            lowest = np.asarray(np.inf, fresh.lowest.dtype)
            self.kept_before = best = self._best_again(state.best, carry, caller)
            if best is not None:
                lowest = np.asarray(best.loss)
                self.journal.best = Seen(int(best.step), best.loss, best.grad_norm)
        return from_copies(carry, lowest)

    def _best_again(self, best: Best | None, carry: Carry, caller: Caller) -> Best | None:
        """A state's best iterate with the loss that it has under this call's args and bounds.

        The compiled step evaluates it, so if they have not changed it is the same to the bit.
        """
        if best is None or self.problem.outside(best.x, self.numbers.inputs):
            return None
        journal = Journal(NOTHING, "last", None)
        report = caller.last_row(dataclasses.replace(carry, x=best.x), journal)
        seen = journal.row(int(carry.step))
        if seen is None or report.status == Status.NON_FINITE:
            return None
        return dataclasses.replace(best, loss=seen.loss, grad_norm=seen.grad_norm)

    def _show(self, bar: Bar | None, report: Report) -> None:
        row = self.journal.row(report.first + report.count - 1)
        if bar is None or row is None:
            return
        told, rate = {"loss": f"{float(row.loss):.6g}"}, self.journal.rate
        if rate is not None:
            told["rate"] = f"{float(rate_at(rate, report.steps)):.3g}"
        bar.show(report.steps, told)

    def _peek(self, caller: Caller, run: Ongoing, report: Report) -> Result:
        """What a stop right here would return; the run itself is not touched.

        Its arrays are copies: those of the run are given away with the next call.
        """
        journal, run = self.journal.copy(), jax.tree.map(duplicate, run)
        return self._conclude(caller, run, report, Status.RUNNING, journal)

    def _conclude(
        self, caller: Caller, run: Ongoing, report: Report, status: int, journal: Journal
    ) -> Result:
        """The result of a run that ended, or was stopped where `report` says."""
        steps, stochastic = report.steps, self.problem.stochastic
        failed = status == Status.NON_FINITE
        if not report.ended and not stochastic:
            last = caller.last_row(run.carry, journal)
            failed = last.status == Status.NON_FINITE
            tested = last.status not in (Status.RUNNING, Status.MAX_STEPS)
            status = last.status if tested and status != Status.RUNNING else status
        evaluations = steps - self.first_step + int(report.ended or not stochastic)
        good = max(self.first_step, steps - 1) if failed else steps
        final = caller.locate(run, report, good)
        # The last row of a stochastic run is that of the iterate before.
        unseen = stochastic and not report.ended
        seen = journal.row(good - 1 if unseen else good)
        best = self._best(caller, run, report, journal.best, final)
        readings = self._last_readings(final, fine=report.ended and not failed)
        champion, row = (None, None) if readings is None else (readings.kept, readings.row)
        if champion is not None and int(champion.step) <= good:  # its loss is finite
            x, at_step = champion.x, int(champion.step)
            seen = caller.row_at(champion) if row is None else Seen(at_step, *row)
        elif journal.keep == "best" and best is not None:
            x, seen, at_step = best.x, Seen(int(best.step), best.loss, best.grad_norm), best.step
        else:
            x, at_step = final.x, good
        loss, norm, aux = self._look(caller, x, seen, at_step)
        return Result(
            params=self.problem.params.merge(self._leaves(x), self.numbers.inputs.held),
            loss=loss,
            grad_norm=norm,
            aux=aux,
            at_step=np.int32(at_step),
            steps=np.int32(steps),
            status=np.int32(status),
            evaluations=np.int32(evaluations),
            history=self._history(journal, readings),
            state=self._state(final, best, readings),
            engine=self.program.engine,
        )

    def _state(self, final: Carry, best: Best | None, readings: Readings | None) -> State:
        watched = None if readings is None else readings.state()
        return State(final, best, self.numbers.inputs.key, self.marks, watched)

    def _leaves(self, x: PyTree) -> list[jax.Array]:
        leaves: list[jax.Array] = jax.device_put(jax.tree.leaves(self.problem.unpacked(x)))
        return leaves

    def _history(self, journal: Journal, readings: Readings | None) -> History | None:
        history = journal.history()
        if readings is not None:
            metrics, steps = readings.table()
            if history is None:
                history = History(np.zeros(0, int), *[None] * 4)
            history = dataclasses.replace(history, metrics=metrics, metric_step=steps)
        if history is None or history.params is None:
            return history
        return dataclasses.replace(history, params=self.problem.unpacked(history.params))

    @property
    def _watches(self) -> bool:
        """Whether a metric can stop the run."""
        return self.readings is not None and self.readings.meter.evaluate.stop is not None

    def _last_readings(self, final: Carry, *, fine: bool) -> Readings | None:
        """The readings so far, with that of the last iterate if it is due."""
        if self.readings is None:
            return None
        readings = self.readings.copy()
        if fine:
            readings.take(int(final.step), final.x)
        if readings.settle(int(final.step)) and readings.keeps:
            readings.kept, readings.row = final, None
        return readings

    def _best(
        self, caller: Caller, run: Ongoing, report: Report, seen: Seen | None, final: Carry
    ) -> Best | None:
        if seen is None:
            return None
        if self.kept_before is not None and seen.step == int(self.kept_before.step):
            return self.kept_before
        at = final if seen.step == int(final.step) else caller.locate(run, report, seen.step)
        return Best(at.x, seen.loss, seen.grad_norm, np.int32(seen.step))

    def _look(self, caller: Caller, x: PyTree, seen: Seen | None, step: Any) -> Any:
        """Loss, gradient norm and aux at `x`: from its row, or else from a call."""
        look, seen = self.program.look, seen or Seen(0, _NAN, _NAN)
        known = seen.grad_norm is not None
        if look is None or (known and not self.problem.has_aux):
            return seen.loss, seen.grad_norm, None
        (norm, aux), late = look(x, np.int32(step), caller.inputs_at(int(step)))
        self.compile_seconds += late
        return seen.loss, seen.grad_norm if known else np.asarray(norm)[()], aux


_NAN = np.asarray(np.nan, np.float32)[()]
"""The loss of a stochastic run that has made no step."""
