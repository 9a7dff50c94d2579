"""Very many small arrays in few: what is done to each array costs more than its numbers do.

An update rule that treats every entry alike does not mind where one array ends and the next begins.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxgd.pytree import pytree
from jaxgd.tree import PyTree

MANY = 48
"""Small arrays from which they are packed: a step is a handful of kernels for each."""
SMALL = 4096
"""Entries of a small array at most."""


@pytree
class Packed:
    """The leaves of a tree: the small ones of each dtype in one vector, and the others."""

    vectors: list[Any]
    others: list[Any]


@dataclasses.dataclass(frozen=True)
class Packing:
    """How the leaves of a tree are packed."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]
    """The places of the small leaves, those of one dtype together."""

    def pack(self, tree: PyTree) -> Packed:
        """The leaves of a tree, packed; on the host if all of it is there."""
        leaves = self.treedef.flatten_up_to(tree)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        join = _joined if traced else _concatenated
        others = [leaves[i] for i in self._others()]
        return Packed([join([leaves[i] for i in group]) for group in self.groups], others)

    def pack_numbers(self, tree: PyTree) -> Packed:
        """The same of a tree whose leaves may be numbers for whole arrays."""
        leaves = self.treedef.flatten_up_to(tree)
        whole = [
            (jnp if isinstance(leaf, jax.core.Tracer) else np).broadcast_to(leaf, shape)
            for leaf, shape in zip(leaves, self.shapes, strict=True)
        ]
        return self.pack(jax.tree.unflatten(self.treedef, whole))

    def pack_rows(self, tree: PyTree) -> Packed:
        """Many trees on the host, each array with a leading axis of them."""
        leaves = list(map(np.asarray, jax.tree.leaves(tree)))
        count = len(leaves[0])
        vectors = [
            np.concatenate([leaves[i].reshape(count, -1) for i in group], axis=1)
            for group in self.groups
        ]
        return Packed(vectors, [leaves[i] for i in self._others()])

    def unpack(self, packed: Packed) -> PyTree:
        """The tree again; each array may have further axes before those of the leaves."""
        leaves = dict(zip(self._others(), packed.others, strict=True))
        for group, vector in zip(self.groups, packed.vectors, strict=True):
            sizes = [math.prod(self.shapes[i]) for i in group]
            more = vector.shape[:-1]
            for i, part in zip(group, _cut(vector, sizes), strict=True):
                leaves[i] = part.reshape((*more, *self.shapes[i]))
        return jax.tree.unflatten(self.treedef, [leaves[i] for i in range(len(self.shapes))])

    def _others(self) -> list[int]:
        small = set(itertools.chain(*self.groups))
        return [i for i in range(len(self.shapes)) if i not in small]


def packing_of(tree: PyTree) -> Packing | None:
    """How a tree is packed; None if it has few small arrays, or they are placed somewhere."""
    leaves, treedef = jax.tree.flatten(tree)
    groups: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        if getattr(leaf, "committed", False):
            return None
        if leaf.size <= SMALL:
            groups.setdefault(leaf.dtype, []).append(i)
    if sum(map(len, groups.values())) < MANY:
        return None
    shapes = tuple(tuple(leaf.shape) for leaf in leaves)
    return Packing(treedef, shapes, tuple(map(tuple, groups.values())))


def _joined(parts: Sequence[jax.Array]) -> jax.Array:
    # Else XLA:CPU fuses all that leads to the many parts with their concatenation, which then asks
    # at each entry of which of them it is.
    apart = [
        with_layout_constraint(part.reshape(-1), Layout((0,)))  # type: ignore[no-untyped-call]
        for part in parts
    ]
    return jnp.concatenate(apart)


def _concatenated(parts: Sequence[Any]) -> Any:
    return np.concatenate([np.asarray(part).reshape(-1) for part in parts])


def _cut(vector: Any, sizes: list[int]) -> Sequence[Any]:
    """The parts of the last axis."""
    if isinstance(vector, jax.core.Tracer):
        return lax.split(vector, sizes, axis=vector.ndim - 1)
    return np.split(np.asarray(vector), np.cumsum(sizes)[:-1], axis=-1)
