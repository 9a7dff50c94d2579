"""`minimize`: one run, driven from the host."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.driver import Numbers, Program, program_for
from jaxgd.engines import Plain
from jaxgd.engines.plain import Flight
from jaxgd.flight import Journal, Pilot, Report, Seen, relaunch
from jaxgd.loop import Carry, checked_keep
from jaxgd.problem import Problem, pose
from jaxgd.progress import Bar
from jaxgd.pytree import as_count, is_number, pytree
from jaxgd.record import NOTHING, Record
from jaxgd.refusal import refuse_tracers
from jaxgd.result import Result
from jaxgd.rules import canonical_rule, learning_rate_of
from jaxgd.signals import catching_interrupts
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop, checked_stop
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


def minimize(
    loss: Callable[..., Any],
    params: PyTree,
    rule: Any,
    max_steps: int = 1000,
    *,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    stop: Stop | None = None,
    has_aux: bool = False,
    key: Any = None,
    record: Record | None = Record(),  # noqa: B008  (frozen)
    keep: str | None = None,
    state: State | None = None,
    progress: bool = False,
    callback: Callable[[Result], Any] | None = None,
    time_limit: float | None = None,
    engine: Plain | None = None,
    throw: bool = False,
) -> Result:
    """Minimise a differentiable loss by gradient descent.

    The loss is traced and compiled once for its form; other numbers (params, args, learning rate,
    tolerances, bounds, max_steps) reuse the program, which lives as long as the loss does. Use
    `descend` inside your own jit, vmap or grad.

    Args:
      loss: `loss(params, *args) -> float scalar`, any JAX-traceable function; with `has_aux` it
        returns `(scalar, aux)`.
      params: pytree of starting values. Inexact arrays and Python floats are optimised, complex
        ones along the conjugate gradient; integer and boolean arrays, functions and all else are
        held fixed and handed through.
      rule: an update rule such as `Adam(1e-3)`, or any object with `init` and `update`.
      max_steps: the step at which the run ends at the latest, counted from its very beginning also
        when `state` continues it.
      args: further arguments of the loss. Give data here: what a loss captures is compiled in.
      bounds: `(lower, upper)`: numbers or prefix pytrees of params, None for an open side.
      stop: tests that end the run early; by default it makes exactly max_steps steps.
      has_aux: the loss returns `(loss, aux)`; `result.aux` comes from one extra call at the end.
      key: a JAX random key for a stochastic loss, which is called with the keyword `key`, a fresh
        fold for every step.
      record: what the history holds; None for nothing.
      keep: "best" returns the iterate with the lowest loss, "last" the final one; by default best,
        or last if the loss is stochastic.
      state: `result.state` of an earlier run of this loss, to continue it; `params` then only gives
        the form.
      progress: show a live bar (tqdm).
      callback: called on the host between calls of the compiled program (about every 0.25 s, more
        often in the beginning) with the result so far; a true answer stops the run.
      time_limit: seconds after which the run is stopped; compilation does not count.
      engine: how the steps are run; by default `engines.Plain()`.
      throw: raise a RunFailed instead of returning a result that failed.

    Returns:
      A `Result`; `print(result)` shows it.

    Raises:
      TypeError, ValueError: before anything is compiled, naming the argument, what was given and
        what was expected.
      RunFailed: the run failed and `throw` was asked for.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> def rosenbrock(x):
      ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
      >>> result = gd.minimize(rosenbrock, jnp.array([-1.2, 1.0]), gd.Adam(0.02), max_steps=5000)
      >>> [round(float(x), 3) for x in result.params]
      [1.0, 1.0]
    """
    max_steps = as_count(max_steps, "max_steps", at_least=0)
    refuse_tracers("minimize", (params, args, rule, bounds, stop, key, state))
    if state is not None:
        _check_state(state, max_steps)
        key = state.key if key is None else key
    problem, x, inputs = pose(loss, params, args=args, bounds=bounds, has_aux=has_aux, key=key)
    stop = checked_stop(stop, stochastic=problem.stochastic)
    keep = checked_keep(keep, stochastic=problem.stochastic)
    record = _checked_record(record)
    rule, engine = canonical_rule(rule), _checked_engine(engine)
    _check_host_options(callback, time_limit)
    program, numbers, compile_seconds = program_for(
        loss, problem, x, rule, stop, inputs, record, keep, engine
    )
    began = time.perf_counter()
    run = _Run(problem, program, numbers, Journal(record, keep), max_steps, learning_rate_of(rule))
    result = run.go(x, state, progress, callback, time_limit)
    result = _timed(result, compile_seconds, time.perf_counter() - began, program)
    if throw and Status(int(result.status)).failed:
        raise RunFailed(result.message, result)
    return result


def _timed(result: Result, compiling: float, running: float, program: Program) -> Result:
    # What the extra call for aux and norms took to compile, if it was made for the first time.
    late, program.look.seconds = program.look.seconds, 0.0
    return dataclasses.replace(
        result, compile_seconds=compiling + late, run_seconds=running - late
    )


@dataclasses.dataclass
class _Run:
    problem: Problem
    program: Program
    numbers: Numbers
    journal: Journal
    max_steps: int
    rate: Any
    kept_before: Best | None = None
    first_step: int = 0

    def go(
        self,
        x: PyTree,
        state: State | None,
        progress: bool,
        callback: Callable[[Result], Any] | None,
        time_limit: float | None,
    ) -> Result:
        """Run to the end and say how it went."""
        flight = self._begin(x) if state is None else self._continue(state)
        limit = None if time_limit is None else time.perf_counter() + time_limit
        pilot = Pilot(
            self.program,
            self.numbers,
            self.max_steps,
            final_row=not self.problem.stochastic,
            eager=callback is not None,
            deadline=limit,
        )
        bar = Bar(self.first_step, self.max_steps, self.rate) if progress else None
        with catching_interrupts() as interruption:

            def between(flight: Flight, report: Report) -> int:
                if bar is not None:
                    self._show(bar, report)
                if callback is not None and callback(self._peek(pilot, flight, report)):
                    return Status.STOPPED
                if interruption.requested:
                    return Status.INTERRUPTED
                if limit is not None and time.perf_counter() >= limit:
                    return Status.TIME_LIMIT
                return Status.RUNNING

            try:
                flight, report, status = pilot.fly(flight, self.first_step, self.journal, between)
                if bar is not None:
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

    def _show(self, bar: Bar, report: Report) -> None:
        row = self.journal.row(report.first + report.count - 1)
        if row is not None:
            bar.show(report.steps, row.loss)

    def _peek(self, pilot: Pilot, flight: Flight, report: Report) -> Result:
        """What a stop right here would return; the run itself is not touched."""
        journal = self.journal.copy()
        return self._conclude(pilot, flight, report, Status.RUNNING, journal)

    def _conclude(
        self, pilot: Pilot, flight: Flight, report: Report, status: int, journal: Journal
    ) -> Result:
        """The result of a run that ended, or was stopped where `report` says."""
        steps, stochastic = report.steps, self.problem.stochastic
        if not report.ended and not stochastic:
            last = pilot.last_row(flight, report, journal)
            tested = last.status not in (Status.RUNNING, Status.MAX_STEPS)
            status = last.status if tested and status != Status.RUNNING else status
        evaluations = steps - self.first_step + int(report.ended or not stochastic)
        failed = status == Status.NON_FINITE
        good = max(self.first_step, steps - 1) if failed else steps
        final = pilot.locate(flight, report, good)
        # The last row of a stochastic run is that of the iterate before.
        unseen = stochastic and not report.ended
        seen = journal.row(good - 1 if unseen else good)
        best = self._best(pilot, flight, report, journal, final, good)
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
        self,
        pilot: Pilot,
        flight: Flight,
        report: Report,
        journal: Journal,
        final: Carry,
        final_step: int,
    ) -> Best | None:
        seen = journal.best
        if seen is None:
            return None
        if self.kept_before is not None and seen.step == int(self.kept_before.step):
            return self.kept_before
        at = final if seen.step == final_step else pilot.locate(flight, report, seen.step)
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
    hits = {name: carry.tally.hits.get(name, np.int32(0)) for name in fresh.tally.hits}
    move = None if fresh.move is None else carry.move
    if fresh.move is not None and move is None:
        move = np.asarray(np.inf, fresh.move.dtype)
    carry = dataclasses.replace(
        carry, tally=dataclasses.replace(carry.tally, hits=hits), move=move
    )
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


def _check_state(state: Any, max_steps: int) -> None:
    if not isinstance(state, State):
        raise TypeError(f"state must be the state of an earlier result, got {state!r}")
    if int(state.carry.step) > max_steps:
        raise ValueError(
            f"max_steps counts from the run's very beginning: expected more than the state's "
            f"{int(state.carry.step)}, got {max_steps}"
        )


def _checked_record(record: Any) -> Record:
    if record is None:
        return NOTHING
    if not isinstance(record, Record):
        raise TypeError(f"record must be a gd.Record or None, got {record!r}")
    return record.checked()


def _checked_engine(engine: Any) -> Plain:
    if engine is None:
        return Plain()
    if not isinstance(engine, Plain):
        raise TypeError(f"engine must be a gd.engines.Plain or None, got {engine!r}")
    return engine


def _check_host_options(callback: Any, time_limit: Any) -> None:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of the result so far, got {callback!r}")
    if time_limit is None:
        return
    if not is_number(time_limit) or isinstance(time_limit, bool) or np.ndim(time_limit):
        raise TypeError(f"time_limit must be a number of seconds > 0, got {time_limit!r}")
    if not time_limit > 0:
        raise ValueError(f"time_limit must be a number of seconds > 0, got {time_limit!r}")
