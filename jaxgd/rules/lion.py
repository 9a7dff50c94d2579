"""Lion: the sign of a momentum."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf, none_yet, zeros
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class LionState(NamedTuple):
    """The step count and the momentum."""

    t: jax.Array
    m: PyTree


@pytree
class Lion:
    """Steps of one size: the sign of a momentum.

        u = -rate (sign(b1 m + (1 - b1) g) + weight_decay x)
        m = b2 m + (1 - b2) g

    The sign of a complex number is the number of magnitude 1 with its phase. Every entry moves by
    the rate, so use a rate 3 to 10 times lower than Adam's, and a schedule to settle.

    Reference: Chen et al. (2023), arXiv:2302.06675.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.Lion(gd.PolynomialDecay(0.01, end=0.0, steps=1000))
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), rule)
      >>> [round(float(x), 3) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay in the step", at_least=0, below=1)
    b2: Any = number(default=0.99, doc="decay of the momentum", at_least=0, below=1)
    weight_decay: Any = number(default=0.0, doc="decay of the params, times the rate", at_least=0)

    def init(self, params: PyTree) -> LionState:
        """No momentum."""
        return LionState(none_yet(), zeros(params))

    def update(self, grads: PyTree, state: LionState, params: PyTree) -> tuple[PyTree, LionState]:
        """Updates to add to the params, and the next state."""
        rate = rate_at(self.learning_rate, state.t)
        h = SimpleNamespace(rate=rate, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay)

        def equations(h: Any, g: Any, m: Any, x: Any) -> Any:
            u = -h.rate * (jnp.sign(h.b1 * m + (1 - h.b1) * g) + h.weight_decay * x)
            m = h.b2 * m + (1 - h.b2) * g
            return u, m

        updates, m = by_leaf(equations, h, grads, state.m, params=params)
        return updates, LionState(state.t + 1, m)
