"""Grids: rules that differ in their numbers, and what else is combined with them."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.pytree import Same
from jaxgd.refusal import described, shown
from jaxgd.rules import canonical_rule, is_foreign
from jaxgd.tree import PyTree, traced_or_static


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """The values that one leaf has in the runs, on the host."""

    array: np.ndarray[Any, Any]
    inner: int = 1
    """Runs in a row that have the same value, where others go through theirs."""

    def take(self, runs: Any) -> np.ndarray[Any, Any]:
        """The values of some runs, (runs, ...)."""
        taken: np.ndarray[Any, Any] = self.array[(runs // self.inner) % len(self.array)]
        return taken


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Rules that differ in some of their numbers, and what else goes through all values with them.

    Made by `grid` and `product`; it stands in the rule's place.

    Example:
      >>> import jaxgd as gd
      >>> gd.grid(lambda init: gd.Adam(gd.ExponentialDecay(init, 0.9)), init=[0.1, 0.2]).shape
      (2,)
    """

    rule: Any
    """One of the rules; the mapped leaves have the values of the first run."""
    columns: dict[str, np.ndarray[Any, Any]]
    """All values of the mapped leaves by their paths in the rule."""
    shape: tuple[int, ...]
    """The lengths of the lists; runs are numbered through it, the last one fastest."""
    params: Any = None
    """Starts with a leading axis, if `product` was given any."""
    args: Any = None
    """The same for the arguments."""
    key: Any = None
    """The same for random keys."""

    def __len__(self) -> int:
        return math.prod(self.shape)


def grid(make: Callable[..., Any], **numbers: Any) -> Grid:
    """All combinations of a rule's numbers, for `sweep`.

    Args:
      make: a rule's class, or a function that makes a rule of the numbers.
      **numbers: for each a list or a 1-d array of values to go through, or one value for all. A
        value may be a schedule, if those of a list differ in their numbers alone.

    Returns:
      A `Grid` whose shape has the lengths of the lists, in the order given.

    Raises:
      TypeError, ValueError: nothing to go through; a number out of range; or the rules differ in
        more than numbers, such as a static field, which needs a sweep for each of its values.

    Example:
      >>> import jaxgd as gd
      >>> rules = gd.grid(gd.Adam, learning_rate=[0.01, 0.1, 1.0], b1=[0.8, 0.9])
      >>> rules.shape, len(rules)
      ((3, 2), 6)
    """
    if not callable(make):
        raise TypeError(
            f"grid must be given a rule's class, or a function that makes a rule, got {shown(make)}"
        )
    lists = _lists(numbers)
    rules = []
    for values in itertools.product(*lists.values()):
        rules.append(canonical_rule(make(**{**numbers, **dict(zip(lists, values, strict=True))})))
    first, paths = rules[0], number_paths(rules[0])
    form: Any = jax.tree.structure(first)
    if is_foreign(first):
        raise TypeError(
            f"grid: the numbers of a {described(first)} are compiled in, since gd.pytree has not "
            "made it, and cannot be swept"
        )
    statics = [Same(leaf) for leaf in leaves_of(first, "static")]
    for rule in rules:
        same = jax.tree.structure(rule) == form
        if not same or [Same(leaf) for leaf in leaves_of(rule, "static")] != statics:
            raise ValueError(
                f"a grid goes through numbers, but the values of {', '.join(lists)} select other "
                "code, as a static field or a schedule of another class does: make one sweep for "
                "each of them"
            )
    rows = [leaves_of(rule, "held") for rule in rules]
    leaves = [np.stack(column) for column in zip(*rows, strict=True)]
    named = tuple(f".{name}" for name in lists)  # of a class: mapped, even if its values agree
    columns = {
        path: leaf
        for path, leaf in zip(paths, leaves, strict=True)
        if path.startswith(named) or np.any(leaf != leaf[:1])
    }
    return Grid(first, columns, tuple(map(len, lists.values())))


def product(rule: Any, *, params: PyTree = None, args: Any = None, key: Any = None) -> Grid:
    """Every combination of rules, starts, arguments and keys, for `minimize_many`.

    Args:
      rule: a `Grid`, or one rule.
      params: starts, with a leading axis in every array.
      args: tuple of the loss's further arguments, the same; where they differ from run to run
        only in part, use `sweep` with `axes`.
      key: random keys, the same.

    Returns:
      A `Grid`, whose shape has the axes of the rule's grid, and then those of params, args and key
      as far as they are given. `minimize_many` and `sweep` take it in the rule's place, with None
      in that of the params if it has the starts.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> both = gd.product(gd.grid(gd.Adam, learning_rate=[0.1, 0.2]), params=jnp.ones((5, 3)))
      >>> gd.minimize_many(lambda x: jnp.sum(x ** 2), None, both).shape
      (2, 5)
    """
    rules = rule if isinstance(rule, Grid) else Grid(canonical_rule(rule), {}, ())
    given = {"params": params, "args": args, "key": key}
    return dataclasses.replace(
        rules, **{name: value for name, value in given.items() if value is not None}
    )


def _lists(numbers: dict[str, Any]) -> dict[str, Any]:
    """What a grid goes through, by name."""
    lists = {name: values for name, values in numbers.items() if _is_list(values)}
    if not lists:
        told = ", ".join(f"{name} is {described(value)}" for name, value in numbers.items())
        raise ValueError(
            "grid must be given a list of values for one number at least"
            + (f", and {told}" if told else "")
        )
    for name, values in lists.items():
        if not len(values):
            raise ValueError(f"grid: {name} is empty")
    if (count := math.prod(map(len, lists.values()))) >= 2**31:
        raise ValueError(f"a grid has fewer than 2**31 rules, and {', '.join(lists)} make {count}")
    return lists


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple) or np.ndim(values) == 1


def number_paths(rule: Any) -> list[str]:
    """Where in a rule its numbers are."""
    leaves = jax.tree_util.tree_leaves_with_path(rule, is_leaf=is_foreign)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if traced_or_static(leaf) == "held"]


def leaves_of(rule: Any, kind: str) -> list[Any]:
    """The leaves of a rule that are numbers ("held"), or that are not ("static")."""
    leaves = jax.tree.leaves(rule, is_leaf=is_foreign)
    return [leaf for leaf in leaves if traced_or_static(leaf) == kind]
