"""A block of lanes in strides: steps that look at nothing but what the tests need.

Whether all numbers were finite is asked once a chunk. If not, the chunk is made again by whole
steps, which ask at each one: nobody pays for what rarely happens.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd import tree
from jaxgd.engines.march import LaneSizes, Pieces, Step, most_left, recorded
from jaxgd.record import Row, blank, write
from jaxgd.status import Status
from jaxgd.walk import End, Walk

SPAN = 8
"""Steps from one note of where the lowest loss was to the next. What is done again to get there is
half of that on average."""


def stride(
    pieces: Pieces, own: Any, walks: Walk, end: End, *, sizes: LaneSizes, rows: Row | None
) -> tuple[Walk, Any]:
    """What `march` does, in strides; the rows are one more than a chunk."""
    whole = Step(pieces.evaluate, pieces.walk, own, sizes, rows)
    before, running = whole.lay(walks), walks.status == Status.RUNNING
    length = jnp.clip(_length(pieces, walks, end), 0, sizes.chunk)
    film = blank(rows, sizes.chunk + 1)
    walks, film, clean = _strides(pieces, whole, before, length, film)

    # A whole step where the strides have led to. Of a run that is there at its last row it counts;
    # of the others it says whether all was finite. If not, what was not is looked for from the
    # beginning, by whole steps. One loop makes both, since each evaluation is compiled anew.
    def look(s: Any) -> Any:
        i, looking, walks, film = s
        evaluated = whole.evaluate(walks.carry)
        stepped, row = jax.vmap(pieces.walk)(own, walks, evaluated)
        finite = clean & jax.vmap(pieces.clean)(own, walks.carry, evaluated)
        suspicious = looking & jnp.any(running & ~(finite & jnp.isfinite(walks.first)))
        at_end = running & (walks.status == Status.RUNNING) & (walks.carry.step >= end.steps)
        if walks.origin is None:
            last = jax.vmap(pieces.seen)(own, walks.carry, evaluated)
            walks = dataclasses.replace(walks, kept=jax.vmap(tree.where)(running, last, walks.kept))
        walks = jax.vmap(tree.where)(at_end | ~looking, stepped, walks)
        walks = jax.tree.map(lambda a, b: jnp.where(suspicious, a, b), before, walks)
        i = jnp.where(suspicious, 0, i + 1)
        return i, jnp.bool_(False), whole.lay(walks), write(film, s[0], recorded(row, rows))

    start = (length, jnp.bool_(True), walks, film)
    _, _, walks, film = lax.while_loop(lambda s: s[0] <= length, look, start)
    return _with_origin(before, walks), film


def _length(pieces: Pieces, walks: Walk, end: End) -> jax.Array:
    """How many strides may be made."""
    if pieces.stops:
        return most_left(walks, end)
    left = end.steps - walks.carry.step
    running = walks.status == Status.RUNNING
    least = jnp.min(jnp.where(running, left, np.int32(2**31 - 1)))
    return jnp.where(jnp.any(running), least, 0)


def _strides(
    pieces: Pieces, whole: Step, walks: Walk, length: jax.Array, film: Any
) -> tuple[Walk, Any, jax.Array]:
    """The runs after `length` strides, their rows, and of which of them nothing was tainted."""
    stride = pieces.stride
    assert stride is not None

    def rest(own: Any, tainted: Any, evaluated: Any) -> Any:
        walk, taint = tainted
        walk, row = stride(own, walk, evaluated)
        return (walk, taint + pieces.taint(own, evaluated)), row

    step = dataclasses.replace(
        whole, rest=rest, carry_of=lambda tainted: tainted[0].carry, approximate=True
    )
    tainted = walks, jnp.zeros_like(walks.kept.loss)
    if walks.origin is None:
        _, (walks, taint), film = step.repeat(jnp.int32(0), length, tainted, film)
        return walks, film, taint == 0

    def span(s: Any) -> Any:
        i, (walks, taint), film = s
        until = jnp.minimum(length, i + SPAN)
        i, (after, taint), film = step.repeat(i, until, (walks, taint), film)
        return i, (_with_origin(walks, after), taint), film

    _, (walks, taint), film = lax.while_loop(
        lambda s: s[0] < length, span, (jnp.int32(0), tainted, film)
    )
    return walks, film, taint == 0


def _with_origin(before: Walk, after: Walk) -> Walk:
    """The runs that remember where they were before the steps that found a lower loss."""
    if before.origin is None:
        return after
    found = after.kept.step != before.kept.step
    origin = jax.vmap(tree.where)(found, before.carry, after.origin)
    return dataclasses.replace(after, origin=origin)
