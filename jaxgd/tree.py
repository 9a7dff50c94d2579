"""Pytrees as vectors: norms, choices between them, and which of their leaves are optimised."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes, lax

from jaxgd.canonical import canonical_float, is_number
from jaxgd.pytree import Same

PyTree = Any


def arithmetic_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype in which a leaf is computed with: its own, but float32 at least.

    bfloat16(0.999) is 1, so moments kept in bfloat16 would freeze.
    """
    return np.dtype(jnp.promote_types(dtype, jnp.float32))


def real_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of a magnitude: that of the real part for complex numbers."""
    return np.zeros((), dtype).real.dtype


def where(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """`yes` if the scalar `condition` holds, else `no`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def add(params: PyTree, updates: PyTree) -> PyTree:
    """`params + updates` in the dtypes of `params`."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def global_norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm over all leaves together."""
    squares = [
        jnp.sum(jnp.square(jnp.abs(leaf.astype(arithmetic_dtype(leaf.dtype)))))
        for leaf in jax.tree.leaves(tree)
    ]
    return jnp.sqrt(functools.reduce(_sum, squares, jnp.zeros((), jnp.float32)))


def max_norm(tree: PyTree) -> jax.Array:
    """The largest magnitude of any entry; NaN or infinite if an entry is."""
    largest = [_largest(leaf) for leaf in jax.tree.leaves(tree) if leaf.size]
    return functools.reduce(_maximum, largest, jnp.zeros((), jnp.float32))


def _sum(a: jax.Array, b: jax.Array) -> jax.Array:
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return a.astype(dtype) + b.astype(dtype)


def _maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return jnp.maximum(a.astype(dtype), b.astype(dtype))


@jax.custom_jvp
def _largest(leaf: jax.Array) -> jax.Array:
    # Magnitudes order as their bits do, with NaN above infinity, and a maximum of integers
    # vectorises where one of floats, which must look out for NaN, does not.
    size = jnp.abs(leaf)
    bits = lax.bitcast_convert_type(size, np.dtype(f"int{8 * size.dtype.itemsize}"))
    largest: jax.Array = lax.bitcast_convert_type(jnp.max(bits), size.dtype)
    return largest


@_largest.defjvp
def _largest_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> Any:
    return jax.jvp(lambda leaf: jnp.max(jnp.abs(leaf)), primals, tangents)


SMALL = 32


def clean_slate(tree: PyTree) -> PyTree:
    """The start value of `taint`: zeros, one for a small leaf and one per entry for a large one."""
    return jax.tree.map(
        lambda leaf: jnp.zeros(() if leaf.size <= SMALL else leaf.shape, real_dtype(leaf.dtype)),
        tree,
    )


def taint(slate: PyTree, tree: PyTree) -> PyTree:
    """Add `0 * tree` to `slate`: it stays zero as long as all entries seen are finite.

    An element-wise sum that is looked at once in a while costs less than a reduction per step.
    """

    def one(mark: jax.Array, leaf: jax.Array) -> jax.Array:
        nothing = 0 * (jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf)
        return mark + (nothing if mark.ndim or not leaf.ndim else jnp.sum(nothing))

    return jax.tree.map(one, slate, tree)


def is_clean(slate: PyTree) -> jax.Array:
    """Whether everything that `taint` has added was finite."""
    marks = [jnp.all(mark == 0) for mark in jax.tree.leaves(slate)]
    return jnp.all(jnp.stack([jnp.bool_(True), *marks]))


def path_of(tree: PyTree, leaf: Any) -> str:
    """Where in `tree` the object `leaf` is, as one would write it after the tree's name."""
    for path, other in jax.tree_util.tree_leaves_with_path(tree):
        if other is leaf:
            return jax.tree_util.keystr(path)
    return ""


def strong(leaf: Any) -> Any:
    """A numeric leaf as an array of the dtype it has in JAX, never weakly typed.

    Host values stay on the host: they travel with the call that uses them.
    """
    if isinstance(leaf, jax.Array):
        return lax.convert_element_type(leaf, leaf.dtype) if leaf.weak_type else leaf
    if isinstance(leaf, bool | int | float | complex) and not isinstance(leaf, np.generic):
        return np.asarray(leaf, _python_dtype(leaf))
    array = np.asarray(leaf)
    return array.astype(dtypes.canonicalize_dtype(array.dtype), copy=False)


def _python_dtype(value: complex) -> np.dtype[Any]:
    if isinstance(value, bool):
        return np.dtype(bool)
    if isinstance(value, int):
        return np.dtype(np.int32)
    if isinstance(value, float):
        return canonical_float()
    return np.dtype(dtypes.canonicalize_dtype(np.complex128))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the leaves of a tree are divided: optimised, held (traced but fixed), or static."""

    treedef: Any
    kinds: tuple[str, ...]
    statics: tuple[Same, ...]

    def merge(self, moving: Iterable[Any], held: Iterable[Any]) -> PyTree:
        """The whole tree from its parts, each in leaf order."""
        sources = {
            "moving": iter(moving),
            "held": iter(held),
            "static": (same.value for same in self.statics),
        }
        leaves = [next(sources[kind]) for kind in self.kinds]
        return jax.tree.unflatten(self.treedef, leaves)

    def moving_tree(self, moving: Iterable[Any]) -> PyTree:
        """The tree of the optimised leaves, with None where another leaf is."""
        source = iter(moving)
        leaves = [next(source) if kind == "moving" else None for kind in self.kinds]
        return jax.tree.unflatten(self.treedef, leaves)


def divide(tree: PyTree, kind: Any) -> tuple[list[Any], list[Any], Layout]:
    """Divide the leaves of `tree` by `kind(leaf)`: the moving ones, the held ones, the layout."""
    leaves, treedef = jax.tree.flatten(tree)
    kinds = tuple(map(kind, leaves))
    parts: dict[str, list[Any]] = {"moving": [], "held": [], "static": []}
    for leaf, its_kind in zip(leaves, kinds, strict=True):
        parts[its_kind].append(leaf)
    layout = Layout(treedef, kinds, tuple(map(Same, parts["static"])))
    return parts["moving"], parts["held"], layout


def traced_or_static(leaf: Any) -> str:
    """The kind of an argument's leaf: numbers and arrays (keys too) are traced, others static."""
    is_key = jnp.issubdtype(getattr(leaf, "dtype", np.dtype(object)), dtypes.prng_key)
    return "held" if is_number(leaf) or is_key else "static"


def leaf_kind(leaf: Any, params: PyTree) -> str:
    """How a leaf of params is treated: inexact ones move, other arrays are held."""
    if isinstance(leaf, bool) or (not is_number(leaf) and not hasattr(leaf, "dtype")):
        return "static"
    if isinstance(leaf, int) and not isinstance(leaf, np.generic):
        raise TypeError(
            f"params{path_of(params, leaf)} is the Python int {leaf}: write {leaf}.0 to optimise "
            f"it, jnp.int32({leaf}) to hold it fixed"
        )
    if isinstance(leaf, float | complex):
        return "moving"
    if not hasattr(leaf, "dtype") or leaf.dtype == np.longdouble:
        raise TypeError(f"params{path_of(params, leaf)} must be a float, got {leaf!r}")
    return "moving" if jnp.issubdtype(leaf.dtype, np.inexact) else traced_or_static(leaf)
