"""Schedules made of schedules."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgd.pytree import number, pytree
from jaxgd.schedules.base import (
    Scalar,
    check_boundaries,
    passed,
    progress,
    rate_at,
    real,
    steps_since,
)


@pytree
class Warmup:
    """A linear rise from init to schedule(0) over `steps` steps, and then the schedule.

    Reference: Goyal et al. (2017), arXiv:1706.02677.

    Example:
      >>> import jaxgd as gd
      >>> schedule = gd.Warmup(gd.Constant(1.0), steps=4)
      >>> [float(schedule(t)) for t in (0, 2, 4, 9)]
      [0.0, 0.5, 1.0, 1.0]
    """

    schedule: Any = number(doc="what follows: a schedule or a rate", schedule=True, at_least=0)
    steps: Scalar = number(doc="steps of the rise", whole=True, at_least=0)
    init: Scalar = number(default=0.0, doc="the rate at step 0", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        since = steps_since(self.steps, step)
        # During the rise this is schedule(0), its peak.
        following, init = rate_at(self.schedule, jnp.maximum(since, 0)), real(self.init)
        rise = init + (following - init) * progress(step, self.steps)
        return jnp.where(since < 0, rise, following)


@pytree
class Join:
    """One schedule after another; each sees the steps since its own beginning.

    Example:
      >>> import jaxgd as gd
      >>> halves = gd.ExponentialDecay(1.0, rate=0.5)
      >>> schedule = gd.Join([gd.Constant(0.25), halves], boundaries=[2])
      >>> [float(schedule(t)) for t in (0, 1, 2, 3)]
      [0.25, 0.25, 1.0, 0.5]
    """

    schedules: Any = number(
        doc="the schedules, or rates, one more than boundaries", rank=1, schedule=True, at_least=0
    )
    boundaries: Any = number(
        doc="the steps, rising, at which the next schedule begins", rank=1, whole=True, at_least=0
    )

    def check(self, name: str) -> None:
        """Raise a ValueError unless the lists fit each other."""
        check_boundaries(len(self.schedules), self.boundaries, f"{name}.schedules", name)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        boundaries = jnp.asarray(self.boundaries, jnp.int32)
        begins = jnp.concatenate([jnp.zeros(1, jnp.int32), boundaries])
        rates = [
            rate_at(schedule, jnp.maximum(steps_since(begin, step), 0))
            for schedule, begin in zip(self.schedules, begins, strict=True)
        ]
        return jnp.stack(rates)[passed(boundaries, step)]
