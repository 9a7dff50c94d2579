"""A run in chunks of steps, which any engine may make: what is done between them.

A step evaluates, writes a row and updates, and nothing else: that keeps it in few kernels. The
rows of a chunk are judged after it, and if they say that the run ended inside, the chunk is done
again up to there, by the same compiled step, so to the same bits. The best iterate comes the same
way from the chunk that held it, instead of by a copy per step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd import tree
from jaxgd.canonical import as_count
from jaxgd.engines.base import SUSPECT, Cost, Goal, Ongoing, Output, Sizes
from jaxgd.loop import Carry, Descent
from jaxgd.pytree import pytree
from jaxgd.record import NOTHING, Row, blank, write, write_all
from jaxgd.rules import rates_from
from jaxgd.status import Status
from jaxgd.stop import Tally
from jaxgd.tree import PyTree

SHORTEST = 32
"""Steps of a chunk at least: between two of them some copies of the run are made."""
SHORTEST_ONWARD = 256
"""The same of a run of which hardly ever some steps are made again."""
LONGEST = 2**20
"""Steps of a chunk at most: its rows are in memory."""
WORK = 4_000_000
"""Elementary operations of a chunk."""
ROOM = 16_384
"""Rows that one call of the compiled program returns at most."""
ROOM_BYTES = 2**26
"""Bytes of recorded params that a chunk, and a call, may hold, but for a few rows."""

Steps = Callable[[Descent, Sizes, Carry, jax.Array], tuple[Carry, Row, PyTree, PyTree]]
"""Makes some steps, at most a chunk of them: the carry after them, their rows, the recorded params,
and the gradients' taint."""


def checked_chunk(chunk: Any) -> Any:
    """Steps of a chunk as the user gave them; raises a TypeError or ValueError that names them."""
    if chunk is None:
        return None
    chunk = as_count(chunk, "engine.chunk", at_least=1)
    if chunk > LONGEST:
        raise ValueError(f"engine.chunk must be at most {LONGEST}, got {chunk}")
    return chunk


def run_sizes(chunk: int | None, cost: Cost) -> tuple[int, int]:
    """Steps of a chunk, if they are not given, and rows that a call returns, but for a chunk."""
    work, snapshot_bytes, every = cost.work, cost.snapshot_bytes, cost.every
    if chunk is None:
        # What is done again at the end of a run should cost a millisecond or so. An operation
        # costs some 0.2 ns in what is small enough to be done again in that time at all.
        shortest = SHORTEST if cost.goes_back else SHORTEST_ONWARD
        chunk = int(np.clip(2 ** int(np.log2(max(1, WORK // max(work, 1)))), shortest, 1024))
    if not snapshot_bytes:
        return chunk, ROOM
    most = max(1, every * ROOM_BYTES // snapshot_bytes)
    return min(chunk, most), min(ROOM, most)


def advance(
    steps: Steps, descent: Descent, sizes: Sizes, run: Ongoing, goal: Goal
) -> tuple[Ongoing, Output]:
    """Advance to the goal, the end of the run, or the end of the room for rows."""
    every = descent.record.every
    rows = blank(_shapes(descent, run.carry), sizes.room)
    rates = jax.eval_shape(lambda step: _rates(descent, step, 1), run.carry.step)
    rates = None if rates is None else jnp.zeros(sizes.room, rates.dtype)
    snapshots = _album(descent, run.carry, sizes.room // every + 4)
    none = jnp.zeros((), jnp.int32)

    def goes_on(s: _Pass) -> jax.Array:
        step = s.run.carry.step
        wanted = (step < goal.until) | (goal.final & (step == goal.until))
        fits = s.count + sizes.chunk <= sizes.room
        more: jax.Array = (s.run.status == Status.RUNNING) & wanted & fits
        return more

    def body(s: _Pass) -> _Pass:
        return _chunk(steps, descent, sizes, s, goal)

    s = lax.while_loop(goes_on, body, _Pass(run, rows, rates, snapshots, none, none))
    ended, first = s.run, run.carry.step
    best_step = ended.carry.step if ended.best is None else ended.best.step
    marks = [ended.status, ended.steps, first, s.count]
    marks += [ended.carry.step, ended.before.step, best_step]
    return ended, Output(jnp.stack(marks), s.rows, s.rates, s.snapshots)


@pytree
class _Pass:
    """The outer loop's carry."""

    run: Ongoing
    rows: Row
    rates: Any
    snapshots: PyTree
    count: jax.Array
    taken: jax.Array


def steps(
    descent: Descent, sizes: Sizes, start: Carry, length: jax.Array
) -> tuple[Carry, Row, PyTree, PyTree]:
    """`length` steps from `start`: what `Steps` returns."""
    like, tainted = _shapes(descent, start), _taints(descent)
    first, every = _rounds(start.step, descent.record.every), descent.record.every

    def step(s: Any) -> Any:
        i, carry, rows, snapshots, slate = s
        loss, grads = descent.evaluate(carry)
        row = descent.observe(carry, loss, grads)
        slate = tree.taint(slate, grads) if tainted else None
        if snapshots is not None:
            # A round's last write is the one at a multiple of `every`: the row to record.
            at = _rounds(carry.step, every) - first
            snapshots = write(snapshots, at, (row.params, row.aux))
        carry = descent.update(carry, loss, grads, start.tally)
        return i + 1, carry, write(rows, i, _scalars(row)), snapshots, slate

    def piece(s: Any) -> Any:
        done, carry, rows, snapshots, slate = s
        few = jnp.minimum(length - done, sizes.piece)
        inner = (jnp.int32(0), carry, blank(like, sizes.piece), snapshots, slate)
        i, carry, some, snapshots, slate = lax.while_loop(lambda s: s[0] < few, step, inner)
        return done + i, carry, write_all(rows, done, some), snapshots, slate

    snapshots = _album(descent, start, sizes.chunk // every + 2)
    slate = tree.clean_slate(start.x) if tainted else None
    s = (jnp.int32(0), start, blank(like, sizes.chunk), snapshots, slate)
    in_pieces = sizes.piece < sizes.chunk
    s = lax.while_loop(lambda s: s[0] < length, piece if in_pieces else step, s)
    return s[1:]


def _chunk(steps: Steps, descent: Descent, sizes: Sizes, s: _Pass, goal: Goal) -> _Pass:
    """One chunk: run it, judge its rows, and accept it, end the run, or go back to be careful."""
    run, start = s.run, s.run.carry
    length = jnp.where(start.step < run.careful, 1, sizes.chunk)
    length = jnp.clip(goal.until - start.step, 1, length)
    after, rows, snapshots, slate = steps(descent, sizes, start, length)
    suspicious = ~_is_clean(descent, after, slate) & ~goal.trusted
    # A gradient that is not finite somewhere in a long chunk: do it again in chunks of one step.
    again = suspicious & (length > 1)
    tally, status, at = _judge(descent, start.tally, rows, length, suspicious)
    out_of_steps = goal.final & (start.step == goal.until) & (status == Status.RUNNING)
    status = jnp.where(out_of_steps, jnp.int32(Status.MAX_STEPS), status)
    at = jnp.where(out_of_steps, 0, at)
    if _remembers(descent):
        open_case = suspicious & (status != Status.NON_FINITE)
        status = jnp.where(open_case, jnp.int32(SUSPECT), status)
    status = jnp.where(again, jnp.int32(Status.RUNNING), status)
    put_off = again | (status == SUSPECT)
    ended = ~put_off & (status != Status.RUNNING)
    valid = jnp.where(put_off, 0, jnp.where(ended, at + 1, length))
    accepted = ~put_off & ~ended
    after = tree.choose(accepted, dataclasses.replace(after, tally=tally), start)
    moved = dataclasses.replace(
        _with_best(run, rows, jnp.where(status == Status.NON_FINITE, at, valid)),
        carry=after,
        before=tree.choose(accepted, start, run.before),
        status=status,
        steps=jnp.where(ended, start.step + at, after.step),
        careful=jnp.where(again, start.step + length, run.careful),
    )
    every, rates = descent.record.every, _rates(descent, start.step, sizes.chunk)
    return _Pass(
        moved,
        write_all(s.rows, s.count, rows),
        write_all(s.rates, s.count, rates),
        write_all(s.snapshots, s.taken, snapshots),
        s.count + valid,
        s.taken + _rounds(start.step + valid, every) - _rounds(start.step, every),
    )


def _taints(descent: Descent) -> bool:
    """Whether steps must keep a taint of their gradients: if nothing else tells of them."""
    return not _sees_gradients(descent) and not _remembers(descent)


def _sees_gradients(descent: Descent) -> bool:
    """Whether a row tells if its gradient was finite: if it has the norm of all of it."""
    needs_norm = descent.record.grad_norm or descent.stop.gtol is not None
    return needs_norm and not descent.problem.bounded


def _remembers(descent: Descent) -> bool:
    """Whether what is left after a chunk tells if all its gradients were finite.

    That costs nothing in a step, but a number that overflowed looks the same: the host must say.
    """
    return not _sees_gradients(descent) and descent.remembers


def _is_clean(descent: Descent, after: Carry, slate: PyTree) -> jax.Array:
    """Whether nothing says that a gradient was not finite."""
    left = (after.x, after.state) if _remembers(descent) else ()
    return tree.is_clean(slate) & tree.is_finite(left)


def _judge(
    descent: Descent, tally: Tally, rows: Row, length: jax.Array, suspicious: jax.Array
) -> tuple[Tally, jax.Array, jax.Array]:
    """The tests on a chunk's rows: the tally after them, the status, and the row that ended it."""
    seen = (rows.loss, rows.grad_norm) if _sees_gradients(descent) else (rows.loss,)
    told = jnp.bool_(False)
    if not _sees_gradients(descent) and not _remembers(descent):
        told = suspicious & (length == 1)

    def fine() -> jax.Array:
        finite: jax.Array = functools.reduce(jnp.logical_and, map(jnp.isfinite, seen), ~told)
        return finite

    running, bad = jnp.int32(Status.RUNNING), jnp.int32(Status.NON_FINITE)
    if not descent.stop.given:
        # Rows that were not made are zero, and so finite. Where is asked only if there is one.
        wrong = ~tree.is_finite(seen) | told
        first = lax.cond(wrong, lambda: _first(~fine()), lambda: jnp.int32(0))
        return tally, jnp.where(wrong, bad, running), first

    finite = fine()

    def test(s: Any) -> Any:
        i, tally, status = s
        tally, status = descent.test(tally, jax.tree.map(lambda leaf: leaf[i], rows))
        return i + 1, tally, jnp.where(finite[i], status, bad)

    def goes_on(s: Any) -> jax.Array:
        i, _, status = s
        return jnp.logical_and(i < length, status == Status.RUNNING)

    i, tally, status = lax.while_loop(goes_on, test, (jnp.int32(0), tally, running))
    return tally, status, i - 1


def _first(marks: jax.Array) -> jax.Array:
    """Which mark is the first that is set.

    By argmax it would be the same, but each lowering of that leaves some 24 KB in JAX's caches.
    """
    return jnp.min(jnp.where(marks, jnp.arange(len(marks), dtype=jnp.int32), len(marks)))


def _with_best(run: Ongoing, rows: Row, valid: jax.Array) -> Ongoing:
    """The run that remembers where its chunk began if the chunk has the lowest loss so far."""
    if run.best is None:
        return run
    losses = jnp.where(jnp.arange(len(rows.loss), dtype=jnp.int32) < valid, rows.loss, jnp.inf)
    low = jnp.min(losses)
    lower = low < run.lowest
    return dataclasses.replace(
        run,
        best=tree.choose(lower, run.carry, run.best),
        lowest=jnp.where(lower, low, run.lowest),
    )


def _shapes(descent: Descent, carry: Carry) -> Row:
    row = jax.eval_shape(descent.observe, carry, *descent.evaluation(carry))
    return _scalars(row)


def _scalars(row: Row) -> Row:
    return dataclasses.replace(row, params=None, aux=None)


def _rates(descent: Descent, first: jax.Array, length: int) -> Any:
    """The learning rates of the steps from `first` on, if they are recorded and change."""
    return None if descent.record == NOTHING else rates_from(descent.rule, first, length)


def _album(descent: Descent, carry: Carry, length: int) -> PyTree:
    """Room for the recorded params and aux; None if neither is."""
    if not (descent.record.params or descent.record.aux):
        return None
    row = jax.eval_shape(descent.observe, carry, *descent.evaluation(carry))
    return blank((row.params, row.aux), length)


def _rounds(step: jax.Array, every: int) -> jax.Array:
    """How many recorded steps lie before `step`."""
    return -(-step // every)
