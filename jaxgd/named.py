"""Trees as arrays with names, and back."""

from typing import Any

import jax

from jaxgd.tree import PyTree


def named(name: str, tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree, named by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def unnamed(arrays: dict[str, Any], name: str, like: PyTree) -> Any:
    """A tree of named leaves, each where its like lies.

    Raises:
      ValueError: one is not there, or of another form.
    """

    def one(path: Any, leaf: Any) -> Any:
        place = name + jax.tree_util.keystr(path)
        found = arrays.get(place)
        if found is None or (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(f"checkpoint: it is of a run of another form: {place} does not fit")
        sharding = getattr(leaf, "sharding", None)
        return found if sharding is None else jax.device_put(found, sharding)

    return jax.tree_util.tree_map_with_path(one, like)
