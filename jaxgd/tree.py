"""Pytrees as vectors: norms, choices between them, and which of their leaves are optimised."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes, lax

from jaxgd.canonical import is_number
from jaxgd.pytree import Same
from jaxgd.refusal import shown

PyTree = Any


def arithmetic_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype in which a leaf is computed with: its own, but float32 at least.

    bfloat16(0.999) is 1, so moments kept in bfloat16 would freeze.
    """
    return common_dtype(dtype, jnp.float32)


def common_dtype(a: Any, b: Any) -> np.dtype[Any]:
    """The dtype that holds both, also for users who forbid JAX to look for it."""
    with jax.numpy_dtype_promotion("standard"):
        return np.dtype(jnp.promote_types(a, b))


def real_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of a magnitude: that of the real part for complex numbers."""
    return np.zeros((), dtype).real.dtype


def where(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """`yes` if the scalar `condition` holds, else `no`."""
    if len(jax.tree.leaves(no)) > FEW:
        return choose(condition, yes, no)
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def choose(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
    """The same by a copy of the whole tree; under vmap it is a select as well.

    A select for each leaf is a kernel for each, fused with all that leads to it, and with many
    leaves they take minutes to compile.
    """
    return lax.cond(condition, lambda yes, _: yes, lambda _, no: no, yes, no)


FEW = 12
"""Leaves up to which `where` selects each: the state of a run of one array under Adam has 7."""


def add(params: PyTree, updates: PyTree) -> PyTree:
    """`params + updates` in the dtypes of `params`."""
    return jax.tree.map(lambda p, u: p + jnp.asarray(u, p.dtype), params, updates)


@jax.custom_jvp
def root(v: jax.Array) -> jax.Array:
    """The square root, whose derivative at 0 is 0.

    A parameter that never got a gradient has moments of 0, and 0 times the root's infinite
    derivative there would make every hypergradient NaN.
    """
    return jnp.sqrt(v)


@root.defjvp
def _root_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    ((v,), (dv,)) = primals, tangents
    r = jnp.sqrt(v)
    return r, jnp.where(v == 0, 0, dv / (2 * jnp.where(v == 0, 1, r)))


def global_norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm over all leaves together."""
    squares = [
        jnp.sum(jnp.square(jnp.abs(leaf.astype(arithmetic_dtype(leaf.dtype)))))
        for leaf in jax.tree.leaves(tree)
    ]
    return root(functools.reduce(_sum, squares, jnp.zeros((), jnp.float32)))


def max_norm(tree: PyTree) -> jax.Array:
    """The largest magnitude of any entry; NaN or infinite if an entry is."""
    largest = [_largest(leaf) for leaf in jax.tree.leaves(tree) if leaf.size]
    return functools.reduce(_maximum, largest, jnp.zeros((), jnp.float32))


def norm_dtype(tree: PyTree) -> Any:
    """The dtype of `max_norm`."""
    dtypes = [real_dtype(leaf.dtype) for leaf in jax.tree.leaves(tree) if leaf.size]
    return functools.reduce(common_dtype, dtypes, jnp.dtype(jnp.float32))


def _sum(a: jax.Array, b: jax.Array) -> jax.Array:
    dtype = common_dtype(a.dtype, b.dtype)
    return a.astype(dtype) + b.astype(dtype)


def _maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    dtype = common_dtype(a.dtype, b.dtype)
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


def has_only_finite(tree: PyTree) -> jax.Array:
    """Whether all entries of inexact leaves are finite, by one sum that fuses with what made them.

    For inside a step, where `is_finite` would add a reduction that must look out for NaN.
    """
    leaves = [jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    nothing = [jnp.sum(0 * leaf).astype(jnp.float32) for leaf in leaves]
    return functools.reduce(_sum, nothing, jnp.zeros((), jnp.float32)) == 0


def is_finite(tree: PyTree) -> jax.Array:
    """Whether all inexact entries are finite."""
    inexact = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, np.inexact)]
    # Small ones together: each reduction is kernels of its own.
    small = [jnp.abs(a).astype(arithmetic_dtype(a.real.dtype)) for a in inexact if a.size <= SMALL]
    large = [a for a in inexact if a.size > SMALL]
    widest = functools.reduce(common_dtype, [a.dtype for a in small], jnp.float32)
    together = [jnp.concatenate([a.ravel().astype(widest) for a in small])] if small else []
    return jnp.isfinite(max_norm([*together, *large]))


def per_leaf(prefix: Any, tree: PyTree) -> list[Any]:
    """What a prefix tree, with None as a leaf, says of each leaf of `tree`.

    Raises:
      ValueError, TypeError: it is no prefix.
    """
    treedef: Any = jax.tree.structure(tree)
    filled = jax.tree.broadcast(prefix, tree, is_leaf=lambda leaf: leaf is None)
    return list(treedef.flatten_up_to(filled))


def path_of(tree: PyTree, leaf: Any) -> str:
    """Where in `tree` the object `leaf` is, as one would write it after the tree's name."""
    for path, other in jax.tree_util.tree_leaves_with_path(tree):
        if other is leaf:
            return jax.tree_util.keystr(path)
    return ""


def strong(leaf: Any) -> Any:
    """An inexact leaf as an array of the dtype it has in JAX, never weakly typed.

    Host values stay on the host: they travel with the call that uses them.
    """
    if isinstance(leaf, jax.Array):
        return lax.convert_element_type(leaf, leaf.dtype) if leaf.weak_type else leaf
    array = np.asarray(leaf)
    native = array.dtype.newbyteorder("=")
    return array.astype(dtypes.canonicalize_dtype(native), copy=False)


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


NO_LEAVES = Layout(None, (), ())
"""The layout of a tree that nobody will ask for."""


def divide(tree: PyTree, kind: Any, is_leaf: Any = None) -> tuple[list[Any], list[Any], Layout]:
    """Divide the leaves of `tree` by `kind(leaf)`: the moving ones, the held ones, the layout."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf)
    kinds = tuple(map(kind, leaves))
    parts: dict[str, list[Any]] = {"moving": [], "held": [], "static": []}
    for leaf, its_kind in zip(leaves, kinds, strict=True):
        parts[its_kind].append(leaf)
    layout = Layout(treedef, kinds, tuple(map(Same, parts["static"])))
    return parts["moving"], parts["held"], layout


def is_concrete(leaf: Any) -> bool:
    """Whether a leaf that has a dtype is an array or a number that JAX can take."""
    if not hasattr(leaf, "dtype") or isinstance(leaf, np.ndarray | np.generic | jax.Array):
        return True
    return isinstance(leaf, type) or hasattr(leaf, "__jax_array__")


def traced_or_static(leaf: Any) -> str:
    """The kind of an argument's leaf: numbers and arrays (keys too) are traced, others static."""
    if isinstance(leaf, bool):
        return "static"
    return "held" if is_number(leaf) or is_key(leaf) else "static"


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed random keys."""
    return jnp.issubdtype(getattr(leaf, "dtype", np.dtype(object)), dtypes.prng_key)


def leaf_kind(leaf: Any, params: PyTree) -> str:
    """How a leaf of params is treated: inexact ones move, other arrays are held."""
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(f"params{path_of(params, leaf)} is a masked array: write .filled(...)")
    if not is_concrete(leaf):
        raise TypeError(
            f"params{path_of(params, leaf)} must be a NumPy or JAX array or a number, got a "
            f"{type(leaf).__name__} of {leaf.dtype}"
        )
    if isinstance(leaf, bool) or (not is_number(leaf) and not hasattr(leaf, "dtype")):
        return "static"
    if isinstance(leaf, int) and not isinstance(leaf, np.generic):
        raise TypeError(
            f"params{path_of(params, leaf)} is the Python int {leaf}: write {leaf}.0 to optimise "
            f"it, jnp.int32({leaf}) to hold it fixed"
        )
    if isinstance(leaf, float | complex):
        return "moving"
    if not hasattr(leaf, "dtype") or leaf.dtype in (np.longdouble, np.clongdouble):
        raise TypeError(f"params{path_of(params, leaf)} must be a float, got {shown(leaf)}")
    return "moving" if jnp.issubdtype(leaf.dtype, np.inexact) else traced_or_static(leaf)


def brief(params: PyTree) -> str:
    """The numbers of a pytree in a few words: all of them if they are few."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    numeric = [(path, np.asarray(leaf)) for path, leaf in leaves if is_number(leaf)]
    count = sum(leaf.size for _, leaf in numeric)
    if count > 8:
        return f"{count:,} numbers in {len(numeric)} array{'s' * (len(numeric) > 1)}"
    parts = [f"{jax.tree_util.keystr(p)} {np.array2string(a, precision=6)}" for p, a in numeric]
    return ", ".join(" ".join(part.split()) for part in parts)
