"""The plain engine: one run in chunks of steps, for every loss; the reference for all others.

A step evaluates, writes a row and updates, and nothing else: that keeps it in few kernels. The
rows of a chunk are judged after it, and if they say that the run ended inside, the chunk is done
again up to there, by the same compiled step, so to the same bits. The best iterate comes the same
way from the chunk that held it, instead of by a copy per step.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd import tree
from jaxgd.canonical import as_count
from jaxgd.loop import Carry, Descent
from jaxgd.pytree import pytree
from jaxgd.record import Row, blank, write, write_all
from jaxgd.status import Status
from jaxgd.stop import Tally
from jaxgd.tree import PyTree

PIECE = 64
"""Rows of the innermost buffer: XLA:CPU makes one kernel of a small loop over small buffers."""
ROOM = 16_384
"""Rows that one call of the compiled program returns at most."""
ROOM_BYTES = 2**26
"""Bytes of recorded params that one call returns at most."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """The plain engine.

    Args:
      chunk: steps from one look at the rows to the next, a multiple of 64 or less than that; by
        default from the work that a step is. It changes results by rounding at most.
    """

    chunk: int | None = None

    def checked(self) -> "Plain":
        """The same with a checked chunk; raises a TypeError or ValueError that names it."""
        if self.chunk is None:
            return self
        return Plain(as_count(self.chunk, "engine.chunk", at_least=1))

    def sizes(self, work: int, snapshot_bytes: int, every: int) -> "Sizes":
        """Chunk and room for a loss of `work` elementary operations a step."""
        chunk = self.chunk
        if chunk is None:
            # What is done again at the end of a run should cost a millisecond at most.
            chunk = int(np.clip(2 ** int(np.log2(max(1, 10**6 // max(work, 1)))), 16, 1024))
        piece = min(PIECE, chunk)
        chunk = -(-chunk // piece) * piece
        room = ROOM if not snapshot_bytes else min(ROOM, every * ROOM_BYTES // snapshot_bytes)
        return Sizes(piece, chunk, max(room, 1) + chunk)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Static lengths, in rows."""

    piece: int
    chunk: int
    room: int


@pytree
class Flight:
    """A run between two calls of the compiled program."""

    carry: Carry
    """About to evaluate the row of its step; of an ended run, where its last chunk began."""
    before: Carry
    """Where the chunk before `carry` began."""
    best: Carry | None
    """Where the chunk with the lowest loss began; None if the last iterate is to be returned."""
    lowest: Any
    status: jax.Array
    steps: jax.Array
    """int32: the row at which the run ended."""
    careful: jax.Array
    """int32: up to this step chunks are of one step, to find which gradient is not finite."""


def launch(carry: Carry, lowest: jax.Array | None) -> Flight:
    """The flight of a run that begins, or goes on, at `carry`."""
    best = None if lowest is None else carry
    running = jnp.full((), Status.RUNNING, jnp.int32)
    return Flight(carry, carry, best, lowest, running, carry.step, carry.step)


@pytree
class Window:
    """What one call returns besides the flight."""

    report: jax.Array
    """int32: status, steps, first row, rows, and the steps of carry, before and best."""
    rows: Row
    """Scalars of each row, without params."""
    snapshots: PyTree
    """The params at the recorded steps, None if they are not recorded."""


@pytree
class _Pass:
    """The outer loop's carry."""

    flight: Flight
    rows: Row
    snapshots: PyTree
    count: jax.Array
    taken: jax.Array


def advance(
    descent: Descent, sizes: Sizes, flight: Flight, until: jax.Array, final: jax.Array
) -> tuple[Flight, Window]:
    """Advance until step `until`, the end of the run, or the end of the room for rows.

    Args:
      descent: the run's surroundings.
      sizes: static lengths.
      flight: where the run is.
      until: int32, the step to reach.
      final: bool: at `until`, evaluate a last row and end the run.
    """
    row = _scalars(jax.eval_shape(lambda c: descent.observe(c, *descent.evaluate(c)), flight.carry))
    every = descent.record.every
    rows = blank(row, sizes.room)
    snapshots = _album(descent, flight.carry.x, sizes.room // every + 4)
    none = jnp.zeros((), jnp.int32)

    def goes_on(s: _Pass) -> jax.Array:
        step = s.flight.carry.step
        wanted = (step < until) | (final & (step == until))
        fits = s.count + sizes.chunk <= sizes.room
        return (s.flight.status == Status.RUNNING) & wanted & fits

    def body(s: _Pass) -> _Pass:
        return _chunk(descent, sizes, s, until, final)

    s = lax.while_loop(goes_on, body, _Pass(flight, rows, snapshots, none, none))
    ended, first = s.flight, flight.carry.step
    best_step = ended.carry.step if ended.best is None else ended.best.step
    marks = [ended.status, ended.steps, first, s.count]
    marks += [ended.carry.step, ended.before.step, best_step]
    return ended, Window(jnp.stack(marks), s.rows, s.snapshots)


def _chunk(descent: Descent, sizes: Sizes, s: _Pass, until: jax.Array, final: jax.Array) -> _Pass:
    """One chunk: run it, judge its rows, and accept it, end the run, or go back to be careful."""
    flight, start = s.flight, s.flight.carry
    length = jnp.where(start.step < flight.careful, 1, sizes.chunk)
    length = jnp.clip(until - start.step, 1, length)
    after, rows, snapshots, slate = _run(descent, sizes, start, length)
    clean = tree.is_clean(slate)
    # A gradient that is not finite somewhere in a long chunk: do it again in chunks of one step.
    again = ~clean & (length > 1)
    tally, status, at = _judge(descent, start.tally, rows, length, ~clean)
    out_of_steps = final & (start.step == until) & (status == Status.RUNNING)
    status = jnp.where(out_of_steps, jnp.int32(Status.MAX_STEPS), status)
    status = jnp.where(again, jnp.int32(Status.RUNNING), status)
    at = jnp.where(out_of_steps, 0, at)
    ended = status != Status.RUNNING
    valid = jnp.where(again, 0, jnp.where(ended, at + 1, length))
    accepted = ~again & ~ended
    after = _choose(accepted, dataclasses.replace(after, tally=tally), start)
    flown = dataclasses.replace(
        _with_best(flight, rows, jnp.where(status == Status.NON_FINITE, at, valid)),
        carry=after,
        before=_choose(accepted, start, flight.before),
        status=status,
        steps=jnp.where(ended, start.step + at, after.step),
        careful=jnp.where(again, start.step + length, flight.careful),
    )
    every = descent.record.every
    taken = _rounds(start.step + valid, every) - _rounds(start.step, every)
    return _Pass(
        flown,
        write_all(s.rows, s.count, rows),
        None if snapshots is None else write_all(s.snapshots, s.taken, snapshots),
        s.count + valid,
        s.taken + taken,
    )


def _run(
    descent: Descent, sizes: Sizes, start: Carry, length: jax.Array
) -> tuple[Carry, Row, PyTree, PyTree]:
    """`length` steps from `start`: the carry after them, their rows, and the gradients' taint."""
    shapes = _scalars(jax.eval_shape(lambda c: descent.observe(c, *descent.evaluate(c)), start))
    first, every = _rounds(start.step, descent.record.every), descent.record.every
    slate = () if sees_gradients(descent) else tree.clean_slate(start.x)

    def step(s: Any) -> Any:
        i, carry, rows, snapshots, slate = s
        loss, grads = descent.evaluate(carry)
        row = descent.observe(carry, loss, grads)
        slate = () if sees_gradients(descent) else tree.taint(slate, grads)
        if snapshots is not None:
            # A round's last write is the one at a multiple of `every`: the row to record.
            at = _rounds(carry.step, every) - first
            snapshots = write(snapshots, at, row.params)
        carry = descent.update(carry, loss, grads, start.tally)
        return i + 1, carry, write(rows, i, _scalars(row)), snapshots, slate

    def piece(s: Any) -> Any:
        done, carry, rows, snapshots, slate = s
        few = jnp.minimum(length - done, sizes.piece)
        inner = (jnp.int32(0), carry, blank(shapes, sizes.piece), snapshots, slate)
        i, carry, some, snapshots, slate = lax.while_loop(lambda s: s[0] < few, step, inner)
        return done + i, carry, write_all(rows, done, some), snapshots, slate

    snapshots = _album(descent, start.x, sizes.chunk // every + 2)
    outer = (jnp.int32(0), start, blank(shapes, sizes.chunk), snapshots, slate)
    _, carry, rows, snapshots, slate = lax.while_loop(lambda s: s[0] < length, piece, outer)
    return carry, rows, snapshots, slate


def sees_gradients(descent: Descent) -> bool:
    """Whether a row tells if its gradient was finite: if it has the norm of all of it."""
    needs_norm = descent.record.grad_norm or descent.stop.gtol is not None
    return needs_norm and not descent.problem.bounded


def _judge(
    descent: Descent, tally: Tally, rows: Row, length: jax.Array, tainted: jax.Array
) -> tuple[Tally, jax.Array, jax.Array]:
    """The tests on a chunk's rows: the tally after them, the status, and the row that ended it."""
    finite = jnp.isfinite(rows.loss) & ~(tainted & (length == 1))
    if sees_gradients(descent):
        finite &= jnp.isfinite(rows.grad_norm)
    running, bad = jnp.int32(Status.RUNNING), jnp.int32(Status.NON_FINITE)
    if not descent.stop.given:
        wrong = ~finite & (jnp.arange(len(finite)) < length)
        return tally, jnp.where(jnp.any(wrong), bad, running), jnp.argmax(wrong).astype(jnp.int32)

    def test(s: Any) -> Any:
        i, tally, status = s
        tally, status = descent.test(tally, jax.tree.map(lambda leaf: leaf[i], rows))
        return i + 1, tally, jnp.where(finite[i], status, bad)

    def goes_on(s: Any) -> jax.Array:
        i, _, status = s
        return jnp.logical_and(i < length, status == Status.RUNNING)

    i, tally, status = lax.while_loop(goes_on, test, (jnp.int32(0), tally, running))
    return tally, status, i - 1


def _with_best(flight: Flight, rows: Row, valid: jax.Array) -> Flight:
    """The flight that remembers where its chunk began if the chunk has the lowest loss so far."""
    if flight.best is None:
        return flight
    losses = jnp.where(jnp.arange(len(rows.loss)) < valid, rows.loss, jnp.inf)
    low = jnp.min(losses)
    lower = low < flight.lowest
    return dataclasses.replace(
        flight,
        best=_choose(lower, flight.carry, flight.best),
        lowest=jnp.where(lower, low, flight.lowest),
    )


def _choose(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """One of two trees, copied: a kernel of its own to select each leaf takes long to compile."""
    return lax.cond(condition, lambda yes, _: yes, lambda _, no: no, yes, no)


def _scalars(row: Row) -> Row:
    return dataclasses.replace(row, params=None)


def _album(descent: Descent, x: PyTree, length: int) -> PyTree:
    return blank(x, length) if descent.record.params else None


def _rounds(step: jax.Array, every: int) -> jax.Array:
    """How many recorded steps lie before `step`."""
    return (step + every - 1) // every
