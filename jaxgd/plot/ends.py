"""Where runs ended: the losses in order, the params of the minima, which start leads to which."""

import itertools
import math
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from jaxgd.bounds import ordered_bounds
from jaxgd.minima import Minimum
from jaxgd.plot import canvas
from jaxgd.plot.ground import Loss, Plane, Surface, contours
from jaxgd.plot.outcome import (
    Array,
    Shown,
    best_of,
    is_optimised,
    labelled,
    minima_of,
    names,
    vector,
)
from jaxgd.refusal import described
from jaxgd.runs import RTOL, Runs, points, succeeded
from jaxgd.tree import PyTree, divide, leaf_kind

GROUPS = len(canvas.COLOURS)
"""Minima that have a colour of their own: the lowest."""
NUMBERS = 30
"""Numbers of the params that are shown: the first."""


def waterfall(shown: Shown, ax: Axes | None = None) -> Axes:
    """Draw the final losses of all runs in ascending order, coloured by minimum.

    A flat stretch is a minimum that many runs found. Failed runs come last, as crosses: at the loss
    that they return, or at the top if that is beyond the axis. With several outcomes, the colour
    tells them apart instead of their minima. The axis is logarithmic where all losses are positive,
    by more than what tells minima apart, and span two decades.

    Args:
      shown: a `Runs`, a `Result` (one point) or a mapping from labels to them.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `shown` or `ax` is something else.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> starts = gd.starts.uniform(jnp.zeros(2), (-4.0, 4.0), 50)
      >>> runs = gd.multistart(gd.landscapes.Himmelblau(), starts, gd.Adam(0.1), max_steps=999)
      >>> ax = gd.plot.waterfall(runs)
      >>> ax.get_xlabel(), len(ax.get_legend().get_texts())
      ('run, in ascending order of the loss', 4)
    """
    listed = labelled(shown)
    ax = canvas.axes(ax)
    ax.set(xlabel="run, in ascending order of the loss", ylabel="final loss")
    ends = []
    for _, outcome in listed:
        loss = np.atleast_1d(np.asarray(outcome.loss, np.float64))
        ends.append((loss, succeeded(np.atleast_1d(np.asarray(outcome.status)), loss)))
    for at, ((label, outcome), (loss, fine)) in enumerate(zip(listed, ends, strict=True)):
        order = np.flatnonzero(fine)[np.argsort(loss[fine], kind="stable")]
        place = np.zeros(len(loss), int)
        place[order] = np.arange(1, len(order) + 1)
        if len(listed) == 1:
            _minima(ax, minima_of(outcome), place, loss)
        elif len(order):
            words = f"{label}: best {loss[order[0]]:.4g}"
            canvas.dots(
                ax, place[order], loss[order], canvas.marker(at), canvas.colour(at), label=words
            )
    typical = max((float(o.scale.ends) for _, o in listed if isinstance(o, Runs)), default=0.0)
    top = _loss_axis(ax, np.concatenate([loss[fine] for loss, fine in ends]), typical)
    for at, ((label, _), (loss, fine)) in enumerate(zip(listed, ends, strict=True)):
        ink, whose = (canvas.INK, "") if len(listed) == 1 else (canvas.colour(at), f"{label}, ")
        _failed(ax, loss, fine, top, ink, whose)
    canvas.legend(ax, canvas.BESIDE)
    return ax


def _minima(ax: Axes, minima: list[Minimum], x: Array, y: Array, size: float = 5.0) -> None:
    """Dots, an x and a y for each run, in the colour of the minimum where the run ended."""
    for at, minimum in enumerate(minima[:GROUPS]):
        shape, ink, runs = canvas.marker(at), canvas.colour(at), minimum.indices
        canvas.dots(ax, x[runs], y[runs], shape, ink, label=words(minimum), size=size)
    if minima[GROUPS:]:
        runs = np.concatenate([minimum.indices for minimum in minima[GROUPS:]])
        label = f"{_counted(len(minima) - GROUPS, 'other')}: {_counted(len(runs), 'run')}"
        canvas.dots(ax, x[runs], y[runs], ".", canvas.GREY, label=label, size=size)


def words(minimum: Minimum) -> str:
    """A minimum in the legend."""
    return f"{minimum.loss:.4g}: {_counted(minimum.count, 'run')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _failed(ax: Axes, loss: Array, fine: Array, top: float, *look: str) -> None:
    """Crosses behind the others; at the top of the axes where the loss is beyond it."""
    failed = loss[~fine][np.argsort(loss[~fine], kind="stable")]
    x, seen = np.sum(fine) + 1 + np.arange(len(failed)), failed <= top
    ink, whose = look
    label = f"{whose}failed: {_counted(len(failed), 'run')}"
    for y, chosen in ((failed, seen), (np.ones(len(failed)), ~seen)):
        if chosen.any():
            at_edge = y is not failed
            canvas.dots(ax, x[chosen], y[chosen], "x", ink, label=label, at_edge=at_edge)
            label = ""


def _loss_axis(ax: Axes, losses: Array, typical: float) -> float:
    """Choose the scale by the runs that did not fail; returns the highest loss that is shown.

    Differences that tell no minima apart are not blown up, neither by limits nor by a logarithm.
    """
    if not len(losses):
        canvas.note(ax, "no run succeeded")
        return -np.inf
    low, high = float(np.min(losses)), float(np.max(losses))
    if low > RTOL * typical and canvas.is_wide(losses):
        ax.set_yscale("log")
    elif high - low < typical:
        ax.set_ylim(low - 0.05 * typical, low + 1.05 * typical)
    return max(high, ax.get_ylim()[1])


def parameters(shown: Shown, bounds: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the params of the distinct minima side by side, a line of the picture for each number.

    The lowest seven minima are shown, and the first 30 numbers. With several outcomes, the best
    params of each are shown.

    Args:
      shown: a `Runs`, a `Result` or a mapping from labels to them.
      bounds: `(lower, upper)` as given to `minimize`: the allowed ranges are shaded.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError, ValueError: `shown`, `ax` or `bounds` is something else.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda p: (p["slope"] - 2.0) ** 2, {"slope": 0.0}, gd.Adam(0.1))
      >>> ax = gd.plot.parameters(result, bounds=(0.0, 5.0))
      >>> [label.get_text() for label in ax.get_yticklabels()]
      ['slope']
    """
    listed = labelled(shown)
    if len(listed) == 1:
        minima = minima_of(listed[0][1])[:GROUPS]
        groups = [(words(minimum), minimum.params) for minimum in minima]
    else:
        groups = [(f"{label}: {best_of(o).loss:.4g}", best_of(o).params) for label, o in listed]
    ax = canvas.axes(ax)
    if not groups:
        canvas.note(ax, "every run failed: there is no minimum")
        return ax
    rows: dict[str, int] = {}
    for _, params in groups:
        for name in itertools.islice(names(params), NUMBERS):
            rows.setdefault(name, len(rows))
    drawn = [_group(ax, rows, group, at, len(groups)) for at, group in enumerate(groups)]
    _value_axis(ax, np.concatenate(drawn))
    if bounds is not None:
        _shade(ax, rows, bounds, groups[0][1])
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    whole = max(len(vector(params)) for _, params in groups)
    ax.set_xlabel("value" if whole <= NUMBERS else f"value (the first {NUMBERS} of {whole:,})")
    for edge in np.arange(0.5, len(rows) - 1):
        ax.axhline(edge, color="#E4E4E4", linewidth=0.8, zorder=0)
    canvas.legend(ax, canvas.BESIDE)
    return ax


def _group(ax: Axes, rows: dict[str, int], group: tuple[str, PyTree], at: int, of: int) -> Array:
    label, params = group
    values = vector(params)[:NUMBERS]
    y = np.array([rows[name] for name in itertools.islice(names(params), NUMBERS)])
    shift = 0.7 * ((at + 0.5) / of - 0.5)
    canvas.dots(ax, values, y + shift, canvas.marker(at), canvas.colour(at), label=label, size=6.0)
    return values


def _value_axis(ax: Axes, values: Array) -> None:
    """Logarithmic where that serves: on both sides of zero if there are values on both."""
    sizes = np.abs(values[(values != 0) & np.isfinite(values)])
    if canvas.is_wide(values) and np.all(values > 0):
        ax.set_xscale("log")
    elif len(sizes) and np.max(sizes) > 1000 * np.median(sizes):
        ax.set_xscale("symlog", linthresh=float(np.median(sizes)))


def _shade(ax: Axes, rows: dict[str, int], bounds: Any, params: PyTree) -> None:
    """The allowed ranges; the axis holds their ends, and an open one reaches to its edge."""
    moving, _, layout = divide(params, lambda leaf: leaf_kind(leaf, params))
    sides = []
    for side in ordered_bounds(bounds, params, layout.moving_tree(moving)):
        pairs = zip(jax.tree.leaves(side), moving, strict=True)
        sides.append(vector([np.broadcast_to(b, np.shape(leaf)) for b, leaf in pairs])[:NUMBERS])
    ends = np.concatenate(sides)
    ends = ends[np.isfinite(ends) & ((ends > 0) | (ax.get_xscale() != "log"))]
    ax.update_datalim([(end, 0.0) for end in ends], updatey=False)
    ax.autoscale_view()
    left, right = ax.get_xlim()
    for y, low, high in zip(rows.values(), *sides, strict=False):
        x1, x2 = max(low, left), min(high, right)
        ax.fill_betweenx([y - 0.42, y + 0.42], x1, x2, color=canvas.GREY, alpha=0.18, linewidth=0)
    ax.set_xlim(left, right)


def basins(runs: Runs, loss: Loss | None = None, args: Any = (), ax: Axes | None = None) -> Axes:
    """Draw which start leads to which minimum, for runs from starts of two parameters.

    Args:
      runs: a `Runs` whose starts differ, such as of `multistart`.
      loss: what was minimised, called as `loss(params, *args)`; None draws no contours.
      args: its further arguments, a tuple.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `runs` or `ax` is something else.
      ValueError: the runs have one start, or the starts have not two parameters.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> starts = gd.starts.uniform(jnp.zeros(2), (-4.0, 4.0), 50)
      >>> runs = gd.multistart(gd.landscapes.Himmelblau(), starts, gd.Adam(0.1), max_steps=999)
      >>> gd.plot.basins(runs).get_ylabel()
      'start of params[1]'
    """
    if not isinstance(runs, Runs):
        raise TypeError(f"basins are those of a gd.Runs, got {described(runs)}")
    width = starts_width(runs)
    if width != 2:
        raise ValueError(
            f"basins need runs from starts of two parameters, got {width or 'no'} that differ: "
            "gd.plot.path and gd.plot.parameters draw any number"
        )
    starts = points(runs.inputs.params, np.arange(len(runs)))
    minima, failed = runs.minima(), ~runs.succeeded
    ax = canvas.axes(ax)
    if loss is not None:
        plane, box = Plane(np.zeros(2), np.eye(2), [], ""), [starts.min(0), starts.max(0)]
        surface = Surface(loss, args, runs.best.params)
        contours(ax, plane, surface, np.stack(box, axis=1), filled=False)
    size = float(np.clip(160 / np.sqrt(len(runs)), 1, 7))
    x, y = starts.T
    _minima(ax, minima, x, y, size)
    if failed.any():
        label = f"failed: {_counted(int(np.sum(failed)), 'run')}"
        canvas.dots(ax, x[failed], y[failed], "x", canvas.INK, label=label, size=size)
    limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
    for minimum in minima[:GROUPS]:
        at, up = vector(minimum.params)
        canvas.dots(ax, at, up, "*", canvas.WHITE, size=14.0, outline=canvas.INK)
    across, upwards = names(runs.best.params)
    ax.set(xlabel=f"start of {across}", ylabel=f"start of {upwards}", **limits)
    canvas.legend(ax, canvas.BESIDE, scale=7 / size)
    return ax


def starts_width(runs: Runs) -> int:
    """How many parameters differ between the starts."""
    leaves = [leaf for leaf in jax.tree.leaves(runs.inputs.params) if is_optimised(leaf)]
    return sum(math.prod(leaf.shape[1:]) * (1 + np.iscomplexobj(leaf)) for leaf in leaves)
