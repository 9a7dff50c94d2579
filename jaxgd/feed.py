"""Of what the batches of data are made, and how."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.canonical import canonical_float
from jaxgd.pytree import pytree
from jaxgd.shuffle import reordered, shuffled, shuffled_on_host
from jaxgd.tree import PyTree


@pytree
class Feed:
    """What batches are made of; all of it is traced."""

    arrays: PyTree
    """(examples, ...); or batches that follow one another, (window, batch_size, ...)."""
    order: Any
    """uint32: the words that say in which order examples come; None without a shuffle."""
    first: Any
    """int32: the step of the window's first batch; None if all examples are here."""

    def of_run(self, run: Any) -> "Feed":
        """The same in the order of one run of many."""
        if self.order is None:
            return self
        return dataclasses.replace(self, order=reordered(self.order, run.astype(jnp.uint32)))


@pytree
class Given:
    """What the loss of a step is called with."""

    batch: PyTree
    weights: Any
    """None where the loss takes none."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How batches are made of examples; all of it is static."""

    count: int
    """Examples; 0 if nobody knows."""
    batch_size: int | None
    """None for all of them."""
    shuffle: bool = False
    weighted: bool = False
    """Whether the loss is given weights, since an epoch's last batch may be filled up."""
    shared: bool = True
    streams: bool = False
    """Whether batches come by windows from the host."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        if self.batch_size is None:
            return 1
        left = self.count % self.batch_size > 0
        return self.count // self.batch_size + (self.weighted and left)

    def given(self, feed: Feed, step: jax.Array) -> Given:
        """What the loss of a step is called with."""
        return Given(self._batch(feed, step), self.weights(step) if self.weighted else None)

    def _batch(self, feed: Feed, step: jax.Array) -> PyTree:
        if self.batch_size is None:
            return feed.arrays
        if self.streams:
            length = jax.tree.leaves(feed.arrays)[0].shape[0]
            at = jnp.clip(step - feed.first, 0, length - 1)
            return jax.tree.map(lambda a: _row(a, at), feed.arrays)
        if self.steps_per_epoch == 1 and not self.shuffle:
            # Each is the same. XLA would see that by itself: then nothing uses the step any more, a
            # parameter of a kernel, and the compiler aborts.
            return jax.tree.map(lambda a: a[: self.batch_size], feed.arrays)
        index = self.indices(feed.order, step)
        return jax.tree.map(lambda a: a.at[index].get(mode="promise_in_bounds"), feed.arrays)

    def weights(self, step: jax.Array) -> jax.Array:
        """1 for each example of a step's batch, 0 for each filler."""
        if self.steps_per_epoch == 1:
            return jnp.ones(self.count, canonical_float())
        _, positions = self._places(step.astype(jnp.uint32))
        weights: jax.Array = (positions < self.count).astype(canonical_float())
        return weights

    def indices(self, order: Any, step: jax.Array) -> jax.Array:
        """Which examples a step sees: int32, (batch_size,)."""
        epoch, places = self._places(step.astype(jnp.uint32))
        positions: jax.Array = jnp.minimum(places, np.uint32(self.count - 1))
        if self.shuffle:
            positions = shuffled(positions, reordered(order, epoch), self.count)
        return positions.astype(jnp.int32)

    def indices_on_host(self, order: Any, step: int) -> np.ndarray[Any, Any]:
        """The same in NumPy."""
        epoch, positions = self._places(np.array([step], np.uint32))
        positions = np.minimum(positions, np.uint32(self.count - 1))
        if self.shuffle:
            positions = shuffled_on_host(positions, reordered(order, epoch), self.count)
        return np.asarray(positions, np.int64)

    def _places(self, step: Any) -> tuple[Any, Any]:
        """The epoch of a step, and the positions in it, which are beyond the last for fillers."""
        assert self.batch_size is not None
        length, size = np.uint32(self.steps_per_epoch), np.uint32(self.batch_size)
        return step // length, step % length * size + np.arange(self.batch_size, dtype=np.uint32)


def _row(rows: jax.Array, at: jax.Array) -> jax.Array:
    row: jax.Array = lax.dynamic_index_in_dim(
        rows, at, keepdims=False, allow_negative_indices=False
    )
    return row
