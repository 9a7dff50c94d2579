"""What pictures are made of: labelled outcomes, and params as vectors whose numbers have names."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes, lax

from jaxgd.minima import Minimum
from jaxgd.refusal import described
from jaxgd.result import Result
from jaxgd.runs import Runs, points
from jaxgd.status import Status
from jaxgd.tree import PyTree

Array: TypeAlias = np.ndarray[Any, Any]
Listed: TypeAlias = list[tuple[str, Result | Runs]]
Shown: TypeAlias = Result | Runs | Mapping[str, Result | Runs]


def labelled(shown: Shown) -> Listed:
    """The outcomes with their labels; one that comes alone has an empty one.

    Raises:
      TypeError: not a `Result`, a `Runs` or a mapping to them, or a result of vmapped runs.
      ValueError: the mapping is empty.
    """
    listed = list(shown.items()) if isinstance(shown, Mapping) else [("", shown)]
    if not listed:
        raise ValueError("a picture of nothing: the mapping from labels to outcomes is empty")
    for _, outcome in listed:
        if not isinstance(outcome, Result | Runs):
            raise TypeError(
                "a picture is of a gd.Result, a gd.Runs or a mapping from labels to them, got "
                + described(outcome)
            )
        if isinstance(outcome, Result) and np.ndim(outcome.status):
            raise TypeError(
                "a picture of vmapped results is one of a mapping from labels to each of them: "
                "jax.tree.map(lambda leaf: leaf[i], results)"
            )
    return [(str(label), outcome) for label, outcome in listed]


def best_of(outcome: Result | Runs) -> Result:
    """The result itself, or the best of the runs."""
    return outcome.best if isinstance(outcome, Runs) else outcome


def minima_of(outcome: Result | Runs) -> list[Minimum]:
    """The distinct minima; of one run its end, if it did not fail."""
    if isinstance(outcome, Runs):
        return outcome.minima()
    if Status(int(outcome.status)).failed or not np.isfinite(outcome.loss):
        return []
    at, loss, norm = np.array([0]), float(outcome.loss), float(outcome.grad_norm)
    return [Minimum(outcome.params, loss, norm, at)]


def run_labels(runs: Runs) -> list[str]:
    """What tells the runs apart: the numbers of their rules if those differ, else their index."""
    leaves = jax.tree_util.tree_leaves_with_path(runs.inputs.rule)
    mapped = [(name(path), leaf) for path, leaf in leaves if np.shape(leaf) == (len(runs),)]
    if not mapped or runs.inputs.params is not None or runs.inputs.args is not None:
        return [f"run {i}" for i in range(len(runs))]
    return [", ".join(f"{n} {leaf[i]:.3g}" for n, leaf in mapped) for i in range(len(runs))]


def name(path: Any, index: tuple[int, ...] = ()) -> str:
    """A number's place in a pytree, as `slope` or `layers.0.w[2, 1]`; `params` if it is all."""
    place = jax.tree_util.keystr(path, simple=True, separator=".") or "params"
    place = place.replace("$", r"\$")  # else Matplotlib reads formulas between two of them
    return place + (f"[{', '.join(map(str, index))}]" if index else "")


def is_optimised(leaf: Any) -> bool:
    """Whether a leaf of a result's params was optimised."""
    return jnp.issubdtype(getattr(leaf, "dtype", np.dtype(object)), jnp.inexact)


def names(params: PyTree) -> Iterator[str]:
    """The names of a run's optimised numbers, in the order of `vector`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not is_optimised(leaf):
            continue
        for part in ("re ", "im ") if jnp.iscomplexobj(leaf) else ("",):
            yield from (part + name(path, index) for index in np.ndindex(np.shape(leaf)))


def vector(params: PyTree) -> Array:
    """A run's optimised numbers, float64 (d,)."""
    moving = [np.asarray(leaf)[None] for leaf in jax.tree.leaves(params) if is_optimised(leaf)]
    numbers: Array = points(moving, np.array([0]))[0]
    return numbers


def restored(params: PyTree, numbers: Any) -> PyTree:
    """`params` with other optimised numbers, an array (d,): the inverse of `vector`."""
    leaves, treedef = jax.tree.flatten(params)
    at = 0

    def take(shape: tuple[int, ...]) -> Any:
        nonlocal at
        at += math.prod(shape)
        return numbers[at - math.prod(shape) : at].reshape(shape)

    for i, leaf in enumerate(leaves):
        if is_optimised(leaf):
            whole = take(leaf.shape)
            whole = lax.complex(whole, take(leaf.shape)) if jnp.iscomplexobj(leaf) else whole
            # A result of x64 may be looked at without.
            leaves[i] = whole.astype(dtypes.canonicalize_dtype(leaf.dtype))
    return jax.tree.unflatten(treedef, leaves)
