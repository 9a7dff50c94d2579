"""The descent itself, in pure pieces: evaluate, observe, test, update."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgd import tree
from jaxgd.canonical import canonical_float
from jaxgd.problem import Inputs, Problem
from jaxgd.pytree import pytree
from jaxgd.record import Record, Row
from jaxgd.refusal import described, shown
from jaxgd.rules import extras, keeps_nonfinite
from jaxgd.stop import Stop, Tally
from jaxgd.tree import PyTree


@pytree
class Carry:
    """A run about to evaluate the loss at its current iterate."""

    x: PyTree
    """The optimised leaves."""
    state: PyTree
    """The rule's state."""
    step: jax.Array
    """int32: updates made so far."""
    tally: Tally
    """The stop tests' memory of the rows before this iterate."""
    move: Any
    """The largest relative move of the last update; None unless a test needs it."""


@dataclasses.dataclass(frozen=True)
class Descent:
    """A run's fixed surroundings, inside a trace: what is minimised, how, and what is observed."""

    problem: Problem
    inputs: Inputs
    rule: Any
    stop: Stop
    record: Record

    @property
    def remembers(self) -> bool:
        """Whether a gradient that is not finite leaves something that is not in params or state."""
        return not self.problem.bounded and keeps_nonfinite(self.rule)

    def begin(self, x: PyTree) -> Carry:
        """The carry at the start `x`."""
        x = jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), x)
        move = None if self.stop.xtol is None else jnp.full((), jnp.inf, canonical_float())
        return Carry(x, self.rule.init(x), jnp.zeros((), jnp.int32), self.stop.begin(), move)

    def evaluate(self, carry: Carry) -> tuple[jax.Array, PyTree]:
        """The loss and the gradients at the iterate."""
        return self.problem.evaluate(carry.x, self.inputs, carry.step)

    def evaluation(self, carry: Carry) -> tuple[Any, PyTree]:
        """The shapes of the loss and the gradients; the loss is not traced for it again."""
        dtype = self.problem.loss_dtype
        if dtype is None:
            dtype = jax.eval_shape(self.evaluate, carry)[0].dtype
        form: Any = jax.ShapeDtypeStruct
        return form((), dtype), jax.tree.map(lambda leaf: form(leaf.shape, leaf.dtype), carry.x)

    def observe(self, carry: Carry, loss: jax.Array, grads: PyTree) -> Row:
        """The row of the iterate: what its tests and its history need."""
        needs_norm = self.record.grad_norm or self.stop.gtol is not None
        projected = self.problem.projected(carry.x, grads, self.inputs) if needs_norm else None
        return Row(
            loss,
            tree.max_norm(projected) if needs_norm else None,
            carry.move,
            carry.x if self.record.params else None,
            self.aux(carry) if self.record.aux else None,
        )

    def aux(self, carry: Carry) -> PyTree:
        """What the loss returns besides at the iterate, as arrays of numbers."""
        aux = self.problem.aux(carry.x, self.inputs, carry.step)
        return jax.tree.map(
            lambda a: jax.random.key_data(a) if tree.is_key(a) else jnp.asarray(a), aux
        )

    def update(self, carry: Carry, loss: jax.Array, grads: PyTree, tally: Tally) -> Carry:
        """The next iterate."""

        def value_fn(x: PyTree) -> jax.Array:
            return self.problem.value(x, self.inputs, carry.step)

        known = {"value": loss, "grad": grads, "value_fn": value_fn}
        extra = {name: known[name] for name in extras(self.rule)}
        answer = self.rule.update(grads, carry.state, carry.x, **extra)
        updates, state = checked_update(self.rule, answer, carry)
        x = self.problem.clip(tree.add(carry.x, updates), self.inputs)
        move = None if carry.move is None else largest_move(carry.x, x)
        return Carry(x, state, carry.step + 1, tally, move)

    def test(self, tally: Tally, row: Row) -> tuple[Tally, jax.Array]:
        """The tests of `stop` on a row."""
        return self.stop.test(tally, row.loss, row.grad_norm, row.move)


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Out of reach of the guards that the user has set for code of their own.

    NaN where there is no loss yet, or none any more, is no news; small numbers come from the host.
    """
    with jax.debug_nans(False), jax.debug_infs(False), jax.transfer_guard("allow"):
        yield


def checked_update(rule: Any, answer: Any, carry: Carry) -> tuple[PyTree, PyTree]:
    """What a rule's update returned; a TypeError unless it has the form that the protocol asks."""
    name = f"rule: update of {type(rule).__name__}"
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError(f"{name} must return (updates, state), got {described(answer)}")
    updates, state = answer
    _check_form(f"{name} must keep the form of the updates", updates, carry.x, any_dtype=True)
    _check_form(f"{name} must keep the form of the state", state, carry.state)
    return updates, state


def _check_form(told: str, given: PyTree, expected: PyTree, *, any_dtype: bool = False) -> None:
    form: Any = jax.tree.structure(expected)
    if form != jax.tree.structure(given):
        raise TypeError(f"{told}: expected {form}, got {described(given)}")
    places = jax.tree_util.tree_leaves_with_path(expected)
    for (path, leaf), other in zip(places, jax.tree.leaves(given), strict=True):
        shape, dtype = jnp.shape(leaf), getattr(leaf, "dtype", None)
        same = any_dtype or jnp.asarray(other).dtype == dtype
        if jnp.shape(other) != shape or not same:
            place = jax.tree_util.keystr(path)
            raise TypeError(
                f"{told}: expected an array of {dtype} and shape {shape}"
                f"{' at ' * bool(place)}{place}, got {described(other)}"
            )


def largest_move(before: PyTree, after: PyTree) -> jax.Array:
    """The largest |after - before| / (1 + |after|) over all entries."""

    def relative(a: jax.Array, b: jax.Array) -> jax.Array:
        dtype = tree.arithmetic_dtype(a.dtype)
        a, b = a.astype(dtype), b.astype(dtype)
        return (b - a) / (1 + jnp.abs(b))

    return tree.max_norm(jax.tree.map(relative, before, after)).astype(canonical_float())


def checked_keep(keep: str | None, *, stochastic: bool) -> str:
    """Which iterate to return: "best" or "last"; None means best where losses can be compared."""
    if not isinstance(keep, str | None) or keep not in ("best", "last", None):
        raise ValueError(f'keep must be "best", "last" or None, got {shown(keep)}')
    if stochastic and keep == "best":
        raise ValueError(
            'keep="best" compares losses, and those of a stochastic loss differ by chance: '
            'use keep="last"'
        )
    return keep or ("last" if stochastic else "best")
