"""`minimize`: one run, driven from the host."""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np

from jaxgd.bounds import checked_bounds
from jaxgd.canonical import as_count, is_quantity
from jaxgd.driver import Job, program_for
from jaxgd.engines import Cpu, Engine, Plain
from jaxgd.journal import Journal
from jaxgd.loop import checked_keep
from jaxgd.packing import packing_of
from jaxgd.problem import pose
from jaxgd.record import Record, checked_record
from jaxgd.refusal import described, refuse_tracers
from jaxgd.result import Result
from jaxgd.rules import canonical_rule, learning_rate_of, name_of, treats_entries_alike
from jaxgd.run import Run, State, Watch
from jaxgd.signals import catching_interrupts
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop, checked_stop
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
    record: Record | None = Record(),  # noqa: B008  (frozen)
    keep: str | None = None,
    state: State | None = None,
    progress: bool = False,
    callback: Callable[[Result], Any] | None = None,
    time_limit: float | None = None,
    engine: Engine | None = None,
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
      record: what the history holds; None for nothing.
      keep: "best" returns the iterate with the lowest loss, "last" the final one; by default best,
        or last if the loss is stochastic.
      state: `result.state` of an earlier run of this loss, to continue it up to a higher max_steps;
        `params` then only gives the form, and the history has the rows of this call.
      progress: show a live bar (tqdm).
      callback: called on the host between calls of the compiled program (about every 0.25 s, more
        often in the beginning) with the result so far; a true answer stops the run.
      time_limit: seconds after which the run is stopped; compilation does not count.
      engine: how the steps are run; by default the fastest of `jaxgd.engines` that takes the loss.
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
    given = {"params": params, "args": args, "rule": rule, "bounds": bounds, "stop": stop}
    given |= {"key": key, "state": state, "time_limit": time_limit}
    refuse_tracers("minimize", given)
    if state is not None:
        _check_state(state, max_steps)
        key = state.key if key is None else key
    problem, x, inputs = pose(loss, params, args=args, bounds=bounds, has_aux=has_aux, key=key)
    stop = checked_stop(stop, stochastic=problem.stochastic)
    keep = checked_keep(keep, stochastic=problem.stochastic)
    record = checked_record(record)
    rule, engine = canonical_rule(rule), checked_engine(engine)
    if treats_entries_alike(rule):
        problem = dataclasses.replace(problem, packing=packing_of(x))
        x, inputs = problem.packed(x), problem.with_bounds_packed(inputs)
    if state is not None and bounds is not None and _shapes(state.carry.x) == _shapes(x):
        checked_bounds(bounds, params, problem.unpacked(state.carry.x))
    if state is not None and state.rule != name_of(rule):
        raise ValueError(
            f"state belongs to another run: one of {state.rule}, got the rule {name_of(rule)}"
        )
    check_host_options(callback, time_limit, progress=progress, throw=throw)
    job = Job(problem, x, inputs, rule, stop, record, keep, engine)
    with catching_interrupts() as interruption:
        program, numbers, compile_seconds = program_for(loss, job)
        journal = Journal(record, keep, learning_rate_of(rule))
        run = Run(problem, program, numbers, journal, max_steps, name_of(rule), compile_seconds)
        seconds = None if time_limit is None else float(time_limit)
        result = run.go(x, state, Watch(interruption, callback, seconds, progress))
    if interruption.requested:  # perhaps when the run had ended already: it must not pass unseen
        result = dataclasses.replace(result, status=np.int32(Status.INTERRUPTED))
    if throw and Status(int(result.status)).failed:
        raise RunFailed(result.message, result)
    return result


def _shapes(tree: PyTree) -> list[tuple[int, ...]]:
    return [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _check_state(state: Any, max_steps: int) -> None:
    if not isinstance(state, State):
        raise TypeError(
            f"state must be the state of an earlier result, result.state, got {described(state)}"
        )
    if int(state.carry.step) > max_steps:
        raise ValueError(
            f"max_steps counts from the run's very beginning: expected at least the state's "
            f"{int(state.carry.step)}, got {max_steps}"
        )


def checked_engine(engine: Any) -> Engine | None:
    """The engine that was asked for, None for the fastest that takes the loss."""
    if engine is None:
        return None
    if not isinstance(engine, Cpu | Plain):
        raise TypeError(f"engine must be one of gd.engines, as gd.engines.Plain(), got {engine!r}")
    return engine.checked()


def check_host_options(callback: Any, time_limit: Any, **switches: Any) -> None:
    """Check what is looked at between calls; the switches are True or False."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of the result so far, got {callback!r}")
    if time_limit is None:
        return
    if not is_quantity(time_limit) or np.ndim(time_limit):
        raise TypeError(f"time_limit must be a number of seconds > 0, got {time_limit!r}")
    if not time_limit > 0:
        raise ValueError(f"time_limit must be a number of seconds > 0, got {time_limit!r}")
