"""Data in batches: which examples a step sees."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import as_count, is_number
from jaxgd.feed import Feed, Plan
from jaxgd.loss import checked_key
from jaxgd.refusal import described, shown
from jaxgd.shuffle import MOST, order_from
from jaxgd.tree import PyTree, is_key, strong


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Data for a loss `loss(params, batch, *args)`: every step sees the next batch of examples.

    Batch gradient descent takes all examples at each step (`batch_size=None`), stochastic gradient
    descent one of them (`batch_size=1`), mini-batch descent some. An epoch is one pass over all of
    them, each time in another order: a keyed bijection says on the device which examples a step
    sees, so no permutation is sorted or stored, the order depends on the key and the step alone,
    and a run that is continued goes on in it.

    With `drop_last=False` an epoch's last batch holds the examples that are left, filled up to
    `batch_size`, and the loss is called with the keyword `weights`, (batch_size,): 1 for an
    example, 0 for a filler. `jnp.average(losses, weights=weights)` is the mean over the examples.

    Arrays that are NumPy memory maps stay on the disk: batches are read while the device computes,
    in the same order and to the same bits. So are those of a source of batches: an iterable, such
    as a PyTorch DataLoader, a grain or a tf.data pipeline, or a function that makes an iterator
    for each epoch. It batches and shuffles by itself, and all of its batches have one shape. A run
    that is continued with `state=` goes on in an iterator where that is, and passes over the
    batches of another source that it has seen.

    Args:
      arrays: pytree of arrays with the examples along their first axes, which are equally long; or
        a source of batches.
      batch_size: examples of a batch, at most as many as there are; None for all of them.
      key: a JAX random key, which decides the order.
      shuffle: whether each epoch comes in an order of its own, or in that of the arrays.
      drop_last: whether examples that are left at the end of an epoch, too few for a batch, are
        left out of it.
      shared: in many runs, whether all see the same order; else each has its own.

    Raises:
      TypeError, ValueError: naming the argument, what was given and what was expected.

    References: Robbins and Monro (1951), doi:10.1214/aoms/1177729586; Bottou (2012), Stochastic
    gradient descent tricks, doi:10.1007/978-3-642-35289-8_25.

    Example:
      >>> import jax, jax.numpy as jnp, jaxgd as gd
      >>> x = jnp.linspace(-1.0, 1.0, 20)
      >>> data = gd.Batches({"x": x, "y": 3 * x + 1}, batch_size=4, key=jax.random.key(0))
      >>> def loss(line, batch):
      ...     return jnp.mean((line[0] * batch["x"] + line[1] - batch["y"]) ** 2)
      >>> result = gd.minimize(loss, jnp.zeros(2), gd.GradientDescent(0.3), data=data, epochs=30)
      >>> [round(float(number), 3) for number in result.params], int(result.steps)
      ([3.0, 1.0], 150)
      >>> sorted(int(i) for step in range(5) for i in data.indices(step)) == list(range(20))
      True
    """

    arrays: PyTree
    batch_size: int | None = None
    key: chex.PRNGKey | None = None
    shuffle: bool = True
    drop_last: bool = True
    shared: bool = False

    def __post_init__(self) -> None:
        for name in ("shuffle", "drop_last", "shared"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {shown(getattr(self, name))}")
        if self.key is not None:
            checked_key(self.key)
        if self.is_source:
            self._check_source()
            return
        _check_arrays(self.arrays)
        if self.batch_size is None:
            return
        if self.is_on_disk and any(map(is_key, jax.tree.leaves(self.arrays))):
            raise TypeError(
                "arrays holds random keys beside a memory map, with which they cannot be read: "
                "give jax.random.key_data of them, and in the loss wrap that of a batch by "
                "jax.random.wrap_key_data"
            )
        size, count = as_count(self.batch_size, "batch_size", at_least=1), self.examples
        if size > count:
            raise ValueError(
                f"batch_size must be at most the number of examples, {count}, got {size}: use "
                "batch_size=None to take all at each step"
            )
        if self.shuffle and self.key is None:
            raise ValueError(
                "key must be given for a shuffle, as key=jax.random.key(0); or give shuffle=False"
            )

    def __repr__(self) -> str:
        if self.is_source:
            return f"Batches of {described(self.arrays)}"
        if self.batch_size is None:
            return f"Batches({self.examples} examples, all at each step)"
        steps = f"{self.steps_per_epoch} steps an epoch"
        return f"Batches({self.examples} examples, {self.batch_size} at each step, {steps})"

    def _check_source(self) -> None:
        if hasattr(self.arrays, "allow_pickle") or isinstance(self.arrays, set | frozenset):
            raise TypeError(
                f"arrays must be a pytree of arrays or a source of batches, got a "
                f"{type(self.arrays).__name__}, which gives neither: for numpy.load of an npz file "
                "write dict(...) around it"
            )
        told = f"{{}} is for arrays: {described(self.arrays)} makes batches by itself"
        for name in ("batch_size", "key"):
            if getattr(self, name) is not None:
                raise ValueError(told.format(name))
        if (self.shuffle, self.drop_last, self.shared) != (True, True, False):
            raise ValueError(told.format("shuffle, drop_last or shared"))

    @property
    def is_source(self) -> bool:
        """Whether batches come from an iterable, or a function that makes iterators."""
        arrays = self.arrays
        if hasattr(arrays, "__next__"):
            return True
        is_array = hasattr(arrays, "dtype") or isinstance(arrays, str | bytes)
        iterates = callable(arrays) or hasattr(arrays, "__iter__")
        return iterates and not is_array and bool(jax.tree_util.all_leaves([arrays]))

    @property
    def reads(self) -> bool:
        """Whether batches are read on the host while the device computes."""
        return self.is_source or (self.batch_size is not None and self.is_on_disk)

    @property
    def is_on_disk(self) -> bool:
        """Whether an array is a memory map."""
        return any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(self.arrays))

    @property
    def examples(self) -> int:
        """How many examples there are in the arrays."""
        return int(jax.tree.leaves(self.arrays)[0].shape[0])

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        if not self.is_source:
            return self.plan.steps_per_epoch
        if not hasattr(self.arrays, "__len__"):
            raise TypeError(
                f"{described(self.arrays)} has no length: give max_steps instead of epochs"
            )
        return len(self.arrays)

    @property
    def plan(self) -> Plan:
        """How batches are made of the arrays."""
        if self.batch_size is None:
            return Plan(self.examples, None)
        size = as_count(self.batch_size, "batch_size", at_least=1)
        weighted, streams = not self.drop_last, self.is_on_disk
        return Plan(self.examples, size, self.shuffle, weighted, self.shared, streams)

    def indices(self, step: Any, run: Any = None) -> jax.Array:
        """Which examples a step sees: int32, (batch_size,).

        Where an epoch's last batch is filled up (`drop_last=False`), the example that fills it is
        its last one.

        Args:
          step: int scalar >= 0, traced or not.
          run: of many runs which one; None for the run of `minimize` or `descend`.
        """
        if self.is_source or self.batch_size is None:
            raise ValueError("indices are those of batches: give arrays and a batch_size")
        feed = Feed(None, self.order, None)
        if run is not None and not self.shared:
            if not isinstance(run, jax.core.Tracer):
                run = as_count(run, "run", at_least=0)
            feed = feed.of_run(jnp.atleast_1d(jnp.asarray(run, jnp.int32)))
        if not isinstance(step, jax.core.Tracer):
            step = as_count(step, "step", at_least=0)
        if any(isinstance(given, jax.core.Tracer) for given in (step, feed.order)):
            return self.plan.indices(feed.order, jnp.asarray(step, jnp.int32))
        words = None if feed.order is None else np.asarray(feed.order)
        return jnp.asarray(self.plan.indices_on_host(words, int(step)), jnp.int32)

    @property
    def order(self) -> jax.Array | None:
        """uint32: the words that say in which order examples come; None without a shuffle."""
        return order_from(self.key) if self.shuffle and self.batch_size is not None else None

    def feed(self) -> Feed:
        """What the batches are made of, on the device."""
        arrays = jax.tree.map(_on_device, self.arrays)
        return Feed(arrays, self.order, None)


def _on_device(leaf: Any) -> Any:
    return leaf if is_key(leaf) else jnp.asarray(strong(leaf))


def traced_of(data: Any) -> PyTree:
    """What could be traced in data, if there is some."""
    if not isinstance(data, Batches) or data.is_source:
        return None
    return data.arrays, data.key


def given_data(
    data: Batches | None,
) -> tuple[Plan | None, Feed | None]:
    """How batches are made, and of what."""
    if data is None:
        return None, None
    if not isinstance(data, Batches):
        raise TypeError(
            f"data must be a gd.Batches, got {described(data)}: write "
            "data=gd.Batches(arrays, batch_size=64, key=jax.random.key(0))"
        )
    if data.reads:
        raise TypeError(
            "data that is read from the host while the device computes is for one run of "
            "minimize: give arrays"
        )
    return data.plan, data.feed()


def steps_of(max_steps: Any, epochs: Any, data: Batches | None, *, default: int) -> int:
    """How many steps were asked for, by themselves or by epochs."""
    if epochs is None:
        return as_count(max_steps, "max_steps", at_least=0)
    if not isinstance(data, Batches):
        raise ValueError("epochs are passes over data: give data=gd.Batches(…), or max_steps")
    if as_count(max_steps, "max_steps", at_least=0) != default:
        raise ValueError(f"give epochs or max_steps, got both: {shown(epochs)} and {max_steps!r}")
    steps = as_count(epochs, "epochs", at_least=0) * data.steps_per_epoch
    if steps >= 2**31:
        raise ValueError(f"epochs must be fewer: {epochs} of them are {steps} steps")
    return steps


def _check_arrays(arrays: PyTree) -> None:
    places = jax.tree_util.tree_leaves_with_path(arrays)
    if not places:
        raise ValueError(
            "data must have arrays, with the examples along their first axes; got none"
        )
    lengths = {}
    for path, leaf in places:
        name = "arrays" + jax.tree_util.keystr(path)
        is_array = isinstance(leaf, jax.Array) or hasattr(leaf, "__array__")
        numeric = is_array and hasattr(leaf, "shape") and (is_number(leaf) or is_key(leaf))
        if not numeric:
            given = described(leaf) if is_array else shown(leaf)
            raise TypeError(
                f"{name} must be an array of numbers, got {given}; of a list make one by np.asarray"
            )
        if not leaf.shape:
            raise ValueError(f"{name} must have examples along its first axis, got a scalar")
        lengths[name] = leaf.shape[0]
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"arrays must have equally many examples: {told}")
    count = next(iter(lengths.values()))
    if not 0 < count <= MOST:
        raise ValueError(
            f"arrays must have 1 to {MOST} examples along their first axes, got {count}"
        )
