"""Transforms of gradients, which precede the rule of a chain."""

from types import SimpleNamespace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxgd.canonical import canonical_float
from jaxgd.pytree import number, pytree
from jaxgd.rules.base import by_leaf
from jaxgd.tree import PyTree, common_dtype, global_norm


@pytree
class ClipByGlobalNorm:
    """Scale all gradients down together where their Euclidean norm exceeds max_norm.

        g = g min(1, max_norm / |g|)

    Reference: Pascanu, Mikolov and Bengio (2013), arXiv:1211.5063.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> clipped, _ = gd.ClipByGlobalNorm(1.0).update(jnp.array([3.0, 4.0]), ())
      >>> [round(float(g), 4) for g in clipped]
      [0.6, 0.8]
    """

    transforms_gradients: ClassVar[bool] = True
    keeps_nonfinite: ClassVar[bool] = True

    max_norm: Any = number(doc="the largest norm let through", above=0)

    def init(self, params: PyTree) -> tuple[()]:
        """No state."""
        del params
        return ()

    def update(
        self, grads: PyTree, state: tuple[()], params: PyTree = None
    ) -> tuple[PyTree, tuple[()]]:
        """The clipped gradients, and no state."""
        del params
        norm = global_norm(grads)
        norm = norm.astype(common_dtype(norm.dtype, canonical_float()))
        limit = jnp.asarray(self.max_norm, norm.dtype)
        # Divided where the norm is above the limit only: at a zero gradient there is no 0 / 0.
        exceeds = norm > limit
        scale = jnp.where(exceeds, limit / jnp.where(exceeds, norm, 1), 1)
        (clipped,) = by_leaf(lambda h, g: (h.scale * g,), SimpleNamespace(scale=scale), grads)
        return clipped, state


@pytree
class ClipByValue:
    """Cut each gradient entry to a magnitude of at most max_value; complex ones keep their phase.

        g = clip(g, -max_value, max_value)

    Reference: Mikolov (2012), Statistical language models based on neural networks, Brno.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> clipped, _ = gd.ClipByValue(1.0).update(jnp.array([-3.0, 0.5]), ())
      >>> [float(g) for g in clipped]
      [-1.0, 0.5]
    """

    transforms_gradients: ClassVar[bool] = True

    max_value: Any = number(doc="the largest magnitude of an entry", above=0)

    def init(self, params: PyTree) -> tuple[()]:
        """No state."""
        del params
        return ()

    def update(
        self, grads: PyTree, state: tuple[()], params: PyTree = None
    ) -> tuple[PyTree, tuple[()]]:
        """The clipped gradients, and no state."""
        del params
        (clipped,) = by_leaf(_cut, SimpleNamespace(max_value=self.max_value), grads)
        return clipped, state


def _cut(h: Any, g: jax.Array) -> tuple[jax.Array]:
    if not jnp.iscomplexobj(g):
        return (jnp.clip(g, -h.max_value, h.max_value),)
    size = jnp.abs(g)
    exceeds = size > h.max_value
    return (jnp.where(exceeds, g * (h.max_value / jnp.where(exceeds, size, 1)), g),)


@pytree
class WeightDecay:
    """L2 regularisation: the gradient of (rate / 2) sum(x^2) is added.

        g = g + rate x

    The rule behind scales it as it scales the gradient. Decay that is decoupled from the gradient
    is AdamW's weight_decay.

    Reference: Krogh and Hertz (1991), NeurIPS 4; Loshchilov and Hutter (2019), arXiv:1711.05101.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> decayed, _ = gd.WeightDecay(0.5).update(jnp.array([1.0]), (), jnp.array([2.0]))
      >>> decayed.tolist()
      [2.0]
    """

    transforms_gradients: ClassVar[bool] = True
    keeps_nonfinite: ClassVar[bool] = True

    rate: Any = number(doc="the coefficient of the params", at_least=0)

    def init(self, params: PyTree) -> tuple[()]:
        """No state."""
        del params
        return ()

    def update(self, grads: PyTree, state: tuple[()], params: PyTree) -> tuple[PyTree, tuple[()]]:
        """The gradients with the decay, and no state."""
        h = SimpleNamespace(rate=self.rate)
        (decayed,) = by_leaf(lambda h, g, x: (g + h.rate * x,), h, grads, params=params)
        return decayed, state
