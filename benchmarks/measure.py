"""Timing that can be trusted on a noisy machine: interleaved, warm, medians with their spread."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

OURS, PEER, LIMIT, OTHER = "ours", "peer", "limit", "other"
"""What a contender is. A ratio to the best peer looks at peers only; `other` is what does less or
other work, or is no library, and is shown beside them."""


SHORT = 0.05
"""Seconds; a contender that is faster has several calls in each of its turns."""
MOST_CALLS = 20


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the work of a case."""

    name: str
    kind: str
    run: Callable[[], Any]
    """Does all of the work; what it returns is waited for."""
    losses: Callable[[Any], Any] | None = None
    """The final losses, from what `run` returned; None if they cannot be compared."""
    clocked: bool = False
    """`run` returns (seconds, outcome), by a clock of its own in another process."""

    def once(self) -> tuple[float, Any]:
        """Seconds, and what was returned."""
        if self.clocked:
            return self.run()
        began = time.perf_counter()
        outcome = jax.block_until_ready(self.run())
        return time.perf_counter() - began, outcome


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one contender."""

    first: float
    """The first call, which compiles."""
    median: float
    low: float
    """The quartiles."""
    high: float
    least: float
    loss: float
    """The median of the final losses; NaN if they cannot be compared."""


@dataclasses.dataclass(frozen=True)
class Warm:
    """What the first calls showed."""

    going: tuple[Contender, ...]
    first: dict[str, float]
    losses: dict[str, float]
    """The median of the final losses, NaN if they cannot be compared."""
    failed: tuple[str, ...]
    """A line for each that could not run."""


def warmed(contenders: Sequence[Contender]) -> Warm:
    """Call each once; a peer that cannot run is left out, and said."""
    going, first, losses, failed = [], {}, {}, []
    for one in contenders:
        try:
            first[one.name], outcome = one.once()
            losses[one.name] = final_loss(one, outcome)
            going.append(one)
        except Exception as why:
            if one.kind == OURS:
                raise
            line = str(why).strip().split("\n")[0]
            failed.append(f"{one.name}: skipped, {type(why).__name__}: {line}")
    return Warm(tuple(going), first, losses, tuple(failed))


def interleaved(warm: Warm, repetitions: int, longest: float) -> dict[str, Timing]:
    """Time each contender, in turn.

    Without a repetition it is the first call that counts. One that has taken more than `longest`
    seconds together sits out what is left, after two turns.
    """
    seconds: dict[str, list[float]] = {one.name: [] for one in warm.going}
    gc.collect()
    gc.disable()
    for turn in range(repetitions):
        for one in warm.going:
            if turn < 2 or sum(seconds[one.name]) < longest:
                seconds[one.name].append(_turn(one))
    gc.enable()
    return {
        name: _timing(times or [warm.first[name]], warm.first[name], warm.losses[name])
        for name, times in seconds.items()
    }


def _turn(one: Contender) -> float:
    """Seconds of a call.

    Of one that is short the median of some, after one that does not count: the caches are full of
    what the others did in the meantime.
    """
    seconds, _ = one.once()
    if seconds >= SHORT:
        return seconds
    some = min(MOST_CALLS, math.ceil(SHORT / max(seconds, 1e-9)))
    return statistics.median(one.once()[0] for _ in range(some))


def _timing(times: list[float], first: float, loss: float) -> Timing:
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return Timing(first, statistics.median(times), low, high, min(times), loss)


def final_loss(one: Contender, outcome: Any) -> float:
    """The median over the runs of the loss at the end."""
    return float("nan") if one.losses is None else float(np.median(one.losses(outcome)))
