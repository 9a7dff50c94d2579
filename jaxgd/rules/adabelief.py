"""AdaBelief: Adam that divides by the surprise of the gradient."""

from typing import Any, ClassVar

from jaxgd.pytree import number, pytree
from jaxgd.rules.adam import AdamState, adam_step, corrected, no_moments
from jaxgd.rules.base import square
from jaxgd.tree import PyTree, root


@pytree
class AdaBelief:
    """Adam that divides by how much the gradient surprises.

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) (g - m)^2 + eps
        c1 = 1 / (1 - b1^t),  c2 = 1 / (1 - b2^t)
        u = -rate c1 m / (sqrt(c2 v) + eps)

    As in the paper and in optax, eps is added in both places.

    Reference: Zhuang et al. (2020), arXiv:2010.07468.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.AdaBelief(gd.CosineDecay(0.1, steps=1000))
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), rule)
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-16, doc="added to v and to its root", at_least=0)

    def init(self, params: PyTree) -> AdamState:
        """Zero moments."""
        return no_moments(params)

    def update(
        self, grads: PyTree, state: AdamState, params: PyTree = None
    ) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        del params
        h, state = corrected(self, state)

        def equations(h: Any, g: Any, m: Any, v: Any) -> Any:
            m = h.b1 * m + (1 - h.b1) * g
            v = h.b2 * v + (1 - h.b2) * square(g - m) + h.eps
            u = -(h.rate * h.c1) * m / (root(h.c2 * v) + h.eps)
            return u, m, v

        return adam_step(equations, h, grads, state)
