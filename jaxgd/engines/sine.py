"""Sine and cosine that vectorise. XLA:CPU calls a function of the C library for each entry.

Reference: Cody and Waite (1980), Software manual for the elementary functions, chapter 8.
"""

import jax
import jax.numpy as jnp
import numpy as np

FARTHEST = 8192.0
"""Up to there multiples of pi are subtracted without an error to speak of. Beyond it the answer is
NaN: whoever calls this must be able to ask again."""
_PI = (3.140625, 9.670257568359375e-4, 6.278329465203569e-7)
"""In three parts, of which products with small whole numbers and halves are exact."""
_SERIES = (-0.1666665949178058, 0.008333064610917854, -0.0001980947488923984, 2.605481444858948e-06)
"""sin(x) = x + x^3 (a + b x^2 + ...) up to pi / 2, with a relative error of at most 6.2e-9."""


def sine(x: jax.Array) -> jax.Array:
    """The sine of float32, to 1.2e-7; NaN beyond `FARTHEST`."""
    half_turns = jnp.floor(x * np.float32(1 / np.pi) + 0.5)
    return _sign(half_turns) * _of_rest(x, half_turns)


def cosine(x: jax.Array) -> jax.Array:
    """The cosine of float32, the same."""
    half_turns = jnp.floor(x * np.float32(1 / np.pi))
    return -_sign(half_turns) * _of_rest(x, half_turns + 0.5)


def _sign(half_turns: jax.Array) -> jax.Array:
    return 1 - 2 * (half_turns - 2 * jnp.floor(half_turns * 0.5))


def _of_rest(x: jax.Array, half_turns: jax.Array) -> jax.Array:
    """The sine of x - half_turns * pi."""
    x = jnp.where(jnp.abs(x) <= FARTHEST, x, jnp.nan)
    for part in _PI:
        x = x - half_turns * part
    square = x * x
    total = jnp.full_like(x, _SERIES[-1])
    for number in _SERIES[-2::-1]:
        total = total * square + number
    return x + x * square * total
