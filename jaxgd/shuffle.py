"""A shuffle without a sort: a keyed bijection of positions, computed where it is needed.

What draws `ROUNDS` words from a key, and mixes the number of an epoch or of a run into them, gives
each epoch of each run an order of its own, and no permutation is ever stored. Position and index
are uint32; the functions take arrays of NumPy as well as of JAX, to the same bits.

References: Black and Rogaway (2002), Ciphers with arbitrary finite domains, CT-RSA, for the Feistel
network over two factors and the walk along cycles; Wellons (2018), the integer hash "lowbias32".
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ROUNDS = 16
"""Of the Feistel network. With 12, a few examples come in some orders more often than in others."""
ROUNDS_OF_MANY = 8
"""The same where there are at least `MANY` examples, whose halves are large."""
MANY = 256
MOST = 2**31 - 1
"""Examples at most."""


def order_from(key: Any) -> jax.Array:
    """The words that say in which order examples come: uint32, (ROUNDS,)."""
    return jax.random.bits(key, (ROUNDS,), jnp.uint32)


def reordered(order: Any, number: Any) -> Any:
    """The words of other orders, (..., ROUNDS), for numbers, uint32 (..., 1) or one scalar."""
    return mixed(order ^ mixed(number + _GOLDEN))


def shuffled(positions: jax.Array, order: jax.Array, count: int) -> jax.Array:
    """Which of `count` examples come at some positions; a permutation of all of them.

    Args:
      positions: uint32, all < count.
      order: uint32, (ROUNDS,); or (n, ROUNDS) for positions (n, ...).
      count: of the examples, static.
    """
    index = _network(positions, order, count)
    inside: jax.Array = lax.while_loop(
        lambda index: jnp.any(index >= count),
        lambda index: jnp.where(index < count, index, _network(index, order, count)),
        index,
    )
    return inside


def shuffled_on_host(positions: Any, order: Any, count: int) -> np.ndarray[Any, Any]:
    """The same in NumPy."""
    index = _network(positions, order, count)
    while np.any(index >= count):
        index = np.where(index < count, index, _network(index, order, count))
    return np.asarray(index)


def mixed(word: Any) -> Any:
    """A bijection of uint32 in which each bit of the outcome depends on all bits."""
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> np.uint32(15))) * np.uint32(0x846CA68B)
    return word ^ (word >> np.uint32(16))


_GOLDEN = np.uint32(0x9E3779B9)


def _network(index: Any, order: Any, count: int) -> Any:
    """A bijection of the numbers below rows * columns, which is hardly more than `count`."""
    # An even number of rows, or all permutations would be even ones.
    even = 2 * math.ceil(math.sqrt(count) / 2)
    rows, columns = np.uint32(even), np.uint32(-(-count // even))
    left, right = index // columns, index % columns
    for i in range(0, ROUNDS if count < MANY else ROUNDS_OF_MANY, 2):
        for_left, for_right = order[..., i : i + 1], order[..., i + 1 : i + 2]
        left = _turned(left, mixed(right ^ for_left), rows)
        right = _turned(right, mixed(left ^ for_right), columns)
    return left * columns + right


def _turned(part: Any, word: Any, size: Any) -> Any:
    """`part` moved on in a circle of `size` places, at most 2**16, by a share of it.

    Without a division: they do not vectorise.
    """
    part = part + ((word >> np.uint32(16)) * size >> np.uint32(16))
    return part - size * (part >= size).astype(np.uint32)
