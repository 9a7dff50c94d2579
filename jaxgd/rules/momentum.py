"""Gradient descent with momentum."""

from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax

from jaxgd.pytree import number, pytree, static
from jaxgd.rules.base import by_leaf, none_yet, zeros
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree


class MomentumState(NamedTuple):
    """The step count and the velocity, a pytree like the params."""

    t: jax.Array
    m: PyTree


@pytree
class Momentum:
    """The heavy ball, or Nesterov's accelerated gradient.

        m = decay m + g
        u = -rate m                  (heavy ball)
        u = -rate (g + decay m)      (nesterov)

    As in optax and PyTorch, m sums gradients and the rate is applied afterwards; Polyak's own form
    sums steps, which differs when the rate changes.

    Reference: Polyak (1964), doi:10.1016/0041-5553(64)90137-5; Sutskever et al. (2013), ICML.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2),
      ...                      gd.Momentum(0.02, nesterov=True), max_steps=300)
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    decay: Any = number(
        default=0.9, doc="how much of the velocity a step keeps", at_least=0, below=1
    )
    nesterov: bool = static(default=False, doc="look ahead: Nesterov's form")

    def init(self, params: PyTree) -> MomentumState:
        """No velocity."""
        return MomentumState(none_yet(), zeros(params))

    def update(
        self, grads: PyTree, state: MomentumState, params: PyTree = None
    ) -> tuple[PyTree, MomentumState]:
        """Updates to add to the params, and the next state."""
        del params
        h = SimpleNamespace(rate=rate_at(self.learning_rate, state.t), decay=self.decay)

        def equations(h: Any, g: Any, m: Any) -> Any:
            m = h.decay * m + g
            u = -h.rate * (g + h.decay * m if self.nesterov else m)
            return u, m

        updates, m = by_leaf(equations, h, grads, state.m)
        return updates, MomentumState(state.t + 1, m)
