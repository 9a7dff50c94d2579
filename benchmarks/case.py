"""What a case is: contenders at one work, and what is aimed at."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.measure import LIMIT, OURS, PEER, Contender, Timing

LAST, BEST = 'jaxgd, keep="last", no tests', 'jaxgd, keep="best", gtol'
"""Names of our two rows."""
SECOND = 0.6
"""The share of a target that is wanted of the second row, against peers that do neither."""


class SkippedError(Exception):
    """A peer or a case that cannot run here; the message says why, in one line."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What is wanted of one of our rows, against others of the same case.

    `over` is "peer" for the best peer, "limit", or what the names of some contenders begin with.
    """

    over: str = PEER
    faster: float | None = None
    """At least so many times as fast."""
    slower: float | None = None
    """At most so many times the time."""
    excess: float | None = None
    """At most so many seconds more; against nobody, at most so many seconds."""
    row: str = LAST


@dataclasses.dataclass(frozen=True)
class Case:
    """The work of a case in words, who does it, and what is aimed at."""

    work: str
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: Callable[[], Sequence[str]] = tuple
    """More notes, of what is known only when all has run."""
    repetitions: int | None = None
    """At most; where each repetition compiles or starts a process."""
    close: float = 0.05
    """How far the median final losses may lie apart, relative to the largest."""


def gather(makers: Iterable[Callable[[], Contender]]) -> tuple[list[Contender], list[str]]:
    """The contenders that can be made here, and a line for each that cannot."""
    made, notes = [], []
    for make in makers:
        try:
            made.append(make())
        except SkippedError as why:
            if str(why) not in notes:
                notes.append(str(why))
    return made, notes


def both_rows(*targets: Target) -> tuple[Target, ...]:
    """Targets of the first row, and the share of those against peers for the second."""
    second = [
        dataclasses.replace(target, faster=target.faster * SECOND, row=BEST)
        for target in targets
        if target.faster is not None
    ]
    return (*targets, *second)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A target, what was reached, and whether that is enough (None: nobody to compare with)."""

    row: str
    wanted: str
    reached: float
    met: bool | None


def judged(case: Case, timings: dict[str, Timing]) -> list[Verdict]:
    """Each target of a case next to what was reached."""
    return [_verdict(target, case, timings) for target in case.targets if target.row in timings]


def _verdict(target: Target, case: Case, timings: dict[str, Timing]) -> Verdict:
    ours, rivals = timings[target.row].median, rivals_of(target.over, case, timings)
    other = min(rivals, default=math.nan)
    named = {PEER: "the best peer", LIMIT: "the limit"}.get(target.over, target.over)
    if target.faster is not None:
        wanted, reached = f">= {target.faster:.3g} times as fast as {named}", other / ours
        met = reached >= target.faster
    elif target.slower is not None:
        wanted, reached = f"<= {target.slower:.3g} times the time of {named}", ours / other
        met = reached <= target.slower
    else:
        more = f" more than {named}" if target.over else ""
        wanted = f"<= {target.excess * 1e3:.3g} ms{more}"
        reached = 1e3 * (ours - other if target.over else ours)
        met = reached <= target.excess * 1e3
    return Verdict(target.row, wanted, reached, None if math.isnan(reached) else met)


def rivals_of(over: str, case: Case, timings: dict[str, Timing]) -> list[float]:
    """Median seconds of those that a target looks at."""
    chosen = []
    for one in case.contenders:
        fits = one.kind == over if over in (PEER, LIMIT) else one.name.startswith(over)
        if fits and one.kind != OURS and one.name in timings:
            chosen.append(timings[one.name].median)
    return chosen


def disagreements(case: Case, losses: dict[str, float]) -> list[str]:
    """Who ends at another loss than most of those who do the same work, in words."""
    same = {
        one.name: losses[one.name]
        for one in case.contenders
        if one.kind in (OURS, PEER, LIMIT) and not math.isnan(losses.get(one.name, math.nan))
    }
    if not same:
        return []
    middle = sorted(same.values())[len(same) // 2]
    room = case.close * max(abs(middle), 1e-6)
    return [
        f"{name} ends at a loss of {loss:.4g}, others at {middle:.4g}"
        for name, loss in same.items()
        # The best iterate may be better than the last one of the others.
        if loss > middle + room or (loss < middle - room and name != BEST)
    ]
