"""The plain engine: takes every loss; the reference for all others."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxgd.engines.base import Cost, Goal, Ongoing, Output, Sizes
from jaxgd.engines.chunks import advance, checked_chunk, run_sizes, steps
from jaxgd.engines.march import LaneSizes, Load, lane_sizes
from jaxgd.loop import Descent

PIECE_BYTES = 512
"""Of the innermost buffer of rows. XLA:CPU runs the kernels of a loop one after another, without a
scheduler between them, if none of its buffers is larger."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """The plain engine.

    Args:
      chunk: steps from one look at the rows to the next, rounded up to a multiple of 128 (64 for
        losses of 8 bytes) if it is larger than that; by default from the work that a step is. It
        changes results by rounding at most.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda x: x ** 2, 1.0, gd.Adam(0.1), engine=gd.engines.Plain(64))
      >>> result.engine
      'plain(chunk=64)'
    """

    chunk: int | None = None

    def checked(self) -> "Plain":
        """The same with a checked chunk; raises a TypeError or ValueError that names it."""
        return Plain(checked_chunk(self.chunk))

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What XLA is told besides: nothing."""
        return {}

    def sizes(self, cost: Cost) -> Sizes:
        """Static lengths."""
        chunk, room = run_sizes(self.chunk, cost)
        piece = min(PIECE_BYTES // cost.row_bytes, chunk)
        chunk = -(-chunk // piece) * piece
        return Sizes(piece, chunk, room + chunk)

    def described(self, sizes: Sizes | LaneSizes) -> str:
        """What ran, for the result."""
        return f"plain(chunk={sizes.chunk})"

    def lane_sizes(self, load: Load, lanes: int | None) -> LaneSizes:
        """Static lengths of a block of lanes, of which there are as many as suits the device."""
        return lane_sizes(load, lanes, self.chunk)

    def whole(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)`."""
        return function(*args)

    def advance(
        self, descent: Descent, sizes: Sizes, run: Ongoing, goal: Goal
    ) -> tuple[Ongoing, Output]:
        """Advance to the goal, the end of the run, or the end of the room for rows."""
        return advance(steps, descent, sizes, run, goal)
