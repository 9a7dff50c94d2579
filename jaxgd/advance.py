"""One call of a block of lanes. Pure.

A call gets a window of starts. When a run has ended, its row is written out and its lane takes the
next start of the window; runs that have not ended when the call returns go on in the next one.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.engines import march, stride
from jaxgd.lanes import (
    IDLE,
    Film,
    Finished,
    Form,
    Lane,
    Orders,
    Window,
    ended,
    running,
    with_status,
)
from jaxgd.record import NOTHING, Row, blank, write
from jaxgd.refill import Pass, refill
from jaxgd.status import Status


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
    room = form.sizes.window + form.sizes.lanes
    outcome = jax.eval_shape(jax.vmap(form.finish, (0, None)), block, shared)
    finished = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape[1:]), leaf.dtype), outcome)
    row = None if form.record == NOTHING else jax.eval_shape(form.rows, block, shared)
    block = with_status(block, running(block) & (orders.halt != Status.RUNNING), orders.halt)
    start = Pass(block, finished, _blank_film(form, row), jnp.zeros(3, jnp.int32))

    def chunks(s: Pass, window: Window, orders: Orders, shared: Any) -> Pass:
        def body(s: Pass) -> Pass:
            return _chunk(form, refill(form, s, window, orders, shared), row, orders, shared)

        made: Pass = lax.while_loop(lambda s: _goes_on(s, window, orders), body, s)
        return made

    s = form.engine.whole(chunks, start, window, orders, shared)
    busy = jnp.sum(s.block.run != IDLE, dtype=jnp.int32)
    return s.block, s.finished, s.film, jnp.append(s.counts, busy)[None]


def _goes_on(s: Pass, window: Window, orders: Orders) -> jax.Array:
    count, more = window.count[0], window.more[0]
    over, goes = ended(s.block), running(s.block)
    _, taken, chunks = s.counts
    dry = more & (taken >= count) & ~jnp.all(goes)
    work = jnp.any(goes) | jnp.any(over) | (taken < count)
    allowed: jax.Array = work & (chunks < orders.budget) & ~dry
    return allowed


def _chunk(form: Form, s: Pass, row: Row | None, orders: Orders, shared: Any) -> Pass:
    """Let the lanes make steps."""
    block, end = s.block, orders.end
    before = block.walk.carry.step
    way, own = stride if form.strides else march, (block.own, block.run)
    pieces = form.pieces(shared, end)
    walks, rows = way(pieces, own, block.walk, end, sizes=form.sizes, rows=row)
    film, after = s.film, walks.carry.step
    if film is not None:
        by_row = running(block) & (walks.status != Status.RUNNING)
        made = jnp.where(running(block), after - before + by_row.astype(jnp.int32), 0)
        film = write(film, s.counts[2], Film(block.run, before, made, rows))
    block = dataclasses.replace(block, walk=walks)
    block = with_status(block, running(block) & (after >= end.rows), orders.spent)
    return Pass(block, s.finished, film, s.counts + np.array([0, 0, 1], np.int32))


def _blank_film(form: Form, row: Row | None) -> Film | None:
    """Room for the rows of a call; None if nothing is recorded."""
    if row is None:
        return None
    marks = jnp.zeros((form.sizes.film, form.sizes.lanes), jnp.int32)
    rows = blank(row, form.sizes.chunk + form.strides)
    return Film(marks, marks, marks, blank(rows, form.sizes.film))
