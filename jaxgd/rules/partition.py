"""Other rules for other parts of the params."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgd.pytree import pytree, static
from jaxgd.refusal import described, shown
from jaxgd.rules.base import check_wrapped, forwarded
from jaxgd.tree import PyTree, per_leaf

OTHERS = "*"
"""The path of what no other one names."""


@pytree
class Freeze:
    """A rule that keeps its part of a `partition` as it is: u = 0.

    The gradients of that part still count in `grad_norm` and in the test `gtol`. What is to be
    left out of all that is no parameter: hand it to the loss in `args`.

    Example:
      >>> import jaxgd as gd
      >>> rule = gd.partition({"slope": gd.Freeze(), "*": gd.GradientDescent(0.5)})
      >>> start = {"slope": 2.0, "intercept": 0.0}
      >>> result = gd.minimize(lambda p: (p["slope"] + p["intercept"] - 5) ** 2, start, rule, 3)
      >>> float(result.params["slope"]), float(result.params["intercept"])
      (2.0, 3.0)
    """

    def init(self, params: PyTree) -> tuple[()]:
        """No state."""
        del params
        return ()

    def update(
        self, grads: PyTree, state: tuple[()], params: PyTree = None
    ) -> tuple[PyTree, tuple[()]]:
        """Zeros."""
        del params
        return jax.tree.map(jnp.zeros_like, grads), state


@pytree
class Labels:
    """A prefix tree of labels, as part of a rule's type."""

    treedef: Any = static()
    leaves: tuple[Any, ...] = static()


@pytree
class Partition:
    """Rules with a part of the params each; made by `partition`."""

    rules: tuple[Any, ...]
    labels: Any
    """A function of the path, `Labels`, or None."""
    names: tuple[str, ...] = static()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The rules."""
        return self.rules

    def init(self, params: PyTree) -> tuple[Any, ...]:
        """The states of the rules, each of its own part."""
        split = _Split(params, self._places(params))
        return tuple(
            rule.init(split.only(name, params))
            for name, rule in zip(self.names, self.rules, strict=True)
        )

    def update(
        self, grads: PyTree, state: tuple[Any, ...], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, tuple[Any, ...]]:
        """The updates of all parts, and the next states."""
        split = _Split(grads, self._places(grads))
        updates: PyTree = grads
        after = []
        for name, rule, its_state in zip(self.names, self.rules, state, strict=True):
            mine = None if params is None else split.only(name, params)
            taken = forwarded(rule, split.extra(name, params, extra))
            its_updates, state_after = rule.update(
                split.only(name, grads), its_state, mine, **taken
            )
            updates = split.with_part(name, updates, its_updates)
            after.append(state_after)
        return updates, tuple(after)

    def _places(self, tree: PyTree) -> list[str]:
        """The name of the rule of each leaf."""
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        found = self._labels_of(tree, [_written(path) for path in paths])
        for path, label in zip(paths, found, strict=True):
            if label not in self.names:
                said = f"label is {label!r}"
                if self.labels is None:
                    said = f"path is {_written(path)!r} ('*' is for all others)"
                raise ValueError(
                    f"partition has no rule for params{jax.tree_util.keystr(path)}: its {said}, "
                    f"and there are rules for {_listed(self.names)}"
                )
        unused = [name for name in self.names if name not in found]
        if unused and found:
            raise ValueError(
                f"partition has rules for {_listed(unused)} that no leaf of the params has: the "
                f"paths are {_listed([_written(path) for path in paths])}"
            )
        return found

    def _labels_of(self, tree: PyTree, paths: list[str]) -> list[Any]:
        if self.labels is None:
            return [_longest(path, self.names) for path in paths]
        if not isinstance(self.labels, Labels):
            return [self.labels(path) for path in paths]
        prefix = jax.tree.unflatten(self.labels.treedef, self.labels.leaves)
        try:
            return per_leaf(prefix, tree)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"partition: labels must be a pytree that is a prefix of the params, got "
                f"{shown(prefix)} where params is {jax.tree.structure(tree)}"
            ) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + ", ..." * (len(names) > 8)


def _written(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _longest(path: str, names: tuple[str, ...]) -> str | None:
    """The longest name that is the path or leads to it; else the one for all others."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}/")]
    return max(fitting, key=len, default=OTHERS if OTHERS in names else None)


class _Split:
    """How the leaves of trees of one structure belong to names."""

    def __init__(self, tree: PyTree, places: list[str]) -> None:
        self._treedef: Any = jax.tree.structure(tree)
        self._places = places

    def only(self, name: str, tree: PyTree) -> PyTree:
        """The leaves of one name, with None in the place of the others."""
        leaves = self._treedef.flatten_up_to(tree)
        mine = [leaf if at == name else None for at, leaf in zip(self._places, leaves, strict=True)]
        return jax.tree.unflatten(self._treedef, mine)

    def with_part(self, name: str, tree: PyTree, part: PyTree) -> PyTree:
        """`tree` with the leaves of one name from `part`, which has no others."""
        leaves = self._treedef.flatten_up_to(tree)
        mine = [i for i, at in enumerate(self._places) if at == name]
        for i, leaf in zip(mine, jax.tree.leaves(part), strict=True):
            leaves[i] = leaf
        return jax.tree.unflatten(self._treedef, leaves)

    def extra(self, name: str, params: PyTree, extra: dict[str, Any]) -> dict[str, Any]:
        """What a rule is told besides, as it is for its part."""
        mine = dict(extra)
        if "grad" in extra:
            mine["grad"] = self.only(name, extra["grad"])
        if "value_fn" in extra:
            mine["value_fn"] = functools.partial(self._value, extra["value_fn"], name, params)
        return mine

    def _value(self, value_fn: Callable[..., Any], name: str, params: PyTree, part: PyTree) -> Any:
        return value_fn(self.with_part(name, params, part))


def partition(rules: Mapping[str, Any], labels: Any = None) -> Partition:
    """A rule that has other rules for other parts of the params.

    Each rule sees the leaves of its own part alone, in their tree, with None in the place of the
    others: a clip by the global norm in it is over that part.

    Args:
      rules: label to rule.
      labels: which label each leaf has. None: the labels are paths, as "encoder" or "head/bias",
        the longest that leads to a leaf counts, and "*" is for all others. Or a prefix pytree of
        the params, of labels. Or a function `path -> label`; the path of
        `params["head"]["bias"]` is "head/bias".

    Returns:
      A rule. Its learning rates are several: the history has none.

    Raises:
      TypeError, ValueError: now, if something is no rule or no label; when the params are known, if
        a leaf has no rule, which is named, or a rule has no leaf.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> start = {"body": {"w": jnp.zeros(2), "b": jnp.zeros(2)}, "head": jnp.zeros(())}
      >>> rates = gd.ExponentialDecay(0.1, rate=0.99)
      >>> rule = gd.partition({"body": gd.Adam(rates), "body/b": gd.Freeze(), "*": gd.Lion(0.5)})
      >>> def loss(p):
      ...     return jnp.sum((p["body"]["w"] + p["body"]["b"] - 1) ** 2) + jnp.abs(p["head"] - 2)
      >>> result = gd.minimize(loss, start, rule, max_steps=1000)
      >>> [round(float(x), 3) for x in (*result.params["body"]["w"], result.params["head"])]
      [1.0, 1.0, 2.0]
    """
    if not isinstance(rules, Mapping) or not rules:
        raise TypeError(f"partition takes a dict of labels and rules, got {described(rules)}")
    for name, rule in rules.items():
        if not isinstance(name, str):
            raise TypeError(f"partition: labels must be strings, got {shown(name)}")
        check_wrapped(rule, "partition")
    if labels is None or (callable(labels) and jax.tree_util.all_leaves([labels])):
        return Partition(tuple(rules.values()), labels, tuple(rules))
    leaves, treedef = jax.tree.flatten(labels, is_leaf=lambda leaf: leaf is None)
    for leaf in leaves:
        if not isinstance(leaf, str | None):
            raise TypeError(f"partition: labels must be strings, got {shown(leaf)}")
    return Partition(tuple(rules.values()), Labels(treedef, tuple(leaves)), tuple(rules))
