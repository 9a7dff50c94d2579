"""The layout in which XLA:CPU vectorises over lanes, and where to ask for one."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxgd.engines.cost import drops_nan, primitives
from jaxgd.engines.sine import cosine, sine
from jaxgd.jaxprs import bound, evaluated, jitted
from jaxgd.tree import PyTree

_PARTS = {
    *("slice", "dynamic_slice", "gather", "pad", "concatenate", "rev", "cumsum", "cumprod"),
    *("dynamic_update_slice", "scatter", "scatter-add"),
}
_VECTORISED = {"exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "erf"}
_DENSE = {"dot_general", "conv_general_dilated", "fft", "sort", "cholesky", "triangular_solve"}


def laid(tree: PyTree, *, lanes_last: bool) -> PyTree:
    """Every array with its first axis, that of the lanes, last in memory, or first as it is.

    Either way nothing is fused across it: of a gradient that goes to two moments XLA:CPU would
    compute all of it twice.
    """

    def one(leaf: jax.Array) -> jax.Array:
        if leaf.ndim < 2 or not leaf.size:
            return leaf
        axes = range(leaf.ndim)
        order = (*axes[1:], 0) if lanes_last else tuple(axes)
        made: jax.Array = with_layout_constraint(  # type: ignore[no-untyped-call]
            leaf, Layout(major_to_minor=order)
        )
        return made

    return jax.tree.map(one, tree)


_VECTOR_FORMS = {"sin": sine, "cos": cosine}
_FOLDS = {
    "reduce_sum": lax.add,
    "reduce_max": lax.max,
    "reduce_min": lax.min,
    "reduce_prod": lax.mul,
}
MOST_UNROLLED = 64
"""Operations of a reduction that are written out."""
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"}


@dataclasses.dataclass(frozen=True)
class Manner:
    """How what lanes evaluate is written."""

    lanes: int
    """Arrays with a first axis of that length are taken for arrays of lanes."""
    approximate: bool
    """Whether functions may be replaced that do not vectorise, by such as are NaN far from 0; not
    where a NaN could go unseen."""


def laid_for_reductions(function: Callable[..., Any], manner: Manner, *args: PyTree) -> Any:
    """`function(*args)`, with what is reduced laid out before, its lanes last in memory.

    A reduction that is fused with what makes its operand runs one entry after another.

    Args:
      function: of lanes, such as a vmapped one.
      manner: how it is written.
      args: what it is called with.
    """
    leaves, treedef = jax.tree.flatten(args)

    def flat(*leaves: Any) -> Any:
        return function(*jax.tree.unflatten(treedef, leaves))

    closed, result = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    if manner.approximate and drops_nan(closed.jaxpr):
        manner = dataclasses.replace(manner, approximate=False)
    outputs = _evaluated(closed, leaves, manner)
    return jax.tree.unflatten(jax.tree.structure(result), outputs)


def _rewritten(eqn: Any, values: list[Any], manner: Manner) -> list[Any]:
    """The outputs of an equation, written so that it vectorises over lanes."""
    inner = jitted(eqn)
    if inner is not None:
        return _evaluated(inner, values, manner)
    if eqn.primitive.name == "dot_general" and all(v.size for v in values):  # else no additions
        left, right = values
        dtype = eqn.outvars[0].aval.dtype
        return [_unrolled(left, right, eqn.params["dimension_numbers"], dtype)]
    name, params = eqn.primitive.name, eqn.params
    if name in _FOLDS and _is_unrolled(eqn):
        return [_folded(_FOLDS[name], values[0], params["axes"])]
    if manner.approximate and name in _VECTOR_FORMS and values[0].dtype == np.float32:
        return [_VECTOR_FORMS[name](values[0])]
    if name in _REDUCTIONS:
        values = [_laid_if_of_lanes(value, manner.lanes) for value in values]
    return bound(eqn, values)


def _evaluated(closed: Any, args: list[Any], manner: Manner) -> list[Any]:
    rewrite = functools.partial(_rewritten, manner=manner)
    return evaluated(closed.jaxpr, closed.consts, args, rewrite)


def _is_unrolled(eqn: Any) -> bool:
    """Whether a reduction is few operations, and leaves more than a number for each lane.

    XLA:CPU makes such a one in the layout that it likes, one entry after another.
    """
    (operand,), (outcome,) = eqn.invars, eqn.outvars
    many = math.prod(operand.aval.shape[axis] for axis in eqn.params["axes"])
    return bool(outcome.aval.ndim > 1 and 0 < many <= MOST_UNROLLED)


def _folded(operation: Callable[..., Any], value: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """A reduction, one operation after another."""
    value, parts = laid(value, lanes_last=True), []
    for at in itertools.product(*(range(value.shape[axis]) for axis in axes)):
        index: list[Any] = [slice(None)] * value.ndim
        for axis, place in zip(axes, at, strict=True):
            index[axis] = place
        parts.append(value[tuple(index)])
    return functools.reduce(operation, parts)


def _laid_if_of_lanes(value: jax.Array, lanes: int) -> jax.Array:
    of_lanes = value.shape[:1] == (lanes,)
    laid_out: jax.Array = laid(value, lanes_last=True) if of_lanes else value
    return laid_out


def _unrolled(lhs: jax.Array, rhs: jax.Array, numbers: Any, dtype: Any) -> jax.Array:
    """A product of small matrices as multiplications and additions, which vectorise over lanes."""
    (contracted, batch) = numbers
    parts = []
    for array, sums, shared in zip((lhs, rhs), contracted, batch, strict=True):
        free = [axis for axis in range(array.ndim) if axis not in (*sums, *shared)]
        sizes = [[array.shape[axis] for axis in axes] for axes in (shared, free)]
        moved = jnp.transpose(array.astype(dtype), (*shared, *free, *sums))
        parts.append((moved.reshape(*sizes[0], *sizes[1], -1), sizes))
    (a, (shared, left)), (b, (_, right)) = parts
    a = a.reshape(*shared, *left, *[1] * len(right), a.shape[-1])
    b = b.reshape(*shared, *[1] * len(left), *right, b.shape[-1])
    total = a[..., 0] * b[..., 0]
    for k in range(1, a.shape[-1]):
        total = total + a[..., k] * b[..., k]
    return total


def gains(jaxpr: Any) -> bool:
    """Whether an evaluation is faster with the lanes last in memory.

    It is not where most of the time goes to what has a layout of its own. Nor where it goes to
    functions of which XLA:CPU has vector forms, as of exp, unless params are cut up, which keeps
    them from vectorising along the params: with the lanes last their sums run one by one.
    """
    names = primitives(jaxpr)
    return not names & _DENSE and (bool(names & _PARTS) or not names & _VECTORISED)
