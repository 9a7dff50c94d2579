"""The layout in which XLA:CPU vectorises over lanes, and where to ask for one."""

from typing import Any

import jax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxgd.engines.cost import primitives
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


def gains(jaxpr: Any) -> bool:
    """Whether an evaluation is faster with the lanes last in memory.

    It is not where most of the time goes to what has a layout of its own. Nor where it goes to
    functions of which XLA:CPU has vector forms, as of exp, unless params are cut up, which keeps
    them from vectorising along the params: with the lanes last their sums run one by one.
    """
    names = primitives(jaxpr)
    return not names & _DENSE and (bool(names & _PARTS) or not names & _VECTORISED)
