"""Rates that follow cosines."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.schedules.base import Scalar, progress, real


@pytree
class CosineDecay:
    """Half a cosine from init to alpha * init over `steps` steps.

    rate(t) = init * ((1 - alpha) * (1 + cos(pi * min(t / steps, 1))) / 2 + alpha).

    Reference: Loshchilov and Hutter (2017), arXiv:1608.03983.

    Example:
      >>> import jaxgd as gd
      >>> [round(float(gd.CosineDecay(1.0, steps=10)(t)), 4) for t in (0, 5, 10)]
      [1.0, 0.5, 0.0]
    """

    init: Scalar = number(doc="the rate at step 0", at_least=0)
    steps: Scalar = number(doc="steps until the lowest rate", whole=True, above=0)
    alpha: Scalar = number(default=0.0, doc="the lowest rate, as a part of init", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        return _cosine(real(self.init), real(self.alpha), progress(step, self.steps))


@pytree
class CosineRestarts:
    """SGDR: cosine decay that starts anew; the i-th period lasts period * growth^i steps.

    Reference: Loshchilov and Hutter (2017), arXiv:1608.03983.

    Example:
      >>> import jaxgd as gd
      >>> schedule = gd.CosineRestarts(1.0, period=10, growth=2.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    init: Scalar = number(doc="the rate at each restart", at_least=0)
    period: Scalar = number(doc="steps of the first period", whole=True, above=0)
    growth: Scalar = number(default=1.0, doc="the factor from a period to the next", at_least=1)
    alpha: Scalar = number(default=0.0, doc="the lowest rate, as a part of init", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        periods, growth = real(step) / real(self.period), real(self.growth)
        grows = growth > 1
        base = jnp.where(grows, growth, 2)
        # Restart i is at (growth^i - 1) / (growth - 1) periods. The logarithm may round across a
        # restart, so the number found is set right by looking at the restarts next to it; and so
        # may the power, by some units in the last place: a restart so near is now.
        eps = jnp.finfo(periods.dtype).eps  # type: ignore[no-untyped-call]
        reached = periods * (1 + 4 * eps)
        found = jnp.floor(jnp.log1p(periods * (base - 1)) / jnp.log(base))
        found = jax.lax.stop_gradient(found)
        found = jnp.where(_restart(base, found + 1) <= reached, found + 1, found)
        found = jnp.where(_restart(base, found) > reached, found - 1, found)
        inside = (periods - _restart(base, found)) / base**found
        inside = jnp.where(grows, inside, periods - jnp.floor(periods))
        return _cosine(real(self.init), real(self.alpha), inside)


@pytree
class OneCycle:
    """Up by half a cosine from peak / start_factor to peak, and down to that / end_factor.

    The rise takes warmup * steps steps; after `steps` the rate stays at
    peak / (start_factor * end_factor).

    Reference: Smith and Topin (2018), arXiv:1708.07120.

    Example:
      >>> import jaxgd as gd
      >>> schedule = gd.OneCycle(1.0, steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 3, 10)]
      [0.04, 1.0, 0.0]
    """

    peak: Scalar = number(doc="the highest rate", at_least=0)
    steps: Scalar = number(doc="steps of the whole cycle", whole=True, above=0)
    warmup: Scalar = number(default=0.3, doc="the part of the steps that rises", above=0, below=1)
    start_factor: Scalar = number(default=25.0, doc="peak over the first rate", above=0)
    end_factor: Scalar = number(default=1e4, doc="first rate over the last", above=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        time, warmup, peak = progress(step, self.steps), real(self.warmup), real(self.peak)
        start = peak / real(self.start_factor)
        end = start / real(self.end_factor)
        rise = _half_cosine(start, peak, jnp.minimum(time / warmup, 1))
        fall = _half_cosine(peak, end, jnp.maximum((time - warmup) / (1 - warmup), 0))
        return jnp.where(time < warmup, rise, fall)


def _half_cosine(start: jax.Array, end: jax.Array, progress: jax.Array) -> jax.Array:
    return end + (start - end) * (1 + jnp.cos(jnp.pi * progress)) / 2


def _cosine(init: jax.Array, alpha: jax.Array, progress: jax.Array) -> jax.Array:
    return init * ((1 - alpha) * (1 + jnp.cos(jnp.pi * progress)) / 2 + alpha)


def _restart(growth: jax.Array, count: jax.Array) -> jax.Array:
    return (growth**count - 1) / (growth - 1)
