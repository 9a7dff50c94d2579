"""What an engine is: how a run advances on the device, and what it keeps between two calls."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from jaxgd.engines.march import LaneSizes, Load
from jaxgd.loop import Carry, Descent
from jaxgd.pytree import pytree
from jaxgd.record import Row
from jaxgd.status import Status
from jaxgd.tree import PyTree

SUSPECT = -1
"""A status of the device's only: a step has left something that is not finite behind, and the host
must say whether its gradient was to blame."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Static lengths, in rows."""

    piece: int
    chunk: int
    room: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the lengths of a run depend on."""

    work: int
    """Elementary operations of a step."""
    row_bytes: int
    """Of the largest number in a row."""
    snapshot_bytes: int
    """Of the params and aux that are recorded."""
    every: int
    """Steps from one recorded row to the next."""
    goes_back: bool
    """Whether steps are made again in the end: for a best iterate, or where a test ended it."""


@pytree
class Ongoing:
    """A run between two calls of the compiled program."""

    carry: Carry
    """About to evaluate the row of its step; of an ended run, where its last chunk began."""
    before: Carry
    """Where the chunk before `carry` began."""
    best: Carry | None
    """Where the chunk with the lowest loss began; None if the last iterate is to be returned."""
    lowest: Any
    status: Any
    steps: Any
    """int32: the row at which the run ended."""
    careful: Any
    """int32: up to this step chunks are of one step, to find which gradient is not finite."""


def ongoing_from(carry: Carry, lowest: Any) -> Ongoing:
    """A run that begins, or goes on, at `carry`; `lowest` is None if no best iterate is sought."""
    best = None if lowest is None else carry
    return Ongoing(carry, carry, best, lowest, np.int32(Status.RUNNING), carry.step, carry.step)


@pytree
class Goal:
    """How far a call shall go."""

    until: Any
    """int32: the step to reach."""
    final: Any
    """bool: there, evaluate a last row and end the run."""
    trusted: Any
    """bool: the gradients up to there are known to be finite."""

    @classmethod
    def of(cls, until: int, *, final: bool = False, trusted: bool = False) -> "Goal":
        """A goal from the host."""
        return cls(np.int32(until), np.bool_(final), np.bool_(trusted))


@pytree
class Output:
    """What one call returns besides the run."""

    report: jax.Array
    """int32: status, steps, first row, rows, and the steps of carry, before and best."""
    rows: Row
    """Scalars of each row, without params."""
    rates: Any
    """The learning rate at each row; None if it is one number, or not recorded."""
    snapshots: PyTree
    """The params and aux at the recorded steps, None if they are not recorded."""


class Engine(Protocol):
    """What the driver asks of an engine. It is hashable, and equal ones make the same program."""

    def checked(self) -> "Engine":
        """The same with checked fields, or an error that names one."""
        ...

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What XLA is told besides."""
        ...

    def sizes(self, cost: Cost) -> Sizes:
        """Static lengths."""
        ...

    def described(self, sizes: Sizes | LaneSizes) -> str:
        """What ran, for the result."""
        ...

    def advance(
        self, descent: Descent, sizes: Sizes, run: Ongoing, goal: Goal
    ) -> tuple[Ongoing, Output]:
        """Advance to the goal, the end of the run, or the end of the room for rows."""
        ...

    def lane_sizes(self, load: Load, lanes: int | None) -> LaneSizes:
        """Static lengths of a block of lanes, of which there are as many as suits the device."""
        ...

    def whole(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)`, compiled as this engine compiles what repeats."""
        ...
