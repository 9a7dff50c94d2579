"""`minimize`: one run, driven from the host."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np

from jaxgd.bounds import checked_bounds
from jaxgd.canonical import is_quantity
from jaxgd.checkpoint import Checkpoint
from jaxgd.data import Batches, given_data, steps_of, traced_of
from jaxgd.diagnosis import diagnosed
from jaxgd.driver import Job, program_for
from jaxgd.engines import Cpu, Engine, Plain
from jaxgd.fingerprint import fingerprint_of
from jaxgd.journal import Journal
from jaxgd.loop import checked_keep
from jaxgd.metrics import Readings, meter_for
from jaxgd.packing import packing_of
from jaxgd.problem import Inputs, Problem, pose
from jaxgd.record import Record, checked_record
from jaxgd.refusal import refuse_tracers, shown
from jaxgd.result import Result
from jaxgd.rules import canonical_rule, learning_rate_of, name_of, treats_entries_alike
from jaxgd.run import Run, Watch
from jaxgd.saving import Saver, saving
from jaxgd.signals import catching_interrupts
from jaxgd.state import Marks, State, check_fit, step_of
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop, checked_stop
from jaxgd.supply import Supply, supplied
from jaxgd.tree import PyTree


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
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    epochs: int | None = None,
    record: Record | None = Record(),  # noqa: B008  (frozen)
    keep: str | None = None,
    state: State | None = None,
    progress: bool = False,
    callback: Callable[[Result], Any] | None = None,
    time_limit: float | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    debug: bool = False,
    throw: bool = False,
) -> Result:
    """Minimise a differentiable loss by gradient descent.

    The loss is traced and compiled once for its form; other numbers (params, args, learning rate,
    tolerances, bounds, max_steps) reuse the program, which lives as long as the loss does. As with
    `jax.jit`, what a loss captured, or an attribute of its object, is part of the program: a change
    of it afterwards is not seen. Host effects in the loss, such as `jax.debug.print`, may come more
    often than once a step, since steps are also done again and beyond the end. Use `descend` inside
    your own jit, vmap or grad.

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
        Numbers and arrays are traced; functions, strings, bools and other hashable objects are
        static, and another one compiles anew, as does a number of another type.
      bounds: `(lower, upper)`: numbers or prefix pytrees of params, None for an open side.
      stop: tests that end the run early; by default it makes exactly max_steps steps.
      has_aux: the loss returns `(loss, aux)`; `result.aux` comes from one extra call at the end.
      key: a JAX random key for a stochastic loss, which is called with the keyword `key`, a fresh
        fold for every step.
      data: a `Batches`: the loss is called `loss(params, batch, *args)`.
      epochs: passes over the data, in the place of max_steps.
      record: what the history holds; None for nothing.
      keep: "best" returns the iterate with the lowest loss, "last" the final one; by default best,
        or last if the loss is stochastic.
      state: `result.state` of an earlier run of this loss, to continue it up to a higher max_steps;
        `params` then only gives the form, and the history has the rows of this call.
      progress: show a live bar (tqdm).
      callback: called on the host between calls of the compiled program (about every 0.25 s, more
        often in the beginning) with the result so far; a true answer stops the run.
      time_limit: seconds after which the run is stopped; compilation does not count.
      checkpoint: where the run is kept on the disk; the same call goes on from there. The result is
        then that of the whole run, as if nothing had ended it.
      engine: how the steps are run; by default the fastest of `jaxgd.engines` that takes the loss.
      debug: if the run is NON_FINITE, `result.message` says what was so first, at which step and in
        which arrays. It costs nothing before that: the step is made again.
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
    max_steps = steps_of(max_steps, epochs, data, default=1000)
    given = {"params": params, "args": args, "rule": rule, "bounds": bounds, "stop": stop}
    given |= {"key": key, "state": state, "time_limit": time_limit}
    refuse_tracers("minimize", given | {"data": traced_of(data)})
    check_host_options(callback, time_limit, progress=progress, debug=debug, throw=throw)
    if isinstance(data, Batches) and data.reads:  # before a batch is taken from it
        canonical_rule(rule)
        checked_stop(stop, stochastic=True)
        checked_keep(keep, stochastic=True)
        checked_engine(engine)
    first = 0 if state is None else step_of(state, max_steps)
    key = state.key if key is None and state is not None else key
    with (
        catching_interrupts(terminating=checkpoint is not None) as interruption,
        saving(checkpoint, data) as saver,
        supplied(data, _going_on(saver, first, max_steps), max_steps) as supply,
    ):
        first = _going_on(saver, first, max_steps)
        fed = given_data(data) if supply is None else (supply.plan, supply.feed(first))
        form: Any = {"bounds": bounds, "has_aux": has_aux, "key": key, "data": fed}
        problem, x, inputs = pose(loss, params, args=args, **form)
        job = job_for(problem, (x, inputs), rule, (stop, record, keep, engine))
        order = getattr(data, "order", None)
        if state is not None:
            check_fit(state, job, order)
            if bounds is not None and _shapes(state.carry.x) == _shapes(job.x):
                checked_bounds(bounds, params, job.problem.unpacked(state.carry.x))
        run = run_of(loss, job, max_steps, supply, Marks(name_of(job.rule), order))
        if saver is not None:
            asked = {"params": params, "args": args, "bounds": bounds, "key": key, "data": data}
            saver.check(fingerprint_of(asked, job, run.program), max_steps)
        result = run.go(job.x, state, Watch(interruption, callback, time_limit, progress, saver))
        result = diagnosed(loss, job, run, result) if debug else result
    if interruption.requested:  # perhaps when the run had ended already: it must not pass unseen
        result = dataclasses.replace(result, status=np.int32(Status.INTERRUPTED))
    if supply is not None:
        _say_how_data_ended(supply, result, max_steps)
    if throw and Status(int(result.status)).failed:
        raise RunFailed(result.message, result)
    return result


def job_for(problem: Problem, traced: tuple[PyTree, Inputs], rule: Any, options: Any) -> Job:
    """What is to be run, of checked options."""
    (x, inputs), (stop, record, keep, engine) = traced, options
    stop = checked_stop(stop, stochastic=problem.stochastic)
    keep, chooses = checked_keep(keep, stochastic=problem.stochastic), keep is None
    record = checked_record(record, has_aux=problem.has_aux)
    evaluate, record = record.evaluate, record.rows
    rule, engine = canonical_rule(rule), checked_engine(engine)
    if treats_entries_alike(rule):
        problem = dataclasses.replace(problem, packing=packing_of(x))
        x, inputs = problem.packed(x), problem.with_bounds_packed(inputs)
    return Job(problem, x, inputs, rule, stop, record, keep, engine, evaluate, chooses)


def run_of(loss: Any, job: Job, max_steps: int, supply: Supply | None, marks: Marks) -> Run:
    """A run with its program, before its first step."""
    program, numbers, compile_seconds = program_for(loss, job)
    journal = Journal(job.record, job.keep, learning_rate_of(job.rule))
    run = Run(job.problem, program, numbers, journal, max_steps, marks, compile_seconds, supply)
    if job.evaluate is not None:
        there = program.fresh.carry.x  # where the run is
        meter = meter_for(job.evaluate, job.problem, there, job.inputs.held)
        run.readings = Readings(meter, keeps=job.chooses)
    return run


def _say_how_data_ended(supply: Supply, result: Result, max_steps: int) -> None:
    """Raise what the reader of the data raised, or warn that the data ended too early."""
    steps = int(result.steps)
    if result.status != Status.STOPPED or not supply.ended or steps < supply.end:
        return  # the run ended by itself, and wanted no further batch
    if supply.error is not None:
        told = f"data: its reader failed at batch {steps}: {supply.error!r}; `.result` has the run"
        raise RunFailed(f"{told} up to there", result) from supply.error
    if steps < max_steps:
        warnings.warn(
            f"data ended after {steps} batches, before step {max_steps}", RuntimeWarning, 3
        )


def _going_on(saver: Saver | None, first: int, max_steps: int) -> int:
    """The step at which the run goes on, or begins."""
    step = None if saver is None else saver.step
    return first if step is None else min(step, max_steps)


def _shapes(tree: PyTree) -> list[tuple[int, ...]]:
    return [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def checked_engine(engine: Any) -> Engine | None:
    """The engine that was asked for, None for the fastest that takes the loss."""
    if engine is None:
        return None
    if not isinstance(engine, Cpu | Plain):
        raise TypeError(
            f"engine must be one of gd.engines, as gd.engines.Plain(), got {shown(engine)}"
        )
    return engine.checked()


def check_host_options(callback: Any, time_limit: Any, **switches: Any) -> None:
    """Check what is looked at between calls; the switches are True or False."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {shown(value)}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of the result so far, got {shown(callback)}")
    if time_limit is None:
        return
    if not is_quantity(time_limit) or np.ndim(time_limit):
        raise TypeError(f"time_limit must be a number of seconds > 0, got {shown(time_limit)}")
    if not time_limit > 0:
        raise ValueError(f"time_limit must be a number of seconds > 0, got {shown(time_limit)}")
