"""A run that ends by itself: one step with its tests, after which an ended run stands still.

Only the iterate and the step count stand still; what else the step carries runs on, unread. That
makes the step cheap where it is vmapped and every choice is made for all runs at once.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgd import tree
from jaxgd.loop import Carry, Descent
from jaxgd.pytree import pytree
from jaxgd.record import Row
from jaxgd.rules import averages_in
from jaxgd.status import Status
from jaxgd.tree import PyTree


@pytree
class Kept:
    """The iterate that would be returned if the run ended here."""

    x: PyTree
    loss: jax.Array
    grad_norm: Any
    """None where nobody asks for it."""
    step: jax.Array


@pytree
class Walk:
    """A run from step to step."""

    carry: Carry
    status: jax.Array
    kept: Kept
    first: jax.Array
    """The loss at the start; NaN before it is known."""
    origin: Carry | None = None
    """Where the steps that lead to the kept iterate are done again from; its `x` is not kept then.
    None if it is."""


@pytree
class End:
    """Where runs end at the latest, in numbers that may be traced."""

    steps: Any
    """Updates made when they are used up."""
    rows: Any
    """Rows that are evaluated: one more than the steps, if the last iterate is evaluated too."""


def set_out(descent: Descent, x: PyTree, *, with_norm: bool) -> Walk:
    """A run at its start `x`."""
    carry = jax.tree.map(jnp.asarray, descent.begin(x))
    loss, grads = descent.evaluation(carry)
    nan, norm = jnp.full((), jnp.nan, loss.dtype), None
    if with_norm:
        norm = jnp.full((), jnp.nan, tree.norm_dtype(grads))
    kept = Kept(carry.x, nan, norm, jnp.zeros((), jnp.int32))
    return Walk(carry, jnp.full((), Status.RUNNING, jnp.int32), kept, nan)


def walk_on(descent: Descent, walk: Walk, end: End, keep: str) -> tuple[Walk, Row]:
    """One step: evaluate, test, remember, update. A run that has ended, or has no row left, stays.

    Args:
      descent: what is minimised, and how.
      walk: the run.
      end: where it ends at the latest.
      keep: "best" or "last".

    Returns:
      The run after the step, and its row, which means nothing for a run that stays.
    """
    return walk_from(descent, walk, end, keep, descent.evaluate(walk.carry))


def walk_from(
    descent: Descent, walk: Walk, end: End, keep: str, evaluated: tuple[jax.Array, PyTree]
) -> tuple[Walk, Row]:
    """The same, when the loss and the gradients at the iterate have been evaluated."""
    carry, kept, (loss, grads) = walk.carry, walk.kept, evaluated
    running = (walk.status == Status.RUNNING) & (carry.step < end.rows)
    row = descent.observe(carry, loss, grads)
    norm, finite = _judged(descent, kept, carry, loss, grads)
    tally, status = descent.test(carry.tally, row)
    out_of_steps = (status == Status.RUNNING) & (carry.step >= end.steps)
    status = jnp.where(out_of_steps, jnp.int32(Status.MAX_STEPS), status)
    status = jnp.where(finite, status, jnp.int32(Status.NON_FINITE))
    better = finite | (carry.step == 0)
    if keep == "best":
        better &= ~(loss >= kept.loss)
    kept = tree.where(running & better, Kept(carry.x, loss, norm, carry.step), kept)
    goes_on = running & (status == Status.RUNNING)
    after = descent.update(carry, loss, grads, tally)
    after = _standing(~goes_on, carry, after)
    status = jnp.where(running, status, walk.status)
    first = jnp.where(carry.step == 0, loss, walk.first)
    return dataclasses.replace(walk, carry=after, status=status, kept=kept, first=first), row


def stride_from(
    descent: Descent, walk: Walk, end: End, keep: str, evaluated: tuple[jax.Array, PyTree]
) -> tuple[Walk, Row]:
    """The same step of a run that is known to have nothing but finite numbers, for speed.

    It does not ask whether anything is finite, keeps of the best iterate no more than its loss and
    its step, and of the last one nothing. Without tests it does not stop either: whoever calls it
    knows how many steps are left.
    """
    carry, kept, (loss, grads) = walk.carry, walk.kept, evaluated
    row, tally, status = descent.observe(carry, loss, grads), carry.tally, walk.status
    goes_on, running = jnp.bool_(True), jnp.bool_(True)
    if descent.stop.given:
        running = (walk.status == Status.RUNNING) & (carry.step < end.rows)
        tally, status = descent.test(carry.tally, row)
        out_of_steps = (status == Status.RUNNING) & (carry.step >= end.steps)
        status = jnp.where(out_of_steps, jnp.int32(Status.MAX_STEPS), status)
        goes_on = running & (status == Status.RUNNING)
        status = jnp.where(running, status, walk.status)
    if keep == "best":
        lower = running & ~(loss >= kept.loss)
        lowest, at = tree.where(lower, (loss, carry.step), (kept.loss, kept.step))
        kept = dataclasses.replace(kept, loss=lowest, step=at)
    after = descent.update(carry, loss, grads, tally)
    if descent.stop.given:
        after = _standing(~goes_on, carry, after)
    return dataclasses.replace(walk, carry=after, status=status, kept=kept), row


def _standing(stands: jax.Array, carry: Carry, after: Carry) -> Carry:
    """The carry after a step, or where the run stands still as much as is read of the one before.

    Of the rule's state that is an average, if there is one.
    """
    x, step = tree.where(stands, (carry.x, carry.step), (after.x, after.step))
    after = dataclasses.replace(after, x=x, step=step)
    if averages_in(carry.state):
        state = tree.where(stands, carry.state, after.state)
        after = dataclasses.replace(after, state=state)
    return after


def taint_of(descent: Descent, keep: str, evaluated: tuple[jax.Array, PyTree]) -> Any:
    """0, or NaN if what was evaluated is not finite, as far as nothing else will tell."""
    loss, grads = evaluated
    needs_loss = keep == "best" or {"target", "ftol", "frtol"} & set(descent.stop.given)
    taint = 0 * loss if needs_loss or descent.record.loss else jnp.zeros_like(loss)
    if not descent.remembers:
        taint = taint + jnp.where(tree.has_only_finite(grads), 0, jnp.nan)
    return taint


def is_clean(descent: Descent, carry: Carry, evaluated: tuple[jax.Array, PyTree]) -> jax.Array:
    """Whether an iterate has finite loss and gradients, and nothing before it has left a trace."""
    loss, grads = evaluated
    clean = jnp.isfinite(loss) & tree.has_only_finite(grads)
    if descent.remembers:
        state = [a for a in jax.tree.leaves(carry.state) if jnp.issubdtype(a.dtype, jnp.inexact)]
        clean &= tree.has_only_finite([carry.x, state])
    return clean


def seen_at(descent: Descent, carry: Carry, evaluated: tuple[jax.Array, PyTree]) -> Kept:
    """An iterate and what was evaluated there, with the gradient norm."""
    loss, grads = evaluated
    norm = tree.max_norm(descent.problem.projected(carry.x, grads, descent.inputs))
    return Kept(carry.x, loss, norm, carry.step)


def recalled(descent: Descent, walk: Walk) -> Kept:
    """The kept iterate, made again from the origin by the same steps, with the gradient norm."""
    assert walk.origin is not None
    kept = walk.kept

    def step(s: tuple[Carry, Any, Any]) -> tuple[Carry, Any, Any]:
        carry, _, _ = s
        evaluated = descent.evaluate(carry)
        there = carry.step >= kept.step
        after = tree.where(there, carry, descent.update(carry, *evaluated, carry.tally))
        return after, seen_at(descent, carry, evaluated).grad_norm, there

    _, grads = descent.evaluation(walk.origin)
    nothing = jnp.zeros((), tree.norm_dtype(grads))
    start = (walk.origin, nothing, jnp.bool_(False))
    carry, norm, _ = lax.while_loop(lambda s: ~s[2], step, start)
    return dataclasses.replace(kept, x=carry.x, grad_norm=norm)


def _judged(
    descent: Descent, kept: Kept, carry: Carry, loss: jax.Array, grads: PyTree
) -> tuple[Any, jax.Array]:
    """The gradient norm if it is kept, and whether loss and gradient are finite."""
    if kept.grad_norm is None:
        return None, jnp.isfinite(loss) & tree.has_only_finite(grads)
    norm = tree.max_norm(descent.problem.projected(carry.x, grads, descent.inputs))
    return norm, jnp.isfinite(loss) & jnp.isfinite(tree.max_norm(grads))
