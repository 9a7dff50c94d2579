"""Lanes: slots of a block, each of which works through one run after another. Pure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgd import tree
from jaxgd.engines import Engine, LaneSizes, Pieces
from jaxgd.loop import Descent
from jaxgd.pytree import pytree
from jaxgd.record import Record, Row
from jaxgd.rules import average_in, averages_all
from jaxgd.status import Status
from jaxgd.tree import PyTree
from jaxgd.walk import (
    End,
    Walk,
    is_clean,
    recalled,
    seen_at,
    set_out,
    stride_from,
    taint_of,
    walk_from,
)

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
    averaged: PyTree
    """The average of the iterates; None if the rule keeps none of all params."""


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
    engine: Engine
    sizes: LaneSizes
    record: Record
    pauses: bool
    """Whether runs are paused."""
    stops: bool
    """Whether tests end runs."""
    strides: bool = False
    """Whether lanes make strides, and whole steps only where they must."""

    def begin(self, start: list[Any], own: list[Any], run: Any, shared: Any) -> Lane:
        """A lane at the start of a run."""
        descent = self.descent(own, shared, run)
        keeps_norm = self.strides and self.keep == "last"
        walk = set_out(descent, self.start(start, shared), with_norm=keeps_norm)
        if self.strides:
            first, _ = descent.evaluate(walk.carry)
            origin = walk.carry if self.keep == "best" else None
            walk = dataclasses.replace(walk, first=first, origin=origin)
        return Lane(run, own, walk)

    def pieces(self, shared: Any, end: End) -> Pieces:
        """A step of a run, of which a lane has its own values and its index."""

        def of(own: tuple[list[Any], Any]) -> Descent:
            values, run = own
            return self.descent(values, shared, run)

        def walk(own: Any, walk: Walk, evaluated: Any) -> tuple[Walk, Row]:
            after, row = walk_from(of(own), walk, end, self.keep, evaluated)
            if self.pauses:  # what goes on later must stand still as a whole
                moved = after.carry.step > walk.carry.step
                carry = tree.where(moved, after.carry, walk.carry)
                after = dataclasses.replace(after, carry=carry)
            return after, row

        def stride(own: Any, walk: Walk, evaluated: Any) -> tuple[Walk, Row]:
            return stride_from(of(own), walk, end, self.keep, evaluated)

        return Pieces(
            lambda own, carry: of(own).evaluate(carry),
            walk,
            stride if self.strides else None,
            lambda own, evaluated: taint_of(of(own), self.keep, evaluated),
            lambda own, carry, evaluated: is_clean(of(own), carry, evaluated),
            lambda own, carry, evaluated: seen_at(of(own), carry, evaluated),
            self.stops,
        )

    def rows(self, block: Lane, shared: Any) -> Row:
        """What is recorded of a row of all lanes."""

        def one(lane: Lane) -> Row:
            descent = self.descent(lane.own, shared, lane.run)
            like = descent.evaluation(lane.walk.carry)
            row = descent.observe(lane.walk.carry, *jax.tree.map(jnp.empty_like, like))
            loss = row.loss if self.record.loss else None
            norm = row.grad_norm if self.record.grad_norm else None
            return Row(loss, norm, None, row.params, row.aux)

        return jax.vmap(one)(block)

    def finish(self, lane: Lane, shared: Any) -> Finished:
        """The outcome of the run in a lane."""
        descent = self.descent(lane.own, shared, lane.run)
        problem, walk = descent.problem, lane.walk
        if walk.origin is not None:
            walk = dataclasses.replace(walk, kept=recalled(descent, walk))
        steps, status, kept = walk.carry.step, walk.status, walk.kept
        x, at_step = kept.x, kept.step
        out_of_steps = status == Status.MAX_STEPS
        by_row = (status >= Status.TARGET_REACHED) & (status <= Status.NON_FINITE)
        if problem.stochastic:  # the last iterate of all has no row
            x, at_step = tree.where(out_of_steps, (walk.carry.x, steps), (x, at_step))
            by_row &= ~out_of_steps
        # As the loss, the norm is that of the last row; before any row there is none.
        norm = kept.grad_norm
        if norm is None:
            _, grads = problem.evaluate(kept.x, descent.inputs, kept.step)
            norm = tree.max_norm(problem.projected(kept.x, grads, descent.inputs))
        norm = jnp.where((steps > 0) | by_row, norm, jnp.nan)
        aux = problem.aux(x, descent.inputs, at_step)
        aux = jax.tree.map(lambda a: jax.random.key_data(a) if tree.is_key(a) else a, aux)
        saved = None
        if self.pauses:
            saved = dataclasses.replace(walk, status=jnp.full((), Status.RUNNING, jnp.int32))
        counts = (at_step, steps, status, steps + by_row.astype(jnp.int32))
        average = _average(walk)
        average = None if average is None else problem.unpacked(average)
        x = problem.unpacked(x)
        return Finished(lane.run, x, walk.first, kept.loss, norm, aux, *counts, saved, average)


def _average(walk: Walk) -> PyTree:
    """The average of a run's iterates as far as their losses and gradients were finite."""
    x, state = walk.carry.x, walk.carry.state
    if not averages_all(state, x):
        return None
    bad = (walk.status == Status.NON_FINITE) & (walk.carry.step > 0)
    return average_in(state, x, counts=~bad)


def running(block: Lane) -> jax.Array:
    """Which lanes have a run that goes on."""
    return (block.run != IDLE) & (block.walk.status == Status.RUNNING)


def ended(block: Lane) -> jax.Array:
    """Which lanes have a run that has ended."""
    return (block.run != IDLE) & (block.walk.status != Status.RUNNING)


def with_status(block: Lane, change: jax.Array, status: Any) -> Lane:
    """The lanes with another status where `change` holds."""
    status = jnp.where(change, status, block.walk.status)
    return dataclasses.replace(block, walk=dataclasses.replace(block.walk, status=status))
