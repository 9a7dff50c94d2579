"""Yogi: Adam whose second moment moves by steps of bounded size."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.rules.adam import AdamState, adam_step, corrected, no_moments
from jaxgd.rules.base import magnitudes, square
from jaxgd.tree import PyTree, root

FIRST = 1e-6


@pytree
class Yogi:
    """Adam whose second moment moves by steps of bounded size.

        m = b1 m + (1 - b1) g
        v = v - (1 - b2) sign(v - g^2) g^2
        c1 = 1 / (1 - b1^t),  c2 = 1 / (1 - b2^t)
        u = -rate c1 m / (sqrt(c2 v) + eps)

    As in optax, both moments start at 1e-6 and are corrected as Adam's are.

    Reference: Zaheer et al. (2018), Adaptive methods for nonconvex optimization, NeurIPS 31.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.Yogi(0.1))
      >>> [round(float(x), 3) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-3, doc="added to the root of v", at_least=0)

    def init(self, params: PyTree) -> AdamState:
        """Moments of 1e-6."""
        state = no_moments(params)
        m = jax.tree.map(lambda m: jnp.full_like(m, FIRST), state.m)
        return state._replace(m=m, v=magnitudes(params, FIRST))

    def update(
        self, grads: PyTree, state: AdamState, params: PyTree = None
    ) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        del params
        h, state = corrected(self, state)

        def equations(h: Any, g: Any, m: Any, v: Any) -> Any:
            m = h.b1 * m + (1 - h.b1) * g
            v = v - (1 - h.b2) * jnp.sign(v - square(g)) * square(g)
            u = -(h.rate * h.c1) * m / (root(h.c2 * v) + h.eps)
            return u, m, v

        return adam_step(equations, h, grads, state)
