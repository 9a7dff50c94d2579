"""Lanes: slots of a block, each of which works through one run after another. Pure.

A call gets a window of starts. When a run has ended, its row is written out and its lane takes the
next start of the window; runs that have not ended when the call returns go on in the next one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgd import tree
from jaxgd.engines import LaneSizes, Plain
from jaxgd.loop import Carry, Descent
from jaxgd.pytree import pytree
from jaxgd.record import NOTHING, Record, Row, blank, write
from jaxgd.status import Status
from jaxgd.tree import PyTree
from jaxgd.walk import End, Walk, set_out, walk_from

PAUSED = -2
"""A status of the device's only: the run waits at a step for the host to say whether it goes on."""
IDLE = -1
"""In the place of a run's index: the lane has none."""


@pytree
class Lane:
    """A lane and its run; of a block, with a leading axis of lanes."""

    run: jax.Array
    own: list[Any]
    """The mapped values of the run, but for its start."""
    walk: Walk


@pytree
class Window:
    """Starts for the lanes, (window, ...) each, of which the first `count` are valid."""

    runs: Any
    start: list[Any]
    """Mapped leaves of the params."""
    own: list[Any]
    saved: Any
    """Where the runs stand, if they have been paused before; None if no run ever is."""
    count: Any
    """int32, (1,)"""
    more: Any
    """bool, (1,): the host has further ones."""


@pytree
class Orders:
    """How far a call shall go; scalars."""

    budget: Any
    """int32: chunks to make at most."""
    end: End
    spent: Any
    """int32: the status of a run that has no row left."""
    halt: Any
    """int32: RUNNING, or the status with which all runs end at once."""
    resumed: Any
    """bool: the window's runs have been paused before."""


@pytree
class Finished:
    """What became of a run; on the host of all, in NumPy."""

    run: Any
    x: PyTree
    first: Any
    """The loss at the start."""
    loss: Any
    grad_norm: Any
    aux: PyTree
    at_step: Any
    steps: Any
    status: Any
    evaluations: Any
    saved: Any
    """Where a paused run stands; None if none is ever paused."""


@pytree
class Film:
    """The recorded rows of a call: of each chunk and lane the run, its first step and its rows."""

    run: jax.Array
    first: jax.Array
    count: jax.Array
    rows: Row


@dataclasses.dataclass(frozen=True)
class Form:
    """What is static in a block of lanes."""

    descent: Callable[[list[Any], Any, Any], Descent]
    """Of a run, from its own values, those that all share, and its index."""
    start: Callable[[list[Any], Any], PyTree]
    """The start of a run, from its mapped leaves and the shared values."""
    keep: str
    engine: Plain
    sizes: LaneSizes
    record: Record
    pauses: bool
    """Whether runs are paused."""

    def begin(self, start: list[Any], own: list[Any], run: Any, shared: Any) -> Lane:
        """A lane at the start of a run."""
        descent = self.descent(own, shared, run)
        walk = set_out(descent, self.start(start, shared), with_norm=False)
        return Lane(run, own, walk)

    def rows(self, block: Lane, shared: Any) -> Row:
        """What is recorded of a row of all lanes."""

        def one(lane: Lane) -> Row:
            descent = self.descent(lane.own, shared, lane.run)
            row = descent.observe(lane.walk.carry, *descent.evaluate(lane.walk.carry))
            loss = row.loss if self.record.loss else None
            norm = row.grad_norm if self.record.grad_norm else None
            return Row(loss, norm, None, row.params)

        return jax.vmap(one)(block)

    def finish(self, lane: Lane, shared: Any) -> Finished:
        """The outcome of the run in a lane."""
        descent = self.descent(lane.own, shared, lane.run)
        problem, walk = descent.problem, lane.walk
        steps, status, kept = walk.carry.step, walk.status, walk.kept
        x, at_step = kept.x, kept.step
        out_of_steps = status == Status.MAX_STEPS
        by_row = (status >= Status.TARGET_REACHED) & (status <= Status.NON_FINITE)
        if problem.stochastic:  # the last iterate of all has no row
            x, at_step = tree.where(out_of_steps, (walk.carry.x, steps), (x, at_step))
            by_row &= ~out_of_steps
        # As the loss, the norm is that of the last row; before any row there is none.
        _, grads = problem.evaluate(kept.x, descent.inputs, kept.step)
        norm = tree.max_norm(problem.projected(kept.x, grads, descent.inputs))
        norm = jnp.where((steps > 0) | by_row, norm, jnp.nan)
        aux = problem.call(x, descent.inputs, at_step)[1] if problem.has_aux else None
        aux = jax.tree.map(lambda a: jax.random.key_data(a) if tree.is_key(a) else a, aux)
        saved = None
        if self.pauses:
            saved = dataclasses.replace(walk, status=jnp.full_like(status, Status.RUNNING))
        counts = (at_step, steps, status, steps + by_row.astype(jnp.int32))
        return Finished(lane.run, x, walk.first, kept.loss, norm, aux, *counts, saved)


@pytree
class _Pass:
    """What a call carries from chunk to chunk."""

    block: Lane
    finished: Finished
    film: Film | None
    counts: jax.Array
    """int32, (3,): runs finished, starts taken, chunks made."""


def advance(
    form: Form, block: Lane, window: Window, orders: Orders, shared: Any
) -> tuple[Lane, Finished, Film | None, jax.Array]:
    """Advance a block until the budget is spent, all is done, or a lane waits for more starts.

    Returns:
      The block; a row for each finished run; the film, if there is one; and (1, 4) counts: runs
      finished, starts taken, chunks made, lanes that have a run still.
    """
    # Arrays of the host would be left as they are under jax.disable_jit.
    block, window, orders = jax.tree.map(jnp.asarray, (block, window, orders))
    count, more = window.count[0], window.more[0]
    room = form.sizes.window + form.sizes.lanes
    outcome = jax.eval_shape(jax.vmap(form.finish, (0, None)), block, shared)
    finished = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape[1:]), leaf.dtype), outcome)
    row = None if form.record == NOTHING else jax.eval_shape(form.rows, block, shared)
    start = _Pass(
        _halted(block, orders.halt), finished, _blank_film(form, row), jnp.zeros(3, jnp.int32)
    )

    def goes_on(s: _Pass) -> jax.Array:
        ended, running = _ended(s.block), _running(s.block)
        _, taken, chunks = s.counts
        dry = more & (taken >= count) & ~jnp.all(running)
        work = jnp.any(running) | jnp.any(ended) | (taken < count)
        allowed: jax.Array = work & (chunks < orders.budget) & ~dry
        return allowed

    def body(s: _Pass) -> _Pass:
        changes = jnp.any(~_running(s.block) & (_ended(s.block) | (s.counts[1] < count)))
        s = lax.cond(changes, lambda s: _refill(form, s, window, orders, shared), lambda s: s, s)
        return _chunk(form, s, row, orders, shared)

    s = lax.while_loop(goes_on, body, start)
    busy = jnp.sum(s.block.run != IDLE, dtype=jnp.int32)
    return s.block, s.finished, s.film, jnp.append(s.counts, busy)[None]


def _running(block: Lane) -> jax.Array:
    return (block.run != IDLE) & (block.walk.status == Status.RUNNING)


def _ended(block: Lane) -> jax.Array:
    return (block.run != IDLE) & (block.walk.status != Status.RUNNING)


def _with_status(block: Lane, change: jax.Array, status: Any) -> Lane:
    status = jnp.where(change, status, block.walk.status)
    return dataclasses.replace(block, walk=dataclasses.replace(block.walk, status=status))


def _halted(block: Lane, halt: jax.Array) -> Lane:
    return _with_status(block, _running(block) & (halt != Status.RUNNING), halt)


def _refill(form: Form, s: _Pass, window: Window, orders: Orders, shared: Any) -> _Pass:
    """Write out what has ended, and give its lanes, and idle ones, the next starts."""
    block, (done, taken, _) = s.block, s.counts
    ended = _ended(block)
    outcome = jax.vmap(form.finish, (0, None))(block, shared)
    slot = jnp.where(ended, done + jnp.cumsum(ended) - 1, len(s.finished.run))
    finished = jax.tree.map(
        lambda room, rows: room.at[slot].set(rows, mode="drop"), s.finished, outcome
    )
    free = ended | (block.run == IDLE)
    order = taken + jnp.cumsum(free) - 1
    takes = free & (order < window.count[0])
    at = jnp.clip(order, 0, form.sizes.window - 1)
    run, start, own, saved = jax.tree.map(
        lambda leaf: leaf[at], (window.runs, window.start, window.own, window.saved)
    )
    fresh = jax.vmap(form.begin, (0, 0, 0, None))(start, own, run, shared)
    if form.pauses:
        fresh = dataclasses.replace(fresh, walk=tree.choose(orders.resumed, saved, fresh.walk))
    old = dataclasses.replace(block, run=jnp.where(free, IDLE, block.run))
    block = jax.vmap(lambda take, a, b: jax.tree.map(lambda a, b: jnp.where(take, a, b), a, b))(
        takes, fresh, old
    )
    moved = (jnp.sum(ended, dtype=jnp.int32), jnp.sum(takes, dtype=jnp.int32), jnp.int32(0))
    return _Pass(block, finished, s.film, s.counts + jnp.stack(moved))


def _chunk(form: Form, s: _Pass, row: Row | None, orders: Orders, shared: Any) -> _Pass:
    """Let the lanes make steps, no more than the run with the most rows left has."""
    block, end = s.block, orders.end
    running, before = _running(block), block.walk.carry.step
    left = jnp.max(jnp.where(running, end.rows - before, 0))
    length = jnp.clip(left, 0, form.sizes.chunk)

    def evaluate(own: tuple[list[Any], Any], carry: Carry) -> tuple[jax.Array, PyTree]:
        values, run = own
        return form.descent(values, shared, run).evaluate(carry)

    def go_on(own: tuple[list[Any], Any], walk: Walk, evaluated: Any) -> tuple[Walk, Row]:
        values, run = own
        descent = form.descent(values, shared, run)
        after, row = walk_from(descent, walk, end, form.keep, evaluated)
        if form.pauses:  # what goes on later must stand still as a whole
            moved = after.carry.step > walk.carry.step
            carry = tree.where(moved, after.carry, walk.carry)
            after = dataclasses.replace(after, carry=carry)
        return after, row

    pieces, own = (evaluate, go_on), (block.own, block.run)
    walks, rows = form.engine.march(pieces, own, block.walk, length, sizes=form.sizes, rows=row)
    film, after = s.film, walks.carry.step
    if film is not None:
        by_row = running & (walks.status != Status.RUNNING)
        made = jnp.where(running, after - before + by_row.astype(jnp.int32), 0)
        film = write(film, s.counts[2], Film(block.run, before, made, rows))
    block = dataclasses.replace(block, walk=walks)
    block = _with_status(block, _running(block) & (after >= end.rows), orders.spent)
    return _Pass(block, s.finished, film, s.counts.at[2].add(1))


def _blank_film(form: Form, row: Row | None) -> Film | None:
    """Room for the rows of a call; None if nothing is recorded."""
    if row is None:
        return None
    marks = jnp.zeros((form.sizes.film, form.sizes.lanes), jnp.int32)
    return Film(marks, marks, marks, blank(blank(row, form.sizes.chunk), form.sizes.film))
