"""The engine for CPUs: steps in one kernel, for losses of which all can be in it."""

import dataclasses
import functools
from typing import Any

import jax

from jaxgd.engines.base import Cost, Goal, Ongoing, Output, Sizes
from jaxgd.engines.chunks import advance, checked_chunk, run_sizes, steps
from jaxgd.engines.kernel import one_kernel
from jaxgd.engines.march import LaneSizes, Load, lane_sizes
from jaxgd.loop import Carry, Descent


@dataclasses.dataclass(frozen=True)
class Cpu:
    """Steps in one kernel, on a CPU; where a loss or a rule does not allow it, the plain engine.

    Args:
      chunk: steps from one look at the rows to the next; by default from the work that a step is.
        It changes results by rounding at most.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda x: x ** 2, 1.0, gd.Adam(0.1), engine=gd.engines.Cpu(64))
      >>> result.engine
      'cpu(chunk=64)'
    """

    chunk: int | None = None

    def checked(self) -> "Cpu":
        """The same with a checked chunk; raises a TypeError or ValueError that names it."""
        return Cpu(checked_chunk(self.chunk))

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What XLA is told besides.

        To give no reduction to a library, which no kernel can call; and to use vectors as long as
        the processor has them, where it prefers those of 256 bits.
        """
        return {"xla_cpu_experimental_ynn_fusion_type": "", "xla_cpu_prefer_vector_width": 512}

    def sizes(self, cost: Cost) -> Sizes:
        """Static lengths."""
        chunk, room = run_sizes(self.chunk, cost)
        return Sizes(chunk, chunk, room + chunk)

    def described(self, sizes: Sizes | LaneSizes) -> str:
        """What ran, for the result."""
        return f"cpu(chunk={sizes.chunk})"

    def lane_sizes(self, load: Load, lanes: int | None) -> LaneSizes:
        """Static lengths of a block of lanes, of which there are as many as suits the device."""
        return lane_sizes(load, lanes, self.chunk, in_kernel=True)

    whole = staticmethod(one_kernel)

    def advance(
        self, descent: Descent, sizes: Sizes, run: Ongoing, goal: Goal
    ) -> tuple[Ongoing, Output]:
        """Advance to the goal, the end of the run, or the end of the room for rows."""

        def whole(_: Descent, sizes: Sizes, start: Carry, length: jax.Array) -> Any:
            return one_kernel(functools.partial(steps, descent, sizes), start, length)

        return advance(whole, descent, sizes, run, goal)
