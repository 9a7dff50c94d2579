"""Box bounds: one form for what the user gives, checked against the start."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import is_quantity
from jaxgd.refusal import described
from jaxgd.tree import PyTree, leaf_kind


def checked_bounds(bounds: Any, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """The lower and the upper bounds as trees like `x`, the optimised leaves of `params`.

    Raises:
      TypeError, ValueError: not a pair, of another structure, reversed, or the start is outside.
    """
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(
            "bounds must be a pair (lower, upper) of numbers or pytrees that are prefixes of "
            f"params, got {described(bounds)}"
        )
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(x)]
    lower = _side("bounds[0]", bounds[0], params, x, paths, open_end=-np.inf)
    upper = _side("bounds[1]", bounds[1], params, x, paths, open_end=np.inf)
    for path, *sides in zip(paths, *map(jax.tree.leaves, (lower, x, upper)), strict=True):
        if any(isinstance(value, jax.core.Tracer) for value in sides):
            continue
        low, leaf, high = map(np.asarray, sides)
        if not np.all(low <= high):
            at, a, b = _first(~(low <= high), low, high)
            raise ValueError(
                f"bounds of params{path}{at} must have lower <= upper, got {a} and {b}"
            )
        inside = (low <= leaf) & (leaf <= high)
        if not np.all(inside):
            at, a, value, b = _first(~inside, *sides)
            raise ValueError(
                f"params{path}{at} starts outside its bounds: {value} is not in [{a}, {b}]"
            )
    return lower, upper


def _first(wrong: Any, *arrays: Any) -> tuple[Any, ...]:
    """Where the first wrong entry is, as one would index it, and what the arrays hold there."""
    at = tuple(map(int, np.argwhere(wrong)[0]))
    return str(list(at)) if at else "", *(np.broadcast_to(a, wrong.shape)[at] for a in arrays)


def _side(
    name: str, prefix: Any, params: PyTree, x: PyTree, paths: list[str], *, open_end: float
) -> PyTree:
    """One side of the bounds as a tree like `x`, each leaf a scalar or shaped like its leaf."""
    treedef: Any = jax.tree.structure(params)
    try:
        filled = jax.tree.broadcast(prefix, params, is_leaf=lambda leaf: leaf is None)
        per_leaf = treedef.flatten_up_to(filled)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must be a number, an array, or a pytree that is a prefix of params: got "
            f"{jax.tree.structure(prefix)} where params is {treedef}; the bounds of an array's "
            "entries are one array, not a list; a dict has every key, None where it is open"
        ) from error
    kinds = [leaf_kind(leaf, params) for leaf in jax.tree.leaves(params)]
    chosen = [bound for bound, kind in zip(per_leaf, kinds, strict=True) if kind == "moving"]
    leaves, moving = jax.tree.flatten(x)
    made = [
        _one_bound(name + path, open_end if bound is None else bound, leaf)
        for path, bound, leaf in zip(paths, chosen, leaves, strict=True)
    ]
    return jax.tree.unflatten(moving, made)


def _one_bound(name: str, bound: Any, leaf: Any) -> Any:
    if not is_quantity(bound):
        raise TypeError(f"{name} must be a real number or an array of them, got {bound!r}")
    if jnp.iscomplexobj(leaf):
        raise TypeError(f"{name}: complex params have no order and cannot be bounded")
    shape = np.shape(leaf)
    if np.ndim(bound) and np.shape(bound) != shape:
        try:
            bound = jnp.broadcast_to(bound, shape)
        except ValueError as error:
            raise ValueError(
                f"{name} must have the shape {shape} of its leaf or be a number, "
                f"got shape {np.shape(bound)}"
            ) from error
    if isinstance(bound, jax.core.Tracer):
        return bound.astype(leaf.dtype)
    if np.any(np.isnan(np.asarray(bound, np.float64))):
        raise ValueError(f"{name} must not be NaN, got {bound!r}")
    with np.errstate(over="ignore"):  # beyond the leaf's floats a side is open
        return np.asarray(bound).astype(leaf.dtype)
