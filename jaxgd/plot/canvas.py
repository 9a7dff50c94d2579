"""Axes and figures that a notebook shows by themselves, and how lines and points look."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgd.refusal import described
from jaxgd.status import Status

BLUE, ORANGE, BLACK, RED = "#0072B2", "#E69F00", "#000000", "#D55E00"
SKY, GREEN, PURPLE = "#56B4E9", "#009E73", "#CC79A7"
COLOURS = (BLUE, ORANGE, BLACK, RED, SKY, GREEN, PURPLE)
LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "p")
GREY, INK, WHITE = "#8C8C8C", "#333333", "#FFFFFF"

STATUS_MARKERS = {
    Status.RUNNING: ">",
    Status.TARGET_REACHED: "*",
    Status.CONVERGED_GRADIENT: "o",
    Status.CONVERGED_LOSS: "D",
    Status.CONVERGED_PARAMS: "^",
    Status.MAX_STEPS: "s",
    Status.NON_FINITE: "X",
    Status.TIME_LIMIT: "<",
    Status.INTERRUPTED: "v",
    Status.STOPPED: "p",
    Status.PRUNED: "P",
    Status.NOT_STARTED: "h",
}


class Page(Figure):
    """A figure that no window manager knows and that a notebook shows as a value."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


class Panel(Axes):
    """Axes of a `Page`, shown as the whole of it."""

    def _repr_png_(self) -> bytes | None:
        return self.figure._repr_png_() if isinstance(self.figure, Page) else None


def new_page(width: float, height: float) -> Page:
    """An empty figure of so many inches, which makes room for its labels."""
    return Page(figsize=(width, height), layout="constrained")


def panels(figure: Figure, rows: int, columns: int) -> list[Axes]:
    """New axes on a figure, row by row."""
    made: list[Axes] = []
    for at in range(rows * columns):
        ax = figure.add_subplot(rows, columns, at + 1, axes_class=Panel)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#E4E4E4", linewidth=0.8)
        ax.set_axisbelow(True)
        made.append(ax)
    return made


def axes(ax: Axes | None) -> Axes:
    """The axes that were given, or new ones.

    Raises:
      TypeError: what was given are no Axes.
    """
    if ax is None:
        return panels(new_page(6.4, 4.4), 1, 1)[0]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be Matplotlib Axes or None, got {described(ax)}")
    return ax


def colour(at: int) -> str:
    """The colour of the line or group with this number."""
    return COLOURS[at % len(COLOURS)]


def marker(at: int) -> str:
    """Its marker."""
    return MARKERS[at % len(MARKERS)]


def line(ax: Axes, x: Any, y: Any, at: int, label: str = "", *, width: float = 1.6) -> None:
    """A line whose colour and style together repeat after 28 numbers."""
    style = LINES[at % len(LINES)]
    ax.plot(x, y, color=colour(at), linestyle=style, linewidth=width, label=label or "_")


def dots(
    ax: Axes,
    x: Any,
    y: Any,
    shape: str,
    ink: str,
    *,
    label: str = "",
    size: float = 5.0,
    outline: str = "",
    alpha: float = 1.0,
    at_edge: bool = False,
) -> None:
    """Markers alone; with `at_edge` y is a share of the axes' height: 1 is the top, 0 the foot."""
    ax.plot(
        x,
        y,
        linestyle="none",
        marker=shape,
        color=ink,
        label=label or "_",
        markersize=size,
        markeredgecolor=outline or ink,
        markeredgewidth=0.8 if outline or shape == "x" else 0,
        alpha=alpha,
        transform=ax.get_xaxis_transform() if at_edge else ax.transData,
        clip_on=not at_edge,
        rasterized=np.size(x) > 1000,
        zorder=3,
    )


def note(ax: Axes, text: str) -> None:
    """Say in the middle of the axes why there is nothing to see."""
    if not ax.has_data():
        ax.grid(visible=False)
        ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=INK)


def is_wide(values: Any) -> bool:
    """Whether finite values that are nowhere negative span two decades: a case for a log axis.

    Zeros, which an exact minimum gives, lie below the axis then.
    """
    values = np.asarray(values)
    positive = values[values > 0]
    if not len(positive) or np.any(values < 0):
        return False
    return bool(np.max(positive) / 100 >= np.min(positive))


def legend(ax: Axes, place: str = "best", scale: float = 1.0) -> None:
    """A legend of what has a label, if anything has; `place` may be beside the axes."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    where: dict[str, Any] = {"loc": place}
    if place == BESIDE:
        where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
    ax.legend(handles, labels, fontsize="small", framealpha=0.85, markerscale=scale, **where)


BESIDE = "beside"
"""The place of a legend whose axes are full."""
