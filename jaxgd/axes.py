"""What differs from run to run: one of the runs, and the columns of all."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.grid import Column, Grid, leaves_of, number_paths
from jaxgd.refusal import described, in_a_line, shown
from jaxgd.rules import canonical_rule, is_foreign
from jaxgd.tree import PyTree, is_concrete, is_key, per_leaf, strong, traced_or_static


@dataclasses.dataclass(frozen=True)
class Axes:
    """Which inputs have a leading axis of runs: prefix trees of 0 and None, as `jax.vmap` has them.

    All that is mapped goes together: run i has entry i of each. `sweep` and `product` make every
    combination instead.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> def loss(x, centre):
      ...     return jnp.sum((x - centre) ** 2)
      >>> centres = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
      >>> runs = gd.minimize_many(loss, jnp.zeros(2), gd.Adam(0.1), args=(centres,),
      ...                         axes=gd.Axes(params=None, args=0))
      >>> [[round(float(entry), 2) for entry in x] for x in runs.params]
      [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    """

    params: Any = 0
    """The starts."""
    rule: Any = None
    """The rule's numbers, its schedule's among them; 0 maps all that have a leading axis."""
    args: Any = None
    """Further arguments of the loss: a problem for each run."""
    key: Any = None
    """Random keys; without it run i uses fold_in(key, i)."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Many runs as one of them, and how the others differ."""

    params: PyTree
    rule: Any
    args: Any
    key: Any
    columns: dict[str, dict[str, Column]]
    """The mapped leaves of params, rule, args and key by their paths in each."""
    shape: tuple[int, ...]

    def of(self, name: str, run: int) -> PyTree:
        """The params, rule, args or key of one of the runs."""
        columns = self.columns.get(name, {})

        def one(path: Any, leaf: Any) -> Any:
            column = columns.get(jax.tree_util.keystr(path))
            return leaf if column is None else restored(column.take(np.array([run])), leaf)[0]

        return jax.tree_util.tree_map_with_path(one, getattr(self, name), is_leaf=is_foreign)


def restored(values: Any, one: Any) -> Any:
    """Keys of the data of some, if one of them is a key; else as they are."""
    return (
        jax.random.wrap_key_data(values, impl=jax.random.key_impl(one)) if is_key(one) else values
    )


def spread(params: PyTree, rule: Any, args: Any, key: Any, axes: Axes, *, combine: bool) -> Spread:
    """Divide what is mapped into the first run and the columns of all.

    Args:
      params: of one run, or with leading axes as `axes` says; None if the grid has them.
      rule: one rule or a `Grid`.
      args: as `params`.
      key: as `params`.
      axes: what has a leading axis.
      combine: make every combination of the grid with what is mapped by `axes`.

    Raises:
      TypeError, ValueError: nothing is mapped, a leaf has no leading axis, or they disagree.
    """
    whole: dict[str, Any] = {"params": params, "rule": rule, "args": args, "key": key}
    groups: list[tuple[tuple[int, ...], dict[str, dict[str, Any]]]] = []
    by_axes = {name: getattr(axes, name) for name in whole}
    if isinstance(rule, Grid):
        by_axes["rule"], whole["rule"] = None, canonical_rule(rule.rule)
        own = _as_numbers(whole["rule"], rule.columns)
        groups.append((rule.shape, {"rule": own}))
        for name in ("params", "args", "key"):
            part = getattr(rule, name)
            if part is None:
                continue
            if len(jax.tree.leaves(whole[name])):
                raise TypeError(f"{name} must be None: the product has its own")
            whole[name], columns = _split(name, part, 0)
            groups.append(((_length({name: columns}),), {name: columns}))
            by_axes[name], combine = None, True
    zipped: dict[str, dict[str, Any]] = {}
    for name, its_axes in by_axes.items():
        if its_axes is not None:
            split = _split_rule if name == "rule" else _split
            whole[name], zipped[name] = split(name, whole[name], its_axes)
    zipped = {name: columns for name, columns in zipped.items() if columns}
    if zipped and groups and not combine:
        (shape, own_columns) = groups.pop()
        _length({**own_columns, **zipped}, math.prod(shape))
        groups.append((shape, {**own_columns, **zipped}))
    elif zipped:
        groups.append(((_length(zipped),), zipped))
    if not groups:
        raise ValueError(_nothing_mapped(params, axes))
    return Spread(**whole, columns=_arranged(groups), shape=sum((g[0] for g in groups), ()))


def _nothing_mapped(params: PyTree, axes: Axes) -> str:
    if axes.params is None:
        return "axes must say what has a leading axis of runs: it maps no array"
    kinds = "; ".join(sorted(set(map(described, jax.tree.leaves(params))))) or "nothing"
    return (
        f"params must be starts, arrays with a leading axis of runs, got {in_a_line(kinds)}; for "
        "runs that differ in something else say so by axes"
    )


def _arranged(
    groups: list[tuple[tuple[int, ...], dict[str, dict[str, Any]]]],
) -> dict[str, dict[str, Column]]:
    """The columns of groups that are combined with each other, the last one fastest."""
    arranged: dict[str, dict[str, Column]] = {}
    inner = 1
    for shape, parts in reversed(groups):
        for name, columns in parts.items():
            arranged[name] = {path: Column(array, inner) for path, array in columns.items()}
        inner *= math.prod(shape)
    return arranged


def _length(parts: dict[str, dict[str, Any]], known: int | None = None) -> int:
    """How many runs the columns have; an error if they disagree."""
    lengths = {
        name + path: len(array)
        for name, columns in parts.items()
        for path, array in columns.items()
    }
    if known is not None:
        lengths["the grid"] = known
    if len(set(lengths.values())) > 1:
        each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(
            f"the leading axes of what is mapped must agree, but {each}; for every combination "
            "use gd.product or gd.sweep"
        )
    (length,) = set(lengths.values())
    if not length:
        raise ValueError(f"{', '.join(lengths)} must have one run at least, got none")
    return length


def _split(
    name: str, tree: PyTree, axes: Any, pick: Callable[[Any], Any] = lambda a: a[0]
) -> tuple[PyTree, dict[str, Any]]:
    """The tree with one value for each mapped leaf, and all values of these by path."""
    treedef: Any = jax.tree.structure(tree)
    try:
        mapped = per_leaf(axes, tree)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"axes.{name} must be 0, None or a pytree of them that is a prefix of {name}: got "
            f"{shown(axes)} where {name} is {treedef}"
        ) from error
    leaves, columns = [], {}
    places = jax.tree_util.tree_leaves_with_path(tree)
    for (path, leaf), axis in zip(places, mapped, strict=True):
        place = jax.tree_util.keystr(path)
        if axis is not None and (isinstance(axis, bool) or np.ndim(axis) or axis != 0):
            raise ValueError(f"axes.{name}{place} must be 0 or None, got {shown(axis)}")
        shared = axis is None or (name == "rule" and not np.ndim(leaf))
        if shared or traced_or_static(leaf) == "static":
            leaves.append(leaf)
            continue
        if not is_concrete(leaf) or not np.ndim(leaf):
            raise ValueError(
                f"{name}{place} must be an array with a leading axis of runs, got {described(leaf)}"
            )
        columns[place] = _on_the_host(leaf)
        leaves.append(_first(leaf, columns[place], pick))
    return jax.tree.unflatten(treedef, leaves), columns


def _on_the_host(leaf: Any) -> np.ndarray[Any, Any]:
    if is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(strong(leaf))


def _first(leaf: Any, column: Any, pick: Callable[[Any], Any]) -> Any:
    if not len(column):
        shape = leaf.shape[1:]
        return jnp.zeros(shape) if is_key(leaf) else np.zeros(shape, column.dtype)
    return leaf[0] if is_key(leaf) else np.asarray(pick(column))


def _split_rule(name: str, rule: Any, axes: Any) -> tuple[Any, dict[str, Any]]:
    """The same for a rule, whose numbers are checked: the ends of their ranges stand for all."""
    ends: tuple[Callable[[Any], Any], ...] = (
        _least_whole,
        lambda a: np.min(a, axis=0),
        lambda a: np.max(a, axis=0),
        lambda a: a[0],
    )
    for end in ends:
        one, columns = _split(name, rule, axes, end)
        checked = canonical_rule(one)
    return checked, _as_numbers(checked, columns)


def _as_numbers(rule: Any, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns in the dtypes that the numbers of a canonical rule have."""
    numbers = dict(zip(number_paths(rule), leaves_of(rule, "held"), strict=True))
    for place in columns:
        if place not in numbers:
            raise ValueError(f"axes.rule{place} maps what is no number of the rule")
    return {place: column.astype(numbers[place].dtype) for place, column in columns.items()}


def _least_whole(column: Any) -> Any:
    far = np.argmax(np.abs(column - np.round(column)), axis=0)
    return np.take_along_axis(column, far[None], 0)[0]
