"""A block of lanes: many runs that make their steps together, each until it ends."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.record import Row, blank, write
from jaxgd.walk import Walk

Step = Callable[[Any, Walk], tuple[Walk, Row]]
"""One step of one run, from the values that are its own and where it is."""

STATE_BYTES = {"cpu": 2**20}
"""Of a block's runs, so that a step finds them in the cache; elsewhere a share of the memory."""
ELSEWHERE = 2**28
MOST_LANES = {"cpu": 256}
MOST_ELSEWHERE = 2**16
WORK = 2_000_000
"""Elementary operations of a chunk."""
FILM_BYTES = 2**24
"""Of the recorded rows that one call may return."""
START_BYTES = 2**25
"""Of a window of starts at most."""
AHEAD = 16
"""Starts of a window for each lane at most."""


@dataclasses.dataclass(frozen=True)
class LaneSizes:
    """Static lengths of a block."""

    lanes: int
    chunk: int
    """Steps from one look at which runs have ended to the next."""
    window: int
    """Starts that one call is given at most."""
    film: int
    """Chunks whose rows one call returns at most."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What a run asks of the device."""

    platform: str
    """Of the device, such as "cpu"."""
    work: int
    """Elementary operations of a step."""
    run_bytes: int
    """Of a run between two steps."""
    start_bytes: int
    """Of what a run begins with."""
    row_bytes: int
    """Of a recorded row; 0 if nothing is recorded."""


def lane_sizes(load: Load, lanes: int | None, chunk: int | None) -> LaneSizes:
    """The sizes that suit a device, but for the lanes and the chunk that are given."""
    if lanes is None:
        most = MOST_LANES.get(load.platform, MOST_ELSEWHERE)
        fit = STATE_BYTES.get(load.platform, ELSEWHERE) // max(load.run_bytes, 1)
        lanes = 2 ** int(np.log2(np.clip(fit, 1, most)))
    if chunk is None:
        fit = WORK // (max(load.work, 1) * lanes)
        chunk = 2 ** int(np.log2(np.clip(fit, 8, 32)))
    window = int(np.clip(START_BYTES // max(load.start_bytes, 1), 1, AHEAD * lanes))
    film = max(1, FILM_BYTES // (load.row_bytes * chunk * lanes)) if load.row_bytes else 0
    return LaneSizes(lanes, chunk, window, film)


def march(
    step: Step, own: Any, walks: Walk, length: jax.Array, *, room: int, rows: Row | None
) -> tuple[Walk, Any]:
    """Let every lane make `length` steps.

    Args:
      step: one step of one run.
      own: the values that are each run's own, with a leading axis of lanes.
      walks: the runs, the same.
      length: int32, at most `room`.
      room: rows to return.
      rows: the shapes of one row of all lanes, its leaves None where nothing is recorded.

    Returns:
      The runs after the steps, and their rows, (room, lanes, ...).
    """
    together = jax.vmap(step)

    def body(s: Any) -> Any:
        i, walks, film = s
        walks, row = together(own, walks)
        return i + 1, walks, write(film, i, recorded(row, rows))

    start = (jnp.int32(0), walks, blank(rows, room))
    _, walks, film = lax.while_loop(lambda s: s[0] < length, body, start)
    return walks, film


def recorded(row: Row, like: Row | None) -> Any:
    """Only what is recorded of a row."""
    return jax.tree.map(
        lambda kept, seen: None if kept is None else seen, like, row, is_leaf=lambda x: x is None
    )
