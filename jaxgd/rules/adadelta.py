"""AdaDelta: steps in the units of the params."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf, magnitudes, none_yet, square
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class AdaDeltaState(NamedTuple):
    """The step count and the averages of squared gradients and squared steps."""

    t: jax.Array
    v: PyTree
    d: PyTree


@pytree
class AdaDelta:
    """Steps in the units of the params.

        v = decay v + (1 - decay) g^2
        s = sqrt(d + eps) / sqrt(v + eps) g
        d = decay d + (1 - decay) s^2
        u = -rate s

    The paper has no rate, that is rate 1.

    Reference: Zeiler (2012), arXiv:1212.5701.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.AdaDelta(1.0),
      ...                      max_steps=5000)
      >>> [round(float(x), 3) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    decay: Any = number(default=0.9, doc="decay of both averages", at_least=0, below=1)
    eps: Any = number(default=1e-6, doc="added under both roots", at_least=0)

    def init(self, params: PyTree) -> AdaDeltaState:
        """Zero averages."""
        return AdaDeltaState(none_yet(), magnitudes(params), magnitudes(params))

    def update(
        self, grads: PyTree, state: AdaDeltaState, params: PyTree = None
    ) -> tuple[PyTree, AdaDeltaState]:
        """Updates to add to the params, and the next state."""
        del params
        rate = rate_at(self.learning_rate, state.t)
        h = SimpleNamespace(rate=rate, decay=self.decay, eps=self.eps)

        def equations(h: Any, g: Any, v: Any, d: Any) -> Any:
            v = h.decay * v + (1 - h.decay) * square(g)
            s = jnp.sqrt(d + h.eps) / jnp.sqrt(v + h.eps) * g
            d = h.decay * d + (1 - h.decay) * square(s)
            u = -h.rate * s
            return u, v, d

        updates, v, d = by_leaf(equations, h, grads, state.v, state.d)
        return updates, AdaDeltaState(state.t + 1, v, d)
