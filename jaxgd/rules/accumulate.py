"""Gradient accumulation: one update from the mean of several gradients."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd import tree
from jaxgd.pytree import number, pytree
from jaxgd.rules.base import (
    by_leaf,
    check_wrapped,
    forwarded,
    learning_rate_of,
    none_yet,
    zeros,
)
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class AccumulateState(NamedTuple):
    """How many gradients have been summed, their sum, and the state of the rule inside."""

    n: jax.Array
    total: PyTree
    rule: Any


@pytree
class Accumulate:
    """A rule that is called with the mean of every k gradients; made by `accumulate`."""

    rule: Any
    every: Any = number(doc="gradients of one update", whole=True, at_least=1)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The rule inside."""
        return (self.rule,)

    @property
    def learning_rate(self) -> Any:
        """That of the rule inside, whose schedule counts updates."""
        rate = learning_rate_of(self.rule)
        return Slowed(rate, self.every) if callable(rate) else rate

    def init(self, params: PyTree) -> AccumulateState:
        """No gradient yet."""
        return AccumulateState(none_yet(), zeros(params), self.rule.init(params))

    def update(
        self, grads: PyTree, state: AccumulateState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AccumulateState]:
        """The rule's updates if this gradient is the last of its k, else zeros; the next state."""
        n = state.n + 1

        def equations(h: Any, g: Any, total: Any) -> Any:
            total = total + g
            return total / h.n, total

        mean, total = by_leaf(equations, SimpleNamespace(n=n), grads, state.total)
        taken = forwarded(self.rule, extra)
        if "grad" in taken:
            taken["grad"] = mean
        updates, inner = self.rule.update(mean, state.rule, params, **taken)
        made = (updates, AccumulateState(jnp.zeros_like(n), _nothing(total), inner))
        waiting = (_nothing(updates), AccumulateState(n, total, state.rule))
        # Both are computed: under vmap they are in any case, and a branch is not for kernels.
        after: tuple[PyTree, AccumulateState] = tree.where(n >= self.every, made, waiting)
        return after


def _nothing(like: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, like)


@pytree
class Slowed:
    """A schedule that moves on once every k steps."""

    schedule: Any
    every: Any

    def __call__(self, step: Any) -> Any:
        """The rate of the update that the gradient of `step` goes into."""
        return rate_at(self.schedule, jnp.asarray(step) // self.every)


def accumulate(rule: Any, every: Any) -> Accumulate:
    """A rule that makes one update from the mean of every k gradients, as from a k-fold batch.

    Between two updates the params stand still. The rule inside sees updates only: its schedule and
    its step count go on once every k steps. Steps that do not move look like convergence to the
    tests `ftol`, `frtol` and `xtol` of a `Stop`; a `patience` of k or more sees through that.

    Args:
      rule: the rule inside, with transforms in front of it perhaps. Of `value`, `grad` and
        `value_fn` it gets those of the last of the k steps, with the mean as `grad`.
      every: k, a whole number >= 1; it is traced, so that a sweep can go through several.

    Returns:
      A rule. Its state holds one more tree like the params.

    Raises:
      ValueError: `rule` is none, or only transforms gradients.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.accumulate(gd.GradientDescent(0.5), every=2)
      >>> x, state = jnp.float32(1.0), rule.init(jnp.float32(1.0))
      >>> for g in (2.0, 0.0, 1.0, 3.0):
      ...     update, state = rule.update(jnp.float32(g), state, x)
      ...     print(float(update))
      0.0
      -0.5
      0.0
      -1.0
    """
    check_wrapped(rule, "accumulate")
    return Accumulate(rule, every)
