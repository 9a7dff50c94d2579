"""Box bounds: one form for what the user gives, checked against the start."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import is_quantity
from jaxgd.refusal import described, shown
from jaxgd.tree import PyTree, leaf_kind, per_leaf


def checked_bounds(bounds: Any, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """The lower and the upper bounds as trees like `x`, the optimised leaves of `params`.

    Raises:
      TypeError, ValueError: not a pair, of another structure, reversed, or the start is outside.
    """
    lower, upper = ordered_bounds(bounds, params, x)
    check_inside(lower, x, upper)
    return lower, upper


def check_inside(lower: PyTree, x: PyTree, upper: PyTree) -> None:
    """Raise a ValueError if `x`, which may have leading axes, is not between the bounds."""
    for path, low, leaf, high in known(lower, x, upper):
        inside = (low <= leaf) & (leaf <= high)
        if not np.all(inside):
            at, a, value, b = first(~inside, low, leaf, high)
            raise ValueError(
                f"params{path}{at} starts outside its bounds: {value} is not in [{a}, {b}]"
            )


def ordered_bounds(bounds: Any, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    """The same wherever `x` is, of which only structure, shapes and dtypes count."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(
            "bounds must be a pair (lower, upper) of numbers or pytrees that are prefixes of "
            f"params, got {described(bounds)}"
        )
    lower = spread("bounds[0]", bounds[0], params, x, missing=-np.inf)
    upper = spread("bounds[1]", bounds[1], params, x, missing=np.inf)
    for path, low, high in known(lower, upper):
        if not np.all(low <= high):
            at, a, b = first(~(low <= high), low, high)
            raise ValueError(
                f"bounds of params{path}{at} must have lower <= upper, got {a} and {b}"
            )
    return lower, upper


def known(*trees: PyTree) -> Iterator[tuple[Any, ...]]:
    """The path of each leaf and what the trees hold there, except where it is traced."""
    for (path, leaf), *others in zip(
        jax.tree_util.tree_leaves_with_path(trees[0]), *map(jax.tree.leaves, trees[1:]), strict=True
    ):
        if not any(isinstance(value, jax.core.Tracer) for value in (leaf, *others)):
            yield jax.tree_util.keystr(path), *map(np.asarray, (leaf, *others))


def first(wrong: Any, *arrays: Any) -> tuple[Any, ...]:
    """Where the first wrong entry is, as one would index it, and what the arrays hold there."""
    at = tuple(map(int, np.argwhere(wrong)[0]))
    return str(list(at)) if at else "", *(np.broadcast_to(a, wrong.shape)[at] for a in arrays)


def spread(name: str, prefix: Any, params: PyTree, x: PyTree, *, missing: float | None) -> PyTree:
    """A prefix of `params` as a tree like `x`, each leaf a scalar or shaped like its leaf.

    Where the prefix holds None, `missing` takes its place; None is refused if that is None too.
    """
    treedef: Any = jax.tree.structure(params)
    try:
        sides = per_leaf(prefix, params)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must be a number, an array, or a pytree that is a prefix of params: got "
            f"{jax.tree.structure(prefix)} where params is {treedef}; the numbers of an array's "
            "entries are one array, not a list; a dict has every key, None where it sets nothing"
        ) from error
    kinds = [leaf_kind(leaf, params) for leaf in jax.tree.leaves(params)]
    chosen = [value for value, kind in zip(sides, kinds, strict=True) if kind == "moving"]
    leaves, moving = jax.tree_util.tree_flatten_with_path(x)
    made = [
        _one(name + jax.tree_util.keystr(path), missing if value is None else value, leaf)
        for (path, leaf), value in zip(leaves, chosen, strict=True)
    ]
    return jax.tree.unflatten(moving, made)


def _one(name: str, value: Any, leaf: Any) -> Any:
    if not is_quantity(value):
        raise TypeError(f"{name} must be a real number or an array of them, got {shown(value)}")
    if jnp.iscomplexobj(leaf):
        raise TypeError(f"{name}: complex params have no order and cannot be bounded")
    shape = np.shape(leaf)
    if np.ndim(value) and np.shape(value) != shape:
        try:
            value = jnp.broadcast_to(value, shape)
        except ValueError as error:
            raise ValueError(
                f"{name} must have the shape {shape} of its leaf or be a number, "
                f"got shape {np.shape(value)}"
            ) from error
    if isinstance(value, jax.core.Tracer):
        return value.astype(leaf.dtype)
    if np.any(np.isnan(np.asarray(value, np.float64))):
        raise ValueError(f"{name} must not be NaN, got {shown(value)}")
    with np.errstate(over="ignore"):  # beyond the leaf's floats a side is open
        return np.asarray(value).astype(leaf.dtype)
