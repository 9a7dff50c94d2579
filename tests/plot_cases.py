"""Results and runs as they come, made by hand from numbers: no compilation."""

import jax
import numpy as np

import jaxgd as gd
from jaxgd.runs import Mapped, Scale


def history(losses, norms=None, params=None, every=1):
    losses = np.asarray(losses, np.float32)
    rows = losses.shape[-1]
    steps = np.broadcast_to(np.arange(rows) * every, losses.shape)
    return gd.History(steps, losses, norms, None, params)


def result(losses, status=gd.Status.MAX_STEPS, params=None, **columns):
    """The outcome of a run with these losses, of which the lowest was kept."""
    finite = [loss for loss in losses if np.isfinite(loss)]
    steps = np.int32(len(losses) - 1)
    return gd.Result(
        params=np.zeros(2, np.float32) if params is None else params,
        loss=np.float32(min(finite, default=np.nan)),
        grad_norm=np.float32(0.5),
        aux=None,
        at_step=steps,
        steps=steps,
        status=np.int32(status),
        evaluations=steps + 1,
        history=history(losses, **columns) if len(losses) else None,
        state=None,
    )


def runs(losses, params, status=None, starts=None, ends=1.0, **fields):
    """Many runs that ended with these losses at these params, (runs, ...)."""
    count = len(losses)
    losses = np.asarray(losses, np.float32)
    known = jax.tree.leaves(params)
    steps = fields.pop("steps", np.full(count, 9, np.int32))
    return gd.Runs(
        params=params,
        loss=losses,
        grad_norm=np.zeros(count, np.float32),
        aux=None,
        at_step=steps,
        steps=steps,
        status=np.full(count, gd.Status.MAX_STEPS) if status is None else np.asarray(status),
        evaluations=steps + 1,
        history=fields.pop("history", None),
        inputs=Mapped(starts, fields.pop("rule", None), None, None),
        scale=Scale(ends, ends, np.ones(sum(leaf[0].size for leaf in known))),
        shape=(count,),
        **fields,
    )


def four_ends(count, seed=0):
    """Runs at the four corners of a square, whose losses differ by whole numbers."""
    draw = np.random.default_rng(seed)
    which = draw.integers(4, size=count)
    corners = np.array([[0, 0], [0, 5], [5, 0], [5, 5]], np.float32)
    starts = corners[which] + draw.uniform(-1, 1, (count, 2)).astype(np.float32)
    losses = which + 1e-6 * draw.random(count)
    return runs(losses, corners[which], starts=starts), which


def legend_of(ax):
    drawn = ax.get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


def lines_of(ax, marker=None):
    """The lines that hold points, those with a marker and no line if one is named."""
    held = [line for line in ax.lines if len(line.get_xdata())]
    if marker is None:
        return [line for line in held if line.get_linestyle() != "None"]
    return [line for line in held if line.get_marker() == marker]


def drawn(ax):
    """The picture as a notebook gets it, which lays everything out."""
    return ax._repr_png_()
