"""What a run records, and the history that results."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.canonical import as_count
from jaxgd.evaluate import Evaluate
from jaxgd.pytree import pytree
from jaxgd.refusal import shown
from jaxgd.tree import PyTree


@dataclasses.dataclass(frozen=True)
class Record:
    """What the history of a run holds: rows at the steps that are multiples of `every`.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum(x ** 2), jnp.ones(2), gd.GradientDescent(0.25),
      ...                      max_steps=4, record=gd.Record(every=2, params=True))
      >>> result.history.loss.tolist(), result.history.params.shape
      ([2.0, 0.125, 0.0078125], (3, 2))
    """

    every: int = 1
    """Steps from one row to the next."""
    loss: bool = True
    """Record the loss."""
    grad_norm: bool = True
    """Record the largest gradient entry (under bounds: of the projected gradient)."""
    params: bool = False
    """Record the params, with a leading axis of rows."""
    aux: bool = False
    """Record what a loss with has_aux returns besides, with a leading axis of rows."""
    evaluate: Evaluate | None = None
    """Metrics, such as those of held-out data, at steps of their own."""

    def checked(self) -> "Record":
        """The same with checked fields; raises a TypeError or ValueError that names the field."""
        for name in ("loss", "grad_norm", "params", "aux"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(
                    f"record.{name} must be True or False, got {shown(getattr(self, name))}"
                )
        every, evaluate = as_count(self.every, "record.every", at_least=1), self.evaluate
        if not isinstance(evaluate, Evaluate | None):
            raise TypeError(f"record.evaluate must be a gd.Evaluate, got {shown(evaluate)}")
        evaluate = None if evaluate is None else evaluate.checked()
        return dataclasses.replace(self, every=every, evaluate=evaluate)

    @property
    def rows(self) -> "Record":
        """Without the metrics: what is recorded of each row."""
        return dataclasses.replace(self, evaluate=None)


NOTHING = Record(loss=False, grad_norm=False)


def checked_record(record: Any, *, has_aux: bool) -> Record:
    """`record` with checked fields; None stands for nothing."""
    if record is None:
        return NOTHING
    if not isinstance(record, Record):
        raise TypeError(f"record must be a gd.Record or None, got {shown(record)}")
    if record.aux and not has_aux:
        raise ValueError("record.aux is what a loss with has_aux=True returns: give has_aux=True")
    return record.checked()


@pytree
class History:
    """The rows of a run: arrays with a leading axis of rows, None for what was not recorded."""

    step: Any
    """int, (rows,): the number of updates made before the row."""
    loss: Any
    """float, (rows,): the loss."""
    grad_norm: Any
    """float, (rows,): the largest gradient entry; under bounds, of the projected gradient."""
    learning_rate: Any
    """float, (rows,): the rate of the update that follows the row; None for foreign rules."""
    params: PyTree
    """The params, with a leading axis of rows."""
    aux: PyTree = None
    """What a loss with has_aux returned, with a leading axis of rows."""
    metrics: dict[str, Any] | None = None
    """What an `Evaluate` computed, by name: (evaluations,)."""
    metric_step: Any = None
    """int, (evaluations,): the number of updates made before each evaluation; of many runs with a
    leading axis of them, as everything here."""

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        names = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]
        return f"History of {', '.join(names)}, rows: {np.shape(self.step)}"


@pytree
class Row:
    """What is seen of one iterate, None for what nobody needs."""

    loss: Any
    grad_norm: Any
    move: Any
    params: PyTree
    aux: PyTree = None


def blank(row: PyTree, length: int) -> Any:
    """Room for `length` rows like `row`."""
    return jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), row)


def write(rows: PyTree, at: jax.Array, row: PyTree) -> Any:
    """Put one row at index `at`, which must lie inside."""
    return jax.tree.map(lambda room, leaf: _put(room, leaf[None], at), rows, row)


def write_all(rows: PyTree, at: jax.Array, block: PyTree) -> Any:
    """Put the rows of `block` at index `at` and following; they must fit."""
    return jax.tree.map(lambda room, leaf: _put(room, leaf, at), rows, block)


def _put(room: jax.Array, leaf: jax.Array, at: jax.Array) -> jax.Array:
    # Not room.at[at].set: that selects between old and new, and so reads what it overwrites.
    return lax.dynamic_update_slice_in_dim(room, leaf, at, 0, allow_negative_indices=False)
