"""How lanes get their next runs: all of them at once, or one after another. Pure."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgd import tree
from jaxgd.lanes import IDLE, Film, Finished, Form, Lane, Orders, Window, ended, running
from jaxgd.pytree import pytree
from jaxgd.record import write
from jaxgd.status import Status


@pytree
class Pass:
    """What a call carries from chunk to chunk."""

    block: Lane
    finished: Finished
    film: Film | None
    counts: jax.Array
    """int32, (3,): runs finished, starts taken, chunks made."""


def refill(form: Form, s: Pass, window: Window, orders: Orders, shared: Any) -> Pass:
    """Write out what has ended, and give its lanes, and idle ones, the next starts."""
    if form.sizes.in_kernel:
        return _one_by_one(form, s, window, orders, shared)
    idle_ones = s.counts[1] < window.count[0]
    changes = jnp.any(~running(s.block) & (ended(s.block) | idle_ones))
    filled: Pass = lax.cond(
        changes, lambda s: _at_once(form, s, window, orders, shared), lambda s: s, s
    )
    return filled


def _at_once(form: Form, s: Pass, window: Window, orders: Orders, shared: Any) -> Pass:
    block, (done, taken, _) = s.block, s.counts
    over = ended(block)
    outcome = jax.vmap(form.finish, (0, None))(block, shared)
    slot = jnp.where(over, done + jnp.cumsum(over, dtype=jnp.int32) - 1, len(s.finished.run))
    finished = jax.tree.map(
        lambda room, rows: room.at[slot].set(rows, mode="drop"), s.finished, outcome
    )
    free = over | (block.run == IDLE)
    order = taken + jnp.cumsum(free, dtype=jnp.int32) - 1
    takes = free & (order < window.count[0])
    at = jnp.clip(order, 0, form.sizes.window - 1)
    run, start, own, saved = jax.tree.map(
        lambda leaf: leaf[at], (window.runs, window.start, window.own, window.saved)
    )
    fresh = jax.vmap(form.begin, (0, 0, 0, None))(start, own, run, shared)
    if form.pauses:
        fresh = dataclasses.replace(fresh, walk=tree.choose(orders.resumed, saved, fresh.walk))
    old = dataclasses.replace(block, run=jnp.where(free, IDLE, block.run))
    block = jax.vmap(_selected)(takes, fresh, old)
    moved = (jnp.sum(over, dtype=jnp.int32), jnp.sum(takes, dtype=jnp.int32), jnp.int32(0))
    return Pass(block, finished, s.film, s.counts + jnp.stack(moved))


def _selected(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _one_by_one(form: Form, s: Pass, window: Window, orders: Orders, shared: Any) -> Pass:
    """The same without gathers and scatters, which cannot be in a kernel."""
    lanes, count = form.sizes.lanes, window.count[0]

    def following(i: jax.Array, s: Pass) -> jax.Array:
        """The first lane from `i` on that waits."""
        takes, run, status = s.counts[1] < count, s.block.run, s.block.walk.status

        def goes_on(i: jax.Array) -> jax.Array:
            at = jnp.minimum(i, lanes - 1)
            idle, moves = _read(run, at) == IDLE, _read(status, at) == Status.RUNNING
            busy: jax.Array = (i < lanes) & jnp.where(idle, ~takes, moves)
            return busy

        found: jax.Array = lax.while_loop(goes_on, lambda i: i + 1, i)
        return found

    def body(s: Any) -> Any:
        i, served = s[0], _served(s[1], s[0], form, (window, orders, shared))
        return following(i + 1, served), served

    start = (following(jnp.int32(0), s), s)
    filled: Pass = lax.while_loop(lambda s: s[0] < lanes, body, start)[1]
    return filled


def _served(s: Pass, i: jax.Array, form: Form, given: tuple[Window, Orders, Any]) -> Pass:
    """Write out the run of one lane, if it has one, and give it the next start, if there is one."""
    window, orders, shared = given
    lane, (done, taken, _) = _read(s.block, i), s.counts
    over, takes = lane.run != IDLE, taken < window.count[0]
    row = _selected(over, form.finish(lane, shared), _read(s.finished, done))
    at = jnp.minimum(taken, form.sizes.window - 1)
    run, start, own, saved = _read((window.runs, window.start, window.own, window.saved), at)
    fresh = form.begin(start, own, run, shared)
    if form.pauses:
        fresh = dataclasses.replace(fresh, walk=_selected(orders.resumed, saved, fresh.walk))
    lane = _selected(takes, fresh, dataclasses.replace(lane, run=jnp.full((), IDLE, jnp.int32)))
    moved = [part.astype(jnp.int32) for part in (over, takes, jnp.bool_(False))]
    return Pass(
        write(s.block, i, lane),
        write(s.finished, done, row),
        s.film,
        s.counts + jnp.stack(moved),
    )


def _read(rows: Any, at: jax.Array) -> Any:
    def one(leaf: jax.Array) -> jax.Array:
        return jnp.asarray(
            lax.dynamic_index_in_dim(leaf, at, 0, keepdims=False, allow_negative_indices=False)
        )

    return jax.tree.map(one, rows)
