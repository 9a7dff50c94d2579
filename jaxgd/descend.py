"""`descend`: a whole descent as one pure, differentiable function."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxgd import tree
from jaxgd.canonical import as_count
from jaxgd.data import Batches, given_data
from jaxgd.loop import Descent, checked_keep, unguarded
from jaxgd.problem import pose
from jaxgd.record import NOTHING, History, Record, Row, checked_record
from jaxgd.result import Result
from jaxgd.rules import canonical_rule, learning_rate_of, rates_from
from jaxgd.status import Status
from jaxgd.stop import Stop, checked_stop
from jaxgd.tree import PyTree
from jaxgd.walk import End, Walk, set_out, walk_on


def descend(
    loss: Callable[..., Any],
    params: PyTree,
    rule: Any,
    steps: int,
    *,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    stop: Stop | None = None,
    has_aux: bool = False,
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    record: Record | None = Record(),  # noqa: B008  (frozen)
    keep: str = "last",
) -> Result:
    """Minimise a loss by a fixed number of steps, purely: for your own jit, vmap and grad.

    What `minimize` computes, as one traceable function, differentiable in forward and reverse mode
    with respect to the params, the args and every float of the rule and its schedule. Where a test
    in `stop` ends the run, the remaining steps change nothing.

    Args:
      loss: `loss(params, *args) -> float scalar`, or `(scalar, aux)` with `has_aux`.
      params: pytree; inexact arrays and Python floats are optimised, all else is held fixed.
      rule: an update rule, any object with `init` and `update`.
      steps: updates to make, a Python int >= 0; it sets the length of the history.
      args: further arguments of the loss.
      bounds: `(lower, upper)`, numbers or prefix pytrees of params; None for an open side.
      stop: tests that end the run early.
      has_aux: the loss returns `(loss, aux)`.
      key: a JAX random key: the loss is called with `key=`, a fresh fold for every step, and no
        final evaluation is made.
      data: a `Batches` of arrays: the loss is called `loss(params, batch, *args)`.
      record: what the history holds; None for nothing.
      keep: "last" or "best": which iterate to return.

    Returns:
      A `Result`. Its history has steps + 1 rows (steps if the loss is stochastic), NaN after the
      end; `result.steps` says how many are valid. The derivative of a run that went non-finite
      may be NaN, also where what it returns is finite.

    Raises:
      TypeError, ValueError: naming the argument, what was given and what was expected.

    Example:
      >>> import jax, jax.numpy as jnp, jaxgd as gd
      >>> def final(rate):
      ...     return gd.descend(lambda x: (x - 1.0) ** 2, 0.0, gd.GradientDescent(rate), 3).loss
      >>> [round(float(x), 5) for x in jax.vmap(final)(jnp.array([0.1, 0.2]))]
      [0.26214, 0.04666]
      >>> round(float(jax.grad(final)(0.1)), 5)
      -3.93216
    """
    steps = as_count(steps, "steps", at_least=0)
    form: Any = {"bounds": bounds, "has_aux": has_aux, "key": key, "data": given_data(data)}
    problem, x, inputs = pose(loss, params, args=args, **form)
    stop = checked_stop(stop, stochastic=problem.stochastic)
    record = checked_record(record, has_aux=has_aux)
    if record.evaluate is not None:
        raise ValueError(
            "record.evaluate is for minimize and many runs; descend records params, of which "
            "jax.vmap makes metrics"
        )
    keep = checked_keep(keep, stochastic=problem.stochastic)
    descent = Descent(problem, inputs, canonical_rule(rule), stop, record)
    with unguarded():
        walk, rows = _walk(descent, x, steps, keep)
        return _result(descent, walk, rows)


def _walk(descent: Descent, x: PyTree, steps: int, keep: str) -> tuple[Walk, Row]:
    """Scan the steps; on the last row of a deterministic loss no update is made."""
    end = End(steps, steps if descent.problem.stochastic else steps + 1)

    def body(walk: Walk, _: None) -> tuple[Walk, Row]:
        running = walk.status == Status.RUNNING
        walk, row = walk_on(descent, walk, end, keep)
        return walk, jax.tree.map(lambda leaf: _blanked(running, leaf), row)

    return _scan_in_chunks(body, set_out(descent, x, with_norm=True), end.rows)


CHUNK = 128


def _scan_in_chunks(body: Any, walk: Walk, length: int) -> tuple[Walk, Row]:
    """lax.scan that stacks rows in two levels.

    A flat scan that stacks many scalars is slow on jax 0.10 and quadratic in its length on 0.11.
    """
    if length <= CHUNK:
        flat: tuple[Walk, Row] = lax.scan(body, walk, None, length=length)
        return flat
    chunks = -(-length // CHUNK)
    even = -(-length // chunks)

    def chunk(walk: Walk, _: None) -> tuple[Walk, Row]:
        done: tuple[Walk, Row] = lax.scan(body, walk, None, length=even)
        return done

    # The last chunk may be longer than what is left: an ended run's steps change nothing.
    walk, rows = lax.scan(chunk, walk, None, length=chunks)
    return walk, jax.tree.map(lambda r: r.reshape(-1, *r.shape[2:])[:length], rows)


def _blanked(shown: jax.Array, leaf: jax.Array) -> jax.Array:
    nothing = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
    return jnp.where(shown, leaf, jnp.full_like(leaf, nothing))


def _result(descent: Descent, walk: Walk, rows: Row) -> Result:
    problem, inputs, kept = descent.problem, descent.inputs, walk.kept
    status, at_step, x = walk.status, kept.step, kept.x
    if problem.stochastic:
        ran_out = status == Status.RUNNING
        status = jnp.where(ran_out, jnp.int32(Status.MAX_STEPS), status)
        x = tree.where(ran_out, walk.carry.x, x)
        at_step = jnp.where(ran_out, walk.carry.step, at_step)
    made = walk.carry.step
    ends_on_row = status != Status.MAX_STEPS if problem.stochastic else True
    history = None
    if descent.record != NOTHING:
        pick = slice(None, None, descent.record.every)
        history = History(
            jnp.arange(len(rows.loss))[pick],
            rows.loss[pick] if descent.record.loss else None,
            rows.grad_norm[pick] if descent.record.grad_norm else None,
            jax.tree.map(lambda rates: rates[pick], _rates(descent.rule, len(rows.loss))),
            *jax.tree.map(lambda leaf: leaf[pick], (rows.params, rows.aux)),
        )
    aux = problem.aux(x, inputs, at_step)
    whole = problem.params.merge(jax.tree.leaves(x), inputs.held)
    evaluations = made + jnp.int32(ends_on_row)
    return Result(
        whole, kept.loss, kept.grad_norm, aux, at_step, made, status, evaluations, history, None
    )


def _rates(rule: Any, length: int) -> Any:
    """The learning rates of all rows; None for a foreign rule."""
    rate = learning_rate_of(rule)
    if rate is None or callable(rate):
        return rates_from(rule, 0, length)
    return jnp.full(length, rate)
