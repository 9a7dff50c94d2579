"""What a later call needs to continue a run."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxgd.loop import Carry
from jaxgd.metrics import Watched
from jaxgd.pytree import pytree, static
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
