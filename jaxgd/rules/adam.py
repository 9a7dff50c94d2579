"""Adam and the rules that keep its two moments: AMSGrad, AdamW, NAdam, RAdam."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree, static
from jaxgd.rules.base import by_leaf, larger, magnitudes, no_weight, none_yet, square, weigh, zeros
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree, root


class AdamState(NamedTuple):
    """The step count, the moments' weights (2,), the moments, and AMSGrad's maximum or None."""

    t: jax.Array
    w: jax.Array
    m: PyTree
    v: PyTree
    v_max: PyTree = None


def no_moments(params: PyTree, *, amsgrad: bool = False) -> AdamState:
    """The state before the first step."""
    m, v = zeros(params), magnitudes(params)
    v_max = magnitudes(params) if amsgrad else None
    return AdamState(none_yet(), no_weight(2), m, v, v_max)


def corrected(rule: Any, state: AdamState, **numbers: Any) -> tuple[SimpleNamespace, AdamState]:
    """The numbers of the next step, with the corrections c1 and c2; and the state so far after it.

    Returns:
      `numbers`, those that all these rules have, and the corrections; the state with its count and
      weights moved on.
    """
    # One array for both weights: each scalar more would be a kernel more on a CPU.
    w = next_weights(rule, state.w)
    c = 1 / w
    rate = rate_at(rule.learning_rate, state.t)
    h = {"rate": rate, "b1": rule.b1, "b2": rule.b2, "eps": rule.eps, "c1": c[0], "c2": c[1]}
    return SimpleNamespace(**h, **numbers), state._replace(t=state.t + 1, w=w)


def next_weights(rule: Any, w: jax.Array) -> jax.Array:
    """The weights 1 - b1^t and 1 - b2^t after one more step."""
    b = jnp.stack([jnp.asarray(b, w.dtype) for b in (rule.b1, rule.b2)])
    after: jax.Array = weigh(b, w)
    return after


def moments(h: Any, g: Any, m: Any, v: Any) -> tuple[Any, Any]:
    """The next moments: m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2."""
    return h.b1 * m + (1 - h.b1) * g, h.b2 * v + (1 - h.b2) * square(g)


def divisor(h: Any, v: Any, *v_max: Any) -> Any:
    """v_hat = c2 v, or with AMSGrad the largest one so far."""
    return larger(v_max[0], h.c2 * v) if v_max else h.c2 * v


def adam_step(
    equations: Callable[..., Any],
    h: SimpleNamespace,
    grads: PyTree,
    state: AdamState,
    params: PyTree = None,
) -> tuple[PyTree, AdamState]:
    """The updates and the state after it, from `equations(h, g, m, v[, v_max][, x])`."""
    v_max = () if state.v_max is None else (state.v_max,)
    updates, *after = by_leaf(equations, h, grads, state.m, state.v, *v_max, params=params)
    return updates, AdamState(state.t, state.w, *after)


@pytree
class Adam:
    """Steps along a moving average, scaled by one of squares; AMSGrad.

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        c1 = 1 / (1 - b1^t),  c2 = 1 / (1 - b2^t)
        v_hat = c2 v                      (amsgrad: max(v_hat, c2 v))
        u = -rate c1 m / (sqrt(v_hat) + eps)

    As in optax and PyTorch, eps stands outside the root. Their AMSGrads differ in whether the
    maximum is taken of the corrected v; here it is, as in optax.

    Reference: Kingma and Ba (2015), arXiv:1412.6980; Reddi et al. (2018), arXiv:1904.09237.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.Adam(0.1))
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to the root of v", at_least=0)
    amsgrad: bool = static(default=False, doc="divide by the largest v so far")

    def init(self, params: PyTree) -> AdamState:
        """Zero moments."""
        return no_moments(params, amsgrad=self.amsgrad)

    def update(
        self, grads: PyTree, state: AdamState, params: PyTree = None
    ) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        del params
        h, state = corrected(self, state)

        def equations(h: Any, g: Any, m: Any, v: Any, *v_max: Any) -> Any:
            m, v = moments(h, g, m, v)
            v_hat = divisor(h, v, *v_max)
            u = -(h.rate * h.c1) * m / (root(v_hat) + h.eps)
            return (u, m, v, v_hat) if v_max else (u, m, v)

        return adam_step(equations, h, grads, state)


@pytree
class AdamW:
    """Adam with decoupled weight decay.

        m, c1, v_hat as in Adam
        u = -rate (c1 m / (sqrt(v_hat) + eps) + weight_decay x)

    As in optax and PyTorch, the decay is multiplied by the rate. L2 in Adam, which its second
    moment scales, is `chain(WeightDecay(...), Adam(...))`.

    Reference: Loshchilov and Hutter (2019), arXiv:1711.05101.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.AdamW(0.1, weight_decay=0.0)
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), rule)
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to the root of v", at_least=0)
    amsgrad: bool = static(default=False, doc="divide by the largest v so far")
    weight_decay: Any = number(default=1e-4, doc="decay of the params, times the rate", at_least=0)

    def init(self, params: PyTree) -> AdamState:
        """Zero moments."""
        return no_moments(params, amsgrad=self.amsgrad)

    def update(self, grads: PyTree, state: AdamState, params: PyTree) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        h, state = corrected(self, state, weight_decay=self.weight_decay)

        def equations(h: Any, g: Any, m: Any, v: Any, *rest: Any) -> Any:
            *v_max, x = rest
            m, v = moments(h, g, m, v)
            v_hat = divisor(h, v, *v_max)
            u = -h.rate * (h.c1 * m / (root(v_hat) + h.eps) + h.weight_decay * x)
            return (u, m, v, v_hat) if v_max else (u, m, v)

        return adam_step(equations, h, grads, state, params)


@pytree
class NAdam:
    """Adam with Nesterov's look-ahead.

        m, v, c1, c2 as in Adam;  n1 = 1 / (1 - b1^(t + 1))
        u = -rate (b1 n1 m + (1 - b1) c1 g) / (sqrt(c2 v) + eps)

    As in optax, b1 is the same at every step; PyTorch lets it grow (Dozat's momentum schedule).

    Reference: Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.NAdam(0.1))
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to the root of v", at_least=0)

    def init(self, params: PyTree) -> AdamState:
        """Zero moments."""
        return no_moments(params)

    def update(
        self, grads: PyTree, state: AdamState, params: PyTree = None
    ) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        del params
        h, state = corrected(self, state)
        h.n1 = 1 / next_weights(self, state.w)[0]

        def equations(h: Any, g: Any, m: Any, v: Any) -> Any:
            m, v = moments(h, g, m, v)
            ahead = (h.b1 * h.n1) * m + ((1 - h.b1) * h.c1) * g
            u = -h.rate * ahead / (root(h.c2 * v) + h.eps)
            return u, m, v

        return adam_step(equations, h, grads, state)


@pytree
class RAdam:
    """Rectified Adam: plain momentum until the variance of v is under control.

        m, v, c1, c2 as in Adam
        p_inf = 2 / (1 - b2) - 1
        p = p_inf - 2 t b2^t / (1 - b2^t)
        r = sqrt((p - 4) (p - 2) p_inf / ((p_inf - 4) (p_inf - 2) p))
        u = -rate r c1 m / (sqrt(c2 v) + eps)     (p >= 5)
        u = -rate c1 m                            (p < 5)

    The threshold of 5 is optax's and PyTorch's; the paper says 4.

    Reference: Liu et al. (2020), arXiv:1908.03265.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), gd.RAdam(0.1))
      >>> [round(float(x), 4) for x in result.params]
      [3.0, 3.0]
    """

    keeps_nonfinite: ClassVar[bool] = True

    learning_rate: Any = number(doc="the learning rate, or a schedule", schedule=True, at_least=0)
    b1: Any = number(default=0.9, doc="decay of the first moment", at_least=0, below=1)
    b2: Any = number(default=0.999, doc="decay of the second moment", at_least=0, below=1)
    eps: Any = number(default=1e-8, doc="added to the root of v", at_least=0)

    def init(self, params: PyTree) -> AdamState:
        """Zero moments."""
        return no_moments(params)

    def update(
        self, grads: PyTree, state: AdamState, params: PyTree = None
    ) -> tuple[PyTree, AdamState]:
        """Updates to add to the params, and the next state."""
        del params
        h, state = corrected(self, state)
        t, w2 = state.t.astype(state.w.dtype), state.w[1]
        b2 = jnp.asarray(self.b2, w2.dtype)
        p_inf = 2 / (1 - b2) - 1
        # A power, since t multiplies it: in float32 1 - w2 stays at 3e-5 where b2^t goes to 0.
        p = p_inf - 2 * t * b2**t / w2
        settled = p >= 5
        # The root's argument is kept positive where the branch is not taken: where() alone would
        # let its NaN into the derivative.
        q, q_inf = jnp.where(settled, p, 5), jnp.where(settled, p_inf, 5)
        h.r = jnp.sqrt((q - 4) * (q - 2) * q_inf / ((q_inf - 4) * (q_inf - 2) * q))

        def equations(h: Any, g: Any, m: Any, v: Any) -> Any:
            m, v = moments(h, g, m, v)
            rectified = h.r * m / (root(h.c2 * v) + h.eps)
            u = -(h.rate * h.c1) * jnp.where(settled, rectified, m)
            return u, m, v

        return adam_step(equations, h, grads, state)
