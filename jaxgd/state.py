"""What a later call needs to continue a run."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxgd.driver import Job
from jaxgd.loop import Carry
from jaxgd.metrics import Watched
from jaxgd.pytree import pytree, static
from jaxgd.refusal import described
from jaxgd.rules import name_of
from jaxgd.tree import PyTree


@pytree
class Best:
    """The best iterate of a run so far."""

    x: PyTree
    loss: Any
    grad_norm: Any
    step: Any


@pytree
class Marks:
    """By what a state is told from that of another run."""

    rule: str = static()
    """The names of its rules."""
    order: Any = None
    """In which order its data comes."""


@pytree
class State:
    """All that a later call needs to continue a run. Opaque: its fields may change."""

    carry: Carry
    best: Best | None
    key: Any
    marks: Marks
    watched: Watched | None = None
    """Of the metric that can stop the run."""


def adapted(carry: Carry, fresh: Carry) -> Carry:
    """A state's carry in the form of this call's program, whose tests may be others."""
    hits: Any = {name: carry.tally.hits.get(name, np.int32(0)) for name in fresh.tally.hits}
    move = None if fresh.move is None else carry.move
    if fresh.move is not None and move is None:
        move = np.asarray(np.inf, fresh.move.dtype)
    carry = dataclasses.replace(carry, tally=dataclasses.replace(carry.tally, hits=hits), move=move)
    forms = [
        (jax.tree.structure(tree), [(a.shape, a.dtype) for a in jax.tree.leaves(tree)])
        for tree in (carry, fresh)
    ]
    if forms[0] != forms[1]:
        raise ValueError(
            "state belongs to another run: its params or rule state differ from this call's in "
            "structure, shape or dtype (was jax_enable_x64 the same?)"
        )
    return carry


def step_of(state: Any, max_steps: int) -> int:
    """The step of a state that was given, which is at most `max_steps`."""
    if not isinstance(state, State):
        raise TypeError(
            f"state must be the state of an earlier result, result.state, got {described(state)}"
        )
    step = int(state.carry.step)
    if step > max_steps:
        raise ValueError(
            f"max_steps counts from the run's very beginning: expected at least the state's "
            f"{step}, got {max_steps}"
        )
    return step


def check_fit(state: State, job: Job, order: Any) -> None:
    """Whether a state is that of such a run."""
    rule = name_of(job.rule)
    if state.marks.rule != rule:
        raise ValueError(
            f"state belongs to another run: one of {state.marks.rule}, got the rule {rule}"
        )
    before = state.marks.order
    if (before is None) != (order is None) or not np.array_equal(before, order):
        raise ValueError("state belongs to another run: its data came in another order")
