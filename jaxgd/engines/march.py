"""A block of lanes: many runs that make their steps together, each until it ends."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.engines.layout import laid
from jaxgd.loop import Carry
from jaxgd.record import Row, blank, write
from jaxgd.tree import PyTree
from jaxgd.walk import Walk

Pieces = tuple[Callable[[Any, Carry], Any], Callable[[Any, Walk, Any], tuple[Walk, Row]]]
"""A step of one run: its evaluation, from its own values and where it is; and the rest."""

STATE_BYTES = {"cpu": 2**20}
"""Of a block's runs, so that a step finds them in the cache; elsewhere a share of the memory."""
ELSEWHERE = 2**28
MOST_LANES = {"cpu": 128}
MOST_ELSEWHERE = 2**16
WORK = 2_000_000
"""Elementary operations of a chunk."""
STEP_WORK = 4_000_000
"""Elementary operations of a step of all lanes, but for the fewest: they are paid for by idle lanes
too, and where a run alone fills the vectors, more of them side by side gain little."""
FEWEST = 8
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
    on_cpu: bool
    lanes_last: bool
    """Whether the axis of the lanes is the last one in memory."""


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
    lanes_last: bool
    """Whether an evaluation is faster with the lanes last in memory, on a CPU."""


def lane_sizes(load: Load, lanes: int | None, chunk: int | None) -> LaneSizes:
    """The sizes that suit a device, but for the lanes and the chunk that are given."""
    if lanes is None:
        most = MOST_LANES.get(load.platform, MOST_ELSEWHERE)
        fit = STATE_BYTES.get(load.platform, ELSEWHERE) // max(load.run_bytes, 1)
        busy = max(FEWEST, STEP_WORK // max(load.work, 1))
        lanes = 2 ** int(np.log2(np.clip(min(fit, busy), 1, most)))
    if chunk is None:
        fit = WORK // (max(load.work, 1) * lanes)
        chunk = 2 ** int(np.log2(np.clip(fit, 8, 32)))
    window = int(np.clip(START_BYTES // max(load.start_bytes, 1), 1, AHEAD * lanes))
    film = max(1, FILM_BYTES // (load.row_bytes * chunk * lanes)) if load.row_bytes else 0
    on_cpu = load.platform == "cpu"
    return LaneSizes(lanes, chunk, window, film, on_cpu, on_cpu and load.lanes_last and lanes >= 8)


def march(
    pieces: Pieces, own: Any, walks: Walk, length: jax.Array, *, sizes: LaneSizes, rows: Row | None
) -> tuple[Walk, Any]:
    """Let every lane make `length` steps.

    Args:
      pieces: of one step of one run.
      own: the values that are each run's own, with a leading axis of lanes.
      walks: the runs, the same.
      length: int32, at most a chunk.
      sizes: of the block.
      rows: the shapes of one row of all lanes; None where nothing is recorded.

    Returns:
      The runs after the steps, and their rows, (chunk, lanes, ...).
    """
    evaluate, go_on = jax.vmap(pieces[0]), jax.vmap(pieces[1])

    def lay(tree: PyTree) -> PyTree:
        return laid(tree, lanes_last=True) if sizes.lanes_last else tree

    def body(s: Any) -> Any:
        i, walks, film = s
        evaluated = evaluate(own, walks.carry)
        if sizes.on_cpu:
            evaluated = laid(evaluated, lanes_last=sizes.lanes_last)
        walks, row = go_on(own, walks, evaluated)
        return i + 1, lay(walks), write(film, i, recorded(row, rows))

    start = (jnp.int32(0), lay(walks), blank(rows, sizes.chunk))
    _, walks, film = lax.while_loop(lambda s: s[0] < length, body, start)
    return walks, film


def recorded(row: Row, like: Row | None) -> Any:
    """Only what is recorded of a row."""
    return jax.tree.map(
        lambda kept, seen: None if kept is None else seen, like, row, is_leaf=lambda x: x is None
    )
