"""Rates that stay or fall by a law."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree, static
from jaxgd.schedules.base import Scalar, check_boundaries, passed, progress, real


@pytree
class Constant:
    """The same rate at every step: rate = value.

    Example:
      >>> import jaxgd as gd
      >>> float(gd.Constant(0.5)(100))
      0.5
    """

    value: Scalar = number(doc="the learning rate", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        del step
        return real(self.value)


@pytree
class ExponentialDecay:
    """Multiply the rate by `rate` every `every` steps.

    rate(t) = max(floor, init * rate^(t / every)), with t / every rounded down for a staircase.

    Example:
      >>> import jaxgd as gd
      >>> schedule = gd.ExponentialDecay(0.5, rate=0.5, every=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 15)]
      [0.5, 0.25, 0.1768]
    """

    init: Scalar = number(doc="the rate at step 0", at_least=0)
    rate: Scalar = number(doc="the factor of one decay", at_least=0)
    every: Scalar = number(default=1, doc="steps per decay", whole=True, above=0)
    staircase: bool = static(default=False, doc="decay in jumps, not smoothly")
    floor: Scalar = number(default=0.0, doc="the lowest rate", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        decays = real(step) / real(self.every)
        decays = jnp.floor(decays) if self.staircase else decays
        return jnp.maximum(real(self.init) * real(self.rate) ** decays, real(self.floor))


@pytree
class InverseTimeDecay:
    """Divide the rate by a number that grows linearly: init / (1 + rate * t / every).

    With t / every rounded down for a staircase.

    Reference: Robbins and Monro (1951), doi:10.1214/aoms/1177729586.

    Example:
      >>> import jaxgd as gd
      >>> [float(gd.InverseTimeDecay(0.5, rate=1.0)(t)) for t in (0, 1, 3)]
      [0.5, 0.25, 0.125]
    """

    init: Scalar = number(doc="the rate at step 0", at_least=0)
    rate: Scalar = number(doc="how fast the divisor grows", at_least=0)
    every: Scalar = number(default=1, doc="steps per unit of time", whole=True, above=0)
    staircase: bool = static(default=False, doc="decay in jumps, not smoothly")

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        time = real(step) / real(self.every)
        time = jnp.floor(time) if self.staircase else time
        return real(self.init) / (1 + real(self.rate) * time)


@pytree
class PiecewiseConstant:
    """values[i] from step boundaries[i - 1] on, up to boundaries[i].

    Example:
      >>> import jaxgd as gd
      >>> schedule = gd.PiecewiseConstant([0.5, 0.25], boundaries=[100])
      >>> [float(schedule(t)) for t in (0, 99, 100)]
      [0.5, 0.5, 0.25]
    """

    values: Any = number(doc="the rates, one more than boundaries", rank=1, at_least=0)
    boundaries: Any = number(
        doc="the steps, rising, at which the next rate begins", rank=1, whole=True, at_least=0
    )

    def check(self, name: str) -> None:
        """Raise a ValueError unless the lists fit each other."""
        check_boundaries(jnp.shape(self.values)[0], self.boundaries, f"{name}.values", name)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        return real(self.values)[passed(self.boundaries, step)]


@pytree
class PolynomialDecay:
    """From init to end over `steps` steps; linear for power 1.

    rate(t) = (init - end) * (1 - min(t / steps, 1))^power + end.

    Example:
      >>> import jaxgd as gd
      >>> [float(gd.PolynomialDecay(1.0, end=0.5, steps=4)(t)) for t in (0, 2, 9)]
      [1.0, 0.75, 0.5]
    """

    init: Scalar = number(doc="the rate at step 0", at_least=0)
    end: Scalar = number(doc="the rate from step `steps` on", at_least=0)
    steps: Scalar = number(doc="steps from init to end", whole=True, above=0)
    power: Scalar = number(default=1.0, doc="the exponent", above=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        left = 1 - progress(step, self.steps)
        # 0 ** power has a NaN derivative in power at left = 0.
        factor = jnp.where(left > 0, jnp.where(left > 0, left, 1) ** real(self.power), 0)
        end = real(self.end)
        return (real(self.init) - end) * factor + end
