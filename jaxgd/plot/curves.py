"""What runs recorded, against the step: one line a run, or the quantiles of many."""

import dataclasses
import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxgd.plot import canvas
from jaxgd.plot.outcome import Array, Listed, Shown, labelled, run_labels
from jaxgd.result import Result
from jaxgd.runs import Runs
from jaxgd.status import Status

FEW = 12
"""Runs up to which each has a line of its own."""
POINTS = 10_000
"""Points of a line beyond which it is thinned."""
SAMPLES = 400
"""Steps at which quantiles are computed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """What some runs recorded."""

    label: str
    each: list[str]
    """What tells the runs apart."""
    step: Array
    """int, (rows,)."""
    values: Array
    """float, (runs, rows), NaN after the end of a run."""
    status: Array
    """int, (runs,)."""
    steps: Array
    """int, (runs,): the updates made."""
    last: Array
    """int, (runs,): the last row that is finite, -1 where none is."""


def recorded(label: str, outcome: Result | Runs, column: str) -> Curves | None:
    """A column of the history, None if it was not recorded."""
    history: Any = outcome.history
    values = getattr(history, column, None)
    status = np.atleast_1d(np.asarray(outcome.status))
    if values is None or not np.size(values):
        return None
    values = np.asarray(values).reshape(len(status), -1)
    if values.dtype.isbuiltin == 2:  # such as bfloat16, of which NumPy knows no quantiles
        values = values.astype(np.float32)
    step = np.asarray(history.step).reshape(-1, values.shape[1])[0]
    finite = np.isfinite(values)
    last = np.where(finite.any(1), len(step) - 1 - np.argmax(finite[:, ::-1], axis=1), -1)
    each = run_labels(outcome) if isinstance(outcome, Runs) and len(status) <= FEW else [""]
    steps = np.atleast_1d(np.asarray(outcome.steps))
    return Curves(label, each, step, values, status, steps, last)


def convergence(shown: Shown, ax: Axes | None = None) -> Axes:
    """Draw the loss against the step, and mark where each run ended and why.

    Up to 12 runs have a line each, labelled with the numbers of their rules in a sweep. Of more the
    median is drawn and the range from the 10 % to the 90 % quantile, in which a run that has ended
    keeps its last finite loss, so that all runs count at every step. The axis is logarithmic where
    no loss is negative and they span two decades; a zero lies below such an axis. If
    some runs went non-finite, what lies far above their starts is beyond the axis, for the others'
    sake, and their ends are marked at its top; so are those of runs without a finite loss.

    Args:
      shown: a `Result`, a `Runs` or a mapping from labels to them, with a history of the loss
        (many runs record it with `record=gd.Record()`).
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `shown` or `ax` is something else.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda x: (x - 2.0) ** 2, 0.0, gd.Adam(0.1), max_steps=99)
      >>> ax = gd.plot.convergence({"Adam": result})
      >>> ax.get_ylabel(), len(ax.lines[0].get_ydata())
      ('loss', 100)
    """
    return _draw(labelled(shown), "loss", "loss", ax)


def gradient_norm(shown: Shown, ax: Axes | None = None) -> Axes:
    """Draw the largest gradient entry against the step, as `convergence` draws the loss.

    Args:
      shown: a `Result`, a `Runs` or a mapping from labels to them, with a history of it.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `shown` or `ax` is something else.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda x: (x - 2.0) ** 2, 0.0, gd.Adam(0.1), max_steps=99)
      >>> gd.plot.gradient_norm(result).get_ylabel()
      'largest gradient entry'
    """
    return _draw(labelled(shown), "grad_norm", "largest gradient entry", ax)


def _draw(shown: Listed, column: str, words: str, ax: Axes | None) -> Axes:
    listed = [recorded(label, outcome, column) for label, outcome in shown]
    ax = canvas.axes(ax)
    ax.set(xlabel="step", ylabel=words)
    drawn = [(at, curves) for at, curves in enumerate(listed) if curves is not None]
    if not drawn:
        canvas.note(ax, f"the {words} was not recorded:\nrecord=gd.Record() keeps it")
        return ax
    alone, held = len(listed) == 1, list[Array]()
    for at, curves in drawn:
        few = len(curves.values) <= FEW
        held.append((_lines if few else _band)(ax, curves, at, alone))
    wild = np.concatenate([curves.status for _, curves in drawn]) == Status.NON_FINITE
    cut = bool(wild.any() and not wild.all())
    if cut:
        held = [_held(curves, values) for (_, curves), values in zip(drawn, held, strict=True)]
    top = _scale(ax, np.concatenate(held), cut)
    for at, curves in drawn:
        _mark_ends(ax, curves, at, alone, top)
    _name_ends(ax, [curves for _, curves in drawn])
    canvas.legend(ax, "best" if sum(len(c.values) for _, c in drawn) <= FEW else "upper right")
    return ax


def _lines(ax: Axes, curves: Curves, at: int, alone: bool) -> Array:
    """A line for each run; returns the values that are drawn."""
    own = alone and len(curves.values) > 1
    for run, last in enumerate(curves.last):
        label = curves.each[run] if own else curves.label if run == 0 else ""
        step, values = thinned(curves.step[: last + 1], curves.values[run, : last + 1])
        canvas.line(ax, step, values, run if own else at, label)
    return curves.values[np.isfinite(curves.values)]


def _band(ax: Axes, curves: Curves, at: int, alone: bool) -> Array:
    """Median and quantiles of many runs; returns the values that are drawn."""
    runs = np.flatnonzero(curves.last >= 0)
    if not len(runs):
        return np.zeros(0)
    last = curves.last[runs, None]
    rows = np.unique(np.linspace(0, last.max(), SAMPLES).astype(int))
    parts = [  # in parts, since quantiles copy what they are of
        np.quantile(curves.values[runs[:, None], np.minimum(part, last)], (0.1, 0.5, 0.9), axis=0)
        for part in np.array_split(rows, 8)
        if len(part)
    ]
    low, middle, high = np.concatenate(parts, axis=1)
    step, words = curves.step[rows], "10 % to 90 %" if alone else "_"
    ax.fill_between(step, low, high, color=canvas.colour(at), alpha=0.25, linewidth=0, label=words)
    words = f"{curves.label or 'median'} of {len(runs):,} runs" if alone else curves.label
    canvas.line(ax, step, middle, at, words, width=1.8)
    return np.concatenate([low, middle, high])


def _held(curves: Curves, drawn: Array) -> Array:
    """The values that the axis must hold: not what lies far above the starts of runs that diverged.

    Else the others would look alike, at the foot of forty decades.
    """
    calm = curves.status != Status.NON_FINITE
    if calm.all():
        return drawn
    starts = curves.values[curves.last >= 0, 0]
    highest = float(np.max(starts)) if len(starts) else 0.0
    tame = curves.values[calm]
    if len(curves.values) > FEW:
        tame = tame[np.arange(len(tame)), curves.last[calm]]
    held = np.concatenate([drawn[drawn <= highest + 9 * abs(highest)], tame.ravel()])
    finite: Array = held[np.isfinite(held)]
    return finite


def _scale(ax: Axes, held: Array, cut: bool) -> float:
    """Choose the scale and, to `cut` what diverged, the limits; returns the highest value shown."""
    log = canvas.is_wide(held)
    if log:
        ax.set_yscale("log")
    if not len(held):
        ax.set_yticks([])
    if not cut or not len(held):
        return np.inf
    ends = np.array([held[held > 0].min() if log else held.min(), held.max()], np.float64)
    ends = np.log10(ends) if log else ends
    room = 0.05 * (ends[1] - ends[0]) or 0.05 * abs(ends[0]) or 1.0
    low, high = ends[0] - room, ends[1] + room
    ax.set_ylim(*((10**low, 10**high) if log else (low, high)))
    return ax.get_ylim()[1]


def thinned(step: Array, values: Array) -> tuple[Array, Array]:
    """A line of at most about 10,000 points: the lowest and the highest of each stretch of rows."""
    count = len(values)
    if count <= POINTS:
        return step, values
    size = -(-2 * count // POINTS)
    whole = values[: count // size * size].reshape(-1, size)
    first = np.arange(len(whole)) * size
    ends = np.array([0, count - 1])
    rows = np.unique(np.concatenate([first + whole.argmin(1), first + whole.argmax(1), ends]))
    return step[rows], values[rows]


def _mark_ends(ax: Axes, curves: Curves, at: int, alone: bool, top: float) -> None:
    """A marker where each run ended: at its last finite value, or at an edge where none is seen."""
    runs = np.arange(len(curves.last))
    values = np.where(curves.last >= 0, curves.values[runs, curves.last], np.inf)
    step, many = curves.step[np.maximum(curves.last, 0)], len(runs) > FEW
    edge = np.where(np.isfinite(values) & (values <= top), np.nan, 1.0)
    if ax.get_yscale() == "log":
        edge[values <= 0] = 0.0
    seen, own = np.isnan(edge), alone and not many
    size, outline, alpha = (4.0, "", 0.4) if many else (8.0, canvas.WHITE, 1.0)
    styles: list[int] = runs.tolist() if own else [at]
    for style, status in itertools.product(styles, np.unique(curves.status)):
        some = (curves.status == status) & ((runs == style) if own else True)
        shape, ink = canvas.STATUS_MARKERS[Status(int(status))], canvas.colour(style)
        for y, chosen in ((values, some & seen), (edge, some & ~seen)):
            if chosen.any():
                canvas.dots(
                    ax,
                    step[chosen],
                    y[chosen],
                    shape,
                    ink,
                    size=size,
                    alpha=alpha,
                    outline=outline,
                    at_edge=y is edge,
                )


def _name_ends(ax: Axes, drawn: list[Curves]) -> None:
    """Entries of the legend that say what the markers of the ends mean."""
    statuses = np.concatenate([curves.status for curves in drawn])
    for status, count in zip(*np.unique(statuses, return_counts=True), strict=True):
        ended, words = Status(int(status)), f"{count:,} run{'s' * int(count > 1)}"
        if len(statuses) == 1:
            words = f"at step {int(drawn[0].steps[0]):,}"
        label, shape = f"{ended.name}, {words}", canvas.STATUS_MARKERS[ended]
        canvas.dots(ax, [], [], shape, canvas.GREY, label=label, size=8.0, outline=canvas.WHITE)
