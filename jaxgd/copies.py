"""Copies of a run, so that a program may be given its arrays."""

from typing import Any

import jax
import numpy as np

from jaxgd.engines import Ongoing, ongoing_from
from jaxgd.loop import Carry
from jaxgd.programs import is_placed


def from_copies(carry: Carry, lowest: Any) -> Ongoing:
    """A run at `carry` that may be given away: the carry's own arrays live on."""
    copied: Ongoing = jax.tree.map(duplicate, ongoing_from(carry, lowest))
    return copied


def duplicate(leaf: Any) -> Any:
    """A copy that shares no memory, where the array lies."""
    plain = isinstance(leaf.dtype, np.dtype) and not is_placed(leaf)
    if plain and (isinstance(leaf, np.ndarray | np.generic) or _is_on_cpu(leaf)):
        return np.array(leaf)  # faster by far, and taken by a program as well
    return jax.device_put(leaf, may_alias=False)


def _is_on_cpu(leaf: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in leaf.devices())
