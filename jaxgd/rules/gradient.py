"""Gradient descent as it is."""

from types import SimpleNamespace
from typing import Any, ClassVar

import jax

from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf, none_yet
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


@pytree
class GradientDescent:
    """Vanilla gradient descent.

        u = -rate g

    Reference: Cauchy (1847), Comptes rendus 25, 536.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2),
      ...                      gd.GradientDescent(0.1), max_steps=200)
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)

    def init(self, params: PyTree) -> jax.Array:
        """The step count."""
        del params
        return none_yet()

    def update(
        self, grads: PyTree, state: jax.Array, params: PyTree = None
    ) -> tuple[PyTree, jax.Array]:
        """Updates to add to the params, and the next state."""
        del params
        h = SimpleNamespace(rate=rate_at(self.learning_rate, state))
        (updates,) = by_leaf(lambda h, g: (-h.rate * g,), h, grads)
        return updates, state + 1
