"""The iterates of runs, on the contours of the loss."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxgd.plot import canvas
from jaxgd.plot.ground import SIDE, Loss, Plane, Surface, contours, window
from jaxgd.plot.outcome import Array, Listed, Shown, best_of, labelled, names, run_labels, vector
from jaxgd.result import Result
from jaxgd.runs import Runs, points
from jaxgd.status import Status
from jaxgd.tree import PyTree

FEW, MOST = 12, 200
"""Paths up to which each has a look of its own, and that are drawn at all."""
DOTTED = 100
"""Iterates up to which each is dotted."""


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """The iterates of one run."""

    label: str
    points: Array
    """float64, (rows, d)."""
    loss: Array | None
    """float, (rows,)."""
    status: Status


def path(shown: Shown, loss: Loss | None = None, args: Any = (), ax: Axes | None = None) -> Axes:
    """Draw the iterates of runs of two parameters on the contours of the loss.

    One parameter gives the loss against it. More than two give the plane through the best point
    along the two principal directions of all iterates (by singular value decomposition); the axes
    say which share of the iterates' variance is along each. Of more than 200 runs 200 are drawn,
    evenly chosen.

    Args:
      shown: a `Result`, a `Runs` or a mapping from labels to them that recorded the params, with
        `record=gd.Record(params=True)`.
      loss: what was minimised, called as `loss(params, *args)`; None draws no contours.
      args: its further arguments, a tuple.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `shown` or `ax` is something else.
      ValueError: the outcomes have params of different sizes.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> booth, record = gd.landscapes.Booth(), gd.Record(params=True)
      >>> result = gd.minimize(booth, jnp.zeros(2), gd.Adam(0.1), max_steps=200, record=record)
      >>> gd.plot.path(result, booth).get_xlabel()
      'params[0]'
    """
    listed = labelled(shown)
    tracks, total = _tracks(listed)
    ax = canvas.axes(ax)
    if not tracks:
        canvas.note(ax, "the params were not recorded:\nrecord=gd.Record(params=True) keeps them")
        return ax
    widths = {track.points.shape[1] for track in tracks}
    if len(widths) > 1:
        raise ValueError(f"the params of all outcomes must have one size, got {sorted(widths)}")
    best = min((best_of(outcome) for _, outcome in listed), key=_rank)
    plane = _plane(best.params, tracks)
    surface = None if loss is None else Surface(loss, args, best.params)
    if len(plane.axes) == 1:
        _valley(ax, tracks, vector(best.params), surface)
    else:
        seen = [plane.seen(track.points) for track in tracks]
        box = window(seen, _strays(tracks), plane.seen(vector(best.params)[None])[0])
        if surface is not None:
            contours(ax, plane, surface, box)
        for at, (track, xy) in enumerate(zip(tracks, seen, strict=True)):
            _line(ax, track, xy, at, len(tracks))
        ax.set_xlim(*box[0])
        ax.set_ylim(*box[1])
    ax.set_title(plane.title, fontsize="medium")
    ax.set_xlabel(plane.labels[0])
    if len(plane.labels) > 1:
        ax.set_ylabel(plane.labels[1])
    _name(ax, tracks, total)
    return ax


def _rank(result: Result) -> float:
    return float(result.loss) if np.isfinite(result.loss) else np.inf


def _tracks(listed: Listed) -> tuple[list[Track], int]:
    """The runs that recorded params, 200 of all at most, and how many there are."""
    found: list[tuple[str, Result | Runs, int]] = []
    for label, outcome in listed:
        if outcome.history is None or outcome.history.params is None:
            continue
        if isinstance(outcome, Result):
            found.append((label, outcome, 0))
            continue
        each = run_labels(outcome) if len(outcome) <= FEW else [""] * len(outcome)
        found += [(label or each[i], outcome, i) for i in range(len(outcome))]
    chosen = sorted(set(np.linspace(0, len(found) - 1, MOST).astype(int))) if found else []
    tracks = [_track(*found[i]) for i in chosen]
    return [track for track in tracks if len(track.points)], len(found)


def _track(label: str, outcome: Result | Runs, run: int) -> Track:
    one = outcome[run] if isinstance(outcome, Runs) else outcome
    history: Any = one.history
    rows = points(history.params, np.arange(len(history)))
    fine = np.isfinite(rows).all(1) & (np.asarray(history.step) <= int(one.steps))
    loss = None if history.loss is None else np.asarray(history.loss, np.float64)[fine]
    return Track(label, rows[fine], loss, Status(int(one.status)))


def _plane(params: PyTree, tracks: list[Track]) -> Plane:
    origin = vector(params)
    if len(origin) <= 2:
        known = list(names(params))
        return Plane(np.zeros(len(origin)), np.eye(len(origin)), known, "")
    rows = np.concatenate([track.points for track in tracks])
    # Two rows of zeros, so that there are two directions whatever the run did.
    rows = np.concatenate([rows - rows.mean(0), np.zeros((2, len(origin)))])
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    shares = sizes**2 / max(float(np.sum(sizes**2)), np.finfo(float).tiny)
    labels = [f"principal direction {i + 1} ({shares[i]:.1%} of the variance)" for i in range(2)]
    title = f"plane through the best point, {sum(shares[:2]):.1%} of the path's variance"
    return Plane(origin, directions[:2], labels, title)


def _line(ax: Axes, track: Track, xy: Array, at: int, of: int) -> None:
    (x, y), colour, size = xy.T, canvas.BLUE, 3.5
    if of <= FEW:
        canvas.line(ax, x, y, at, track.label if of > 1 else "")
        colour, size = canvas.colour(at), 7.0
        if len(xy) <= DOTTED:
            canvas.dots(ax, x, y, "o", colour, size=3.0)
    else:
        ax.plot(x, y, color=colour, linewidth=0.6, alpha=0.5)
    shape = canvas.STATUS_MARKERS[track.status]
    canvas.dots(ax, x[0], y[0], "o", canvas.WHITE, size=size, outline=colour)
    canvas.dots(ax, x[-1], y[-1], shape, colour, size=size + 2, outline=canvas.WHITE)


def _strays(tracks: list[Track]) -> list[bool]:
    return [track.status == Status.NON_FINITE for track in tracks]


def _valley(ax: Axes, tracks: list[Track], best: Array, surface: Surface | None) -> None:
    """The loss against the one parameter."""
    ax.set_ylabel("loss")
    seen = [np.repeat(track.points, 2, axis=1) for track in tracks]
    (low, high), _ = window(seen, _strays(tracks), np.repeat(best, 2))
    if surface is not None:
        x = np.linspace(low, high, 5 * SIDE)
        everything = np.concatenate([x[:, None], *(track.points for track in tracks)])
        cuts = np.cumsum([len(x), *(len(track.points) for track in tracks)])
        curve, *known = np.split(surface.heights(everything), cuts[:-1])
        ax.plot(x, curve, color=canvas.GREY, linewidth=1)
    else:
        known = [track.loss for track in tracks if track.loss is not None]
    if len(known) < len(tracks):
        canvas.note(ax, "the loss was neither recorded nor given")
        return
    for at, (track, y) in enumerate(zip(tracks, known, strict=True)):
        _line(ax, track, np.column_stack([track.points[:, 0], y]), at, len(tracks))
    ax.set_xlim(low, high)


def _name(ax: Axes, tracks: list[Track], total: int) -> None:
    """Entries of the legend that say what the markers mean."""
    canvas.dots(ax, [], [], "o", canvas.WHITE, label="start", size=7.0, outline=canvas.INK)
    for status in sorted({track.status for track in tracks}):
        shape, label = canvas.STATUS_MARKERS[status], f"end: {status.name}"
        canvas.dots(ax, [], [], shape, canvas.GREY, label=label, size=8.0)
    if total > MOST:
        ax.plot([], [], color=canvas.BLUE, label=f"{len(tracks)} of {total:,} runs")
    canvas.legend(ax)
