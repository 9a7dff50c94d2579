"""AdaMax: Adam in the infinity norm."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf, larger, magnitudes, no_weight, none_yet, weigh, zeros
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class AdaMaxState(NamedTuple):
    """The step count, the first moment's weight, the first moment and the norm."""

    t: jax.Array
    w1: jax.Array
    m: PyTree
    v: PyTree


@pytree
class AdaMax:
    """Adam in the infinity norm.

        m = b1 m + (1 - b1) g
        v = max(b2 v, |g| + eps)
        u = -rate m / ((1 - b1^t) v)

    As in optax and PyTorch, eps is added to |g|; the paper has none.

    Reference: Kingma and Ba (2015), arXiv:1412.6980, section 7.1.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.AdaMax(0.1))
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the norm", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to the gradient's magnitude", at_least=0)

    def init(self, params: PyTree) -> AdaMaxState:
        """Zero moments."""
        return AdaMaxState(none_yet(), no_weight(), zeros(params), magnitudes(params))

    def update(
        self, grads: PyTree, state: AdaMaxState, params: PyTree = None
    ) -> tuple[PyTree, AdaMaxState]:
        """Updates to add to the params, and the next state."""
        del params
        w1 = weigh(self.b1, state.w1)
        rate = rate_at(self.learning_rate, state.t) / w1
        h = SimpleNamespace(rate=rate, b1=self.b1, b2=self.b2, eps=self.eps)

        def equations(h: Any, g: Any, m: Any, v: Any) -> Any:
            m = h.b1 * m + (1 - h.b1) * g
            v = larger(h.b2 * v, jnp.abs(g) + h.eps)
            u = -h.rate * m / v
            return u, m, v

        updates, m, v = by_leaf(equations, h, grads, state.m, state.v)
        return updates, AdaMaxState(state.t + 1, w1, m, v)
