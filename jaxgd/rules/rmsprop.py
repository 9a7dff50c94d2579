"""RMSProp: steps scaled by a moving average of squared gradients."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree, static
from jaxgd.rules.base import by_leaf, magnitudes, none_yet, square, zeros
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class RMSPropState(NamedTuple):
    """The step count and the moments; those that the rule does not use are None."""

    t: jax.Array
    v: PyTree
    mean: PyTree
    m: PyTree


@pytree
class RMSProp:
    """Steps scaled by a moving average of squared gradients; centered, with momentum.

        v = decay v + (1 - decay) g^2
        mean = decay mean + (1 - decay) g      (centered)
        u = -rate g / sqrt(v + eps)            (centered: v - mean^2 in v's place)
        m = momentum m + u                     (momentum)
        u = m                                  (nesterov: u + momentum m)

    As in optax, v starts at 0 and eps stands inside the square root; PyTorch has it outside, and
    TensorFlow 1 starts v at 1.

    Reference: Tieleman and Hinton (2012), Coursera lecture 6.5; Graves (2013), arXiv:1308.0850.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.RMSProp(gd.ExponentialDecay(0.1, rate=0.9, every=20))
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), rule)
      >>> [round(float(x), 3) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    decay: Any = number(default=0.9, doc="decay of the averages", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to v under the root", at_least=0)
    centered: bool = static(
        default=False, doc="divide by the deviation, not by the root mean square"
    )
    momentum: Any = number(
        default=None, doc="decay of the momentum; none without", at_least=0, below=1
    )
    nesterov: bool = static(default=False, doc="Nesterov's form of the momentum")

    def init(self, params: PyTree) -> RMSPropState:
        """Zero moments."""
        return RMSPropState(
            none_yet(),
            magnitudes(params),
            zeros(params) if self.centered else None,
            None if self.momentum is None else zeros(params),
        )

    def update(
        self, grads: PyTree, state: RMSPropState, params: PyTree = None
    ) -> tuple[PyTree, RMSPropState]:
        """Updates to add to the params, and the next state."""
        del params
        rate = rate_at(self.learning_rate, state.t)
        momentum = 0 if self.momentum is None else self.momentum
        h = SimpleNamespace(rate=rate, decay=self.decay, eps=self.eps, momentum=momentum)

        def equations(h: Any, g: Any, v: Any, mean: Any, m: Any) -> Any:
            v = h.decay * v + (1 - h.decay) * square(g)
            spread = v
            if self.centered:
                mean = h.decay * mean + (1 - h.decay) * g
                spread = v - square(mean)
            u = -h.rate * g / jnp.sqrt(spread + h.eps)
            if self.momentum is not None:
                m = h.momentum * m + u
                u = u + h.momentum * m if self.nesterov else m
            return u, v, mean, m

        updates, *after = by_leaf(equations, h, grads, state.v, state.mean, state.m)
        return updates, RMSPropState(state.t + 1, *after)
