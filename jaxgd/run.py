"""One run from its beginning, or from a state, to its result."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.driver import Numbers, Program
from jaxgd.engines.plain import Flight
from jaxgd.flight import Journal, Pilot, Report, Seen, duplicate, relaunch
from jaxgd.loop import Carry
from jaxgd.problem import Problem
from jaxgd.progress import Bar
from jaxgd.pytree import pytree
from jaxgd.result import Result
from jaxgd.signals import Interruption
from jaxgd.status import Status
from jaxgd.tree import PyTree


@pytree
class Best:
    """The best iterate of a run so far."""

    x: PyTree
    loss: Any
    grad_norm: Any
    step: Any


@pytree
class State:
    """All that a later call needs to continue a run. Opaque: its fields may change."""

    carry: Carry
    best: Best | None
    key: Any


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is looked at between the calls of a run."""

    interruption: Interruption
    callback: Callable[[Result], Any] | None
    time_limit: float | None
    progress: bool


@dataclasses.dataclass
class Run:
    """A run: what it minimises, its program, and its rows so far."""

    problem: Problem
    program: Program
    numbers: Numbers
    journal: Journal
    max_steps: int
    rate: Any
    kept_before: Best | None = None
    first_step: int = 0

    def go(self, x: PyTree, state: State | None, watch: Watch) -> Result:
        """Run to the end and say how it went."""
        flight = self._begin(x) if state is None else self._continue(state)
        limit = None if watch.time_limit is None else time.perf_counter() + watch.time_limit
        callback = watch.callback
        pilot = Pilot(
            self.program,
            self.numbers,
            self.max_steps,
            final_row=not self.problem.stochastic,
            eager=callback is not None,
            deadline=limit,
        )

        def between(flight: Flight, report: Report) -> int:
            self._show(bar, report)
            if callback is not None and callback(self._peek(pilot, flight, report)):
                return Status.STOPPED
            if watch.interruption.requested:
                return Status.INTERRUPTED
            if limit is not None and time.perf_counter() >= limit:
                return Status.TIME_LIMIT
            return Status.RUNNING

        bar = Bar(self.first_step, self.max_steps, self.rate) if watch.progress else None
        try:
            flight, report, status = pilot.fly(flight, self.first_step, self.journal, between)
            self._show(bar, report)
        finally:
            if bar is not None:
                bar.close()
        return self._conclude(pilot, flight, report, status, self.journal)

    def _begin(self, x: PyTree) -> Flight:
        return self.program.begin(x, *self.numbers.leaves())

    def _continue(self, state: State) -> Flight:
        fresh = self.program.fresh
        carry = _adapted(state.carry, fresh.carry)
        self.first_step = int(carry.step)
        lowest = None
        if fresh.lowest is not None:
            lowest = np.asarray(np.inf, fresh.lowest.dtype)
            self.kept_before = state.best
            if state.best is not None:
                lowest = np.asarray(state.best.loss)
                best = state.best
                self.journal.best = Seen(int(best.step), best.loss, best.grad_norm)
        return relaunch(carry, lowest)

    def _show(self, bar: Bar | None, report: Report) -> None:
        row = self.journal.row(report.first + report.count - 1)
        if bar is not None and row is not None:
            bar.show(report.steps, row.loss)

    def _peek(self, pilot: Pilot, flight: Flight, report: Report) -> Result:
        """What a stop right here would return; the run itself is not touched.

        Its arrays are copies: those of the flight are given away with the next call.
        """
        journal, flight = self.journal.copy(), jax.tree.map(duplicate, flight)
        return self._conclude(pilot, flight, report, Status.RUNNING, journal)

    def _conclude(
        self, pilot: Pilot, flight: Flight, report: Report, status: int, journal: Journal
    ) -> Result:
        """The result of a run that ended, or was stopped where `report` says."""
        steps, stochastic = report.steps, self.problem.stochastic
        failed = status == Status.NON_FINITE
        if not report.ended and not stochastic:
            last = pilot.last_row(flight, report, journal)
            failed = last.status == Status.NON_FINITE
            tested = last.status not in (Status.RUNNING, Status.MAX_STEPS)
            status = last.status if tested and status != Status.RUNNING else status
        evaluations = steps - self.first_step + int(report.ended or not stochastic)
        good = max(self.first_step, steps - 1) if failed else steps
        final = pilot.locate(flight, report, good)
        # The last row of a stochastic run is that of the iterate before.
        unseen = stochastic and not report.ended
        seen = journal.row(good - 1 if unseen else good)
        best = self._best(pilot, flight, report, journal.best, final)
        if journal.keep == "best" and best is not None:
            x, seen, at_step = best.x, Seen(int(best.step), best.loss, best.grad_norm), best.step
        else:
            x, at_step = final.x, good
        loss, norm, aux = self._look(x, seen, at_step)
        return Result(
            params=self.problem.params.merge(_arrays(x), self.numbers.inputs.held),
            loss=loss,
            grad_norm=norm,
            aux=aux,
            at_step=np.int32(at_step),
            steps=np.int32(steps),
            status=np.int32(status),
            evaluations=np.int32(evaluations),
            history=journal.history(self.rate),
            state=State(final, best, self.numbers.inputs.key),
        )

    def _best(
        self, pilot: Pilot, flight: Flight, report: Report, seen: Seen | None, final: Carry
    ) -> Best | None:
        if seen is None:
            return None
        if self.kept_before is not None and seen.step == int(self.kept_before.step):
            return self.kept_before
        at = final if seen.step == int(final.step) else pilot.locate(flight, report, seen.step)
        return Best(at.x, seen.loss, seen.grad_norm, np.int32(seen.step))

    def _look(self, x: PyTree, seen: Seen | None, step: Any) -> tuple[Any, Any, Any]:
        """Loss, gradient norm and aux at `x`: from its row, or else from a call."""
        known = seen is not None and seen.grad_norm is not None
        if seen is not None and known and not self.problem.has_aux:
            return seen.loss, seen.grad_norm, None
        loss, norm, aux = self.program.look(x, np.int32(step), *self.numbers.leaves())
        if seen is None:
            nan = np.asarray(np.nan, np.float32)
            return (nan, nan, aux) if self.problem.stochastic else (loss, norm, aux)
        return seen.loss, seen.grad_norm if known else np.asarray(norm)[()], aux


def _arrays(x: PyTree) -> list[jax.Array]:
    return [jax.numpy.asarray(leaf) for leaf in jax.tree.leaves(x)]


def _adapted(carry: Carry, fresh: Carry) -> Carry:
    """A state's carry in the form of this call's program, whose tests may be others."""
    hits: Any = {name: carry.tally.hits.get(name, np.int32(0)) for name in fresh.tally.hits}
    move = None if fresh.move is None else carry.move
    if fresh.move is not None and move is None:
        move = np.asarray(np.inf, fresh.move.dtype)
    carry = dataclasses.replace(carry, tally=dataclasses.replace(carry.tally, hits=hits), move=move)
    forms = [
        (jax.tree.structure(tree), [(a.shape, a.dtype) for a in jax.tree.leaves(tree)])
        for tree in (carry, fresh)
    ]
    if forms[0] != forms[1]:
        raise ValueError(
            "state belongs to another run: its params or rule state differ from this call's in "
            "structure, shape or dtype"
        )
    return carry
