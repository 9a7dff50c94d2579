"""AdaGrad: steps scaled by the sum of all squared gradients."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf, magnitudes, none_yet, square
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class AdaGradState(NamedTuple):
    """The step count and the sum of squares."""

    t: jax.Array
    v: PyTree


@pytree
class AdaGrad:
    """Steps scaled by the sum of all squared gradients.

        v = v + g^2                     (v starts at initial_accumulator)
        u = -rate g / sqrt(v + eps)     (0 where v is 0)

    As in optax, eps stands inside the root; PyTorch has it outside and starts v at 0.

    Reference: Duchi, Hazan and Singer (2011), JMLR 12, 2121-2159.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.AdaGrad(1.0))
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    initial_accumulator: Any = number(default=0.1, doc="the first value of v", at_least=0)
    eps: Any = number(default=1e-7, doc="added to v under the root", at_least=0)

    def init(self, params: PyTree) -> AdaGradState:
        """The initial accumulator."""
        return AdaGradState(none_yet(), magnitudes(params, self.initial_accumulator))

    def update(
        self, grads: PyTree, state: AdaGradState, params: PyTree = None
    ) -> tuple[PyTree, AdaGradState]:
        """Updates to add to the params, and the next state."""
        del params
        h = SimpleNamespace(rate=rate_at(self.learning_rate, state.t), eps=self.eps)

        def equations(h: Any, g: Any, v: Any) -> Any:
            v = v + square(g)
            some = v > 0
            u = jnp.where(some, -h.rate * g / jnp.sqrt(jnp.where(some, v, 1) + h.eps), 0)
            return u, v

        updates, v = by_leaf(equations, h, grads, state.v)
        return updates, AdaGradState(state.t + 1, v)
