"""How much work a function is, estimated from its jaxpr: the same for the same program."""

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np


def work_of(jaxpr: Any) -> int:
    """Elementary operations of a jaxpr: the entries that its equations make, times loop lengths.

    A matrix product counts its multiplications. Loops of unknown length count once.
    """
    return sum(map(_work_of_equation, jaxpr.eqns))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those in loops and calls too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in _inner(eqn):
            yield from equations(inner)


def primitives(jaxpr: Any) -> set[str]:
    """The names of all primitives, those in loops and calls too."""
    return {eqn.primitive.name for eqn in equations(jaxpr)}


_DECIDE = frozenset(
    ["lt", "le", "gt", "ge", "eq", "ne", "is_finite", "sign", "argmax", "argmin", "pow", "sort"]
)
"""Primitives of which the outcome may be a number though an operand is NaN."""


def drops_nan(jaxpr: Any) -> bool:
    """Whether a NaN somewhere in it need not be seen in what comes out."""
    return any(eqn.primitive.name in _DECIDE or _rounds(eqn) for eqn in equations(jaxpr))


def _rounds(eqn: Any) -> bool:
    """Whether floats become whole numbers or bits."""
    if eqn.primitive.name not in ("convert_element_type", "bitcast_convert_type"):
        return False
    before, after = (
        jnp.issubdtype(var.aval.dtype, np.inexact) for var in (eqn.invars[0], eqn.outvars[0])
    )
    return bool(before and not after)


STREAM = 2**20
"""Entries of an array that comes from memory each time."""


def is_streamed(jaxpr: Any) -> bool:
    """Whether a loss is little more than a pass over large arrays.

    XLA:CPU sums what its gradient needs too in one thread, entry by entry; computed a second time,
    apart, it is summed in several, several entries at once.
    """
    sizes = [getattr(var.aval, "size", 0) for var in jaxpr.invars]
    work = work_of(jaxpr)
    heavy = primitives(jaxpr) & {"dot_general", "conv_general_dilated", "while", "scan", "sort"}
    return not heavy and max(sizes, default=0) >= STREAM and work <= 32 * sum(sizes)


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs that an equation calls or loops over."""
    from jax.extend import core  # slow to import: it brings Pallas

    found = [
        value
        for param in eqn.params.values()
        for value in (param if isinstance(param, list | tuple) else [param])
        if isinstance(value, core.ClosedJaxpr | core.Jaxpr)
    ]
    return [inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner for inner in found]


def _work_of_equation(eqn: Any) -> int:
    inner = _inner(eqn)
    if inner:
        return int(eqn.params.get("length", 1)) * sum(map(work_of, inner))
    if eqn.primitive.name == "dot_general":
        return matrix_product(eqn)[0]
    return sum(getattr(var.aval, "size", 1) for var in eqn.outvars)


def matrix_product(eqn: Any) -> tuple[int, int, int]:
    """Of a dot_general: its multiplications, the rows of its left and the columns of its right."""
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    left, right = (var.aval for var in eqn.invars)
    summed = math.prod(left.shape[axis] for axis in contracted)
    side_by_side = math.prod(left.shape[axis] for axis in batch)
    work = int(eqn.outvars[0].aval.size) * summed
    each = max(1, summed * side_by_side)
    return work, left.size // each, right.size // each
