"""A block of lanes: many runs that make their steps together, each until it ends."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.engines.layout import Manner, laid, laid_for_reductions
from jaxgd.loop import Carry
from jaxgd.record import Row, blank, write
from jaxgd.status import Status
from jaxgd.tree import PyTree
from jaxgd.walk import End, Kept, Walk


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A step of one run; each takes first the values that are the run's own."""

    evaluate: Callable[[Any, Carry], Any]
    """Loss and gradients at an iterate."""
    walk: Callable[[Any, Walk, Any], tuple[Walk, Row]]
    """The rest of a step, from what was evaluated."""
    stride: Callable[[Any, Walk, Any], tuple[Walk, Row]] | None
    """The same, faster, for a run that has nothing but finite numbers; None if there is no such."""
    taint: Callable[[Any, Any], jax.Array]
    """NaN if what was evaluated is not finite, as far as nothing that is left will tell."""
    clean: Callable[[Any, Carry, Any], jax.Array]
    """Whether all that is left, and what was evaluated there, is finite."""
    seen: Callable[[Any, Carry, Any], Kept]
    """An iterate and what was evaluated there, as what is kept of a run."""
    stops: bool
    """Whether strides stop by themselves; else no more of them may be made than are left."""


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
FILM_BYTES = 2**22
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
    in_kernel: bool = False
    """Whether steps are in one kernel."""


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


def lane_sizes(
    load: Load, lanes: int | None, chunk: int | None, *, in_kernel: bool = False
) -> LaneSizes:
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
    lanes_last = on_cpu and (load.lanes_last or in_kernel) and lanes >= FEWEST
    return LaneSizes(lanes, chunk, window, film, on_cpu, lanes_last, in_kernel)


def march(
    pieces: Pieces, own: Any, walks: Walk, end: End, *, sizes: LaneSizes, rows: Row | None
) -> tuple[Walk, Any]:
    """Let every lane make a chunk of steps, or as many as the run with the most rows left has.

    Args:
      pieces: of one step of one run.
      own: the values that are each run's own, with a leading axis of lanes.
      walks: the runs, the same.
      end: where they end at the latest.
      sizes: of the block.
      rows: the shapes of one row of all lanes; None where nothing is recorded.

    Returns:
      The runs after the steps, and their rows, (chunk, lanes, ...).
    """
    length = jnp.clip(most_left(walks, end), 0, sizes.chunk)
    step, film = Step(pieces.evaluate, pieces.walk, own, sizes, rows), blank(rows, sizes.chunk)
    _, walks, film = step.repeat(jnp.int32(0), length, walks, film)
    return walks, film


def most_left(walks: Walk, end: End) -> jax.Array:
    """How many rows are left of the run with the most."""
    left = end.rows - walks.carry.step
    return jnp.max(jnp.where(walks.status == Status.RUNNING, left, 0))


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of all lanes."""

    evaluation: Callable[[Any, Carry], Any]
    rest: Callable[[Any, Any, Any], tuple[Any, Row]]
    own: Any
    sizes: LaneSizes
    rows: Row | None
    carry_of: Callable[[Any], Carry] = operator.attrgetter("carry")
    approximate: bool = False
    """Whether an evaluation may be NaN where it is far from 0, since it can be made again."""

    def evaluate(self, carry: Carry) -> Any:
        """Loss and gradients of all lanes."""
        evaluate, sizes = jax.vmap(self.evaluation), self.sizes
        if sizes.in_kernel and sizes.lanes_last:
            manner = Manner(sizes.lanes, self.approximate)
            evaluated = laid_for_reductions(evaluate, manner, self.own, carry)
        else:
            evaluated = evaluate(self.own, carry)
        return laid(evaluated, lanes_last=sizes.lanes_last) if sizes.on_cpu else evaluated

    def lay(self, tree: PyTree) -> PyTree:
        """Arrays of lanes in the layout in which steps are made."""
        return laid(tree, lanes_last=True) if self.sizes.lanes_last else tree

    def repeat(self, first: Any, until: Any, walks: Any, film: Any) -> tuple[Any, Any, Any]:
        """The rows from `first` to `until` of a film, with the steps that follow them."""
        rest = jax.vmap(self.rest)

        def body(s: Any) -> Any:
            i, walks, film = s
            walks, row = rest(self.own, walks, self.evaluate(self.carry_of(walks)))
            return i + 1, self.lay(walks), write(film, i, recorded(row, self.rows))

        start = (first, self.lay(walks), film)
        done: tuple[Any, Any, Any] = lax.while_loop(lambda s: s[0] < until, body, start)
        return done


def recorded(row: Row, like: Row | None) -> Any:
    """Only what is recorded of a row."""
    return jax.tree.map(
        lambda kept, seen: None if kept is None else seen, like, row, is_leaf=lambda x: x is None
    )
