"""Trees as arrays with names, and back."""

from typing import Any

import jax

from jaxgd.tree import PyTree


def named(name: str, tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree, named by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def whole(value: Any) -> int:
    """A value that must be a Python int; else a TypeError."""
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is no whole number")
    return value


def fitting(arrays: dict[str, Any], name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """A named array that must have a shape and, if one is given, a dtype; else a ValueError."""
    found = arrays.get(name)
    if found is None or found.shape != shape or (dtype is not None and found.dtype != dtype):
        raise ValueError(f"checkpoint: it is of a run of another form: {name} does not fit")
    return found


def unnamed(arrays: dict[str, Any], name: str, like: PyTree) -> Any:
    """A tree of named leaves, each where its like lies.

    Raises:
      ValueError: one is not there, or of another form.
    """

    def one(path: Any, leaf: Any) -> Any:
        found = fitting(arrays, name + jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
        sharding = getattr(leaf, "sharding", None)
        return found if sharding is None else jax.device_put(found, sharding)

    return jax.tree_util.tree_map_with_path(one, like)
