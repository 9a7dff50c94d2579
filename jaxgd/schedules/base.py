"""What every schedule is made of: the rate at a step, and the part of a length that has passed."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxgd.canonical import canonical_float

Scalar = chex.Numeric
Schedule = Callable[[Any], Any]


def rate_at(learning_rate: Any, step: Any) -> jax.Array:
    """The learning rate at `step`: a schedule's value there, or the number itself.

    Args:
      learning_rate: a number or a callable `step -> rate`.
      step: integer scalar, 0 for the first update.

    Returns:
      A scalar of the default float dtype.
    """
    rate = learning_rate(step) if callable(learning_rate) else learning_rate
    return real(rate)


def real(value: Any) -> jax.Array:
    """`value` as an array of the default float dtype."""
    return jnp.asarray(value, canonical_float())


def progress(step: Any, length: Any) -> jax.Array:
    """The part of `length` steps that has passed, from 0 to 1; 1 at once if there are none."""
    return jnp.clip(real(step) / jnp.maximum(real(length), 1), 0, 1)


def passed(boundaries: Any, step: Any) -> jax.Array:
    """How many of the boundaries lie at or before `step`."""
    later = steps_since(jnp.asarray(boundaries, jnp.int32), step) >= 0
    return jnp.sum(later, dtype=jnp.int32)


def steps_since(begin: Any, step: Any) -> jax.Array:
    """How many steps after `begin` it is, negative before it; whatever integers both are."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(step) - jnp.asarray(begin)


def check_boundaries(count: int, boundaries: Any, what: str, name: str) -> None:
    """Raise a ValueError unless `boundaries` rise and divide the steps into `count` parts."""
    length = jnp.shape(boundaries)[0]
    if count != length + 1:
        raise ValueError(
            f"{what} must have one entry more than {name}.boundaries, got {count} and {length}"
        )
    if isinstance(boundaries, jax.core.Tracer):
        return
    steps = [int(boundary) for boundary in boundaries]
    if sorted(set(steps)) != steps:
        raise ValueError(f"{name}.boundaries must rise, got {steps}")
