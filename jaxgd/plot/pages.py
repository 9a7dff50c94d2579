"""A page of pictures of one outcome: what `result.plot()` and `runs.plot()` draw."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxgd.plot import canvas
from jaxgd.plot.curves import convergence, gradient_norm
from jaxgd.plot.ends import basins, parameters, starts_width, waterfall
from jaxgd.plot.outcome import labelled
from jaxgd.plot.paths import path
from jaxgd.result import Result, page
from jaxgd.runs import Runs
from jaxgd.status import Status


@page.register
def _of_one(result: Result, loss: Any = None, args: Any = ()) -> Figure:
    labelled(result)
    with_path = result.history is not None and result.history.params is not None
    figure = canvas.new_page(15 if with_path else 11, 4.4)
    made = canvas.panels(figure, 1, 2 + with_path)
    convergence(result, made[0])
    gradient_norm(result, made[1])
    if with_path:
        path(result, loss, args, made[2])
    ended = Status(int(result.status)).name
    steps = "1 step" if int(result.steps) == 1 else f"{int(result.steps):,} steps"
    figure.suptitle(f"{ended} after {steps}, loss {float(result.loss):.6g}")
    return figure


@page.register
def _of_many(runs: Runs, loss: Any = None, args: Any = ()) -> Figure:
    with_curve = runs.history is not None and runs.history.loss is not None
    with_basins = starts_width(runs) == 2
    count = 2 + with_curve + with_basins
    rows = 2 if count == 4 else 1
    figure = canvas.new_page(5.5 * count / rows, 4.4 * rows)
    made = iter(canvas.panels(figure, rows, count // rows))
    waterfall(runs, next(made))
    parameters(runs, ax=next(made))
    if with_curve:
        convergence(runs, next(made))
    if with_basins:
        basins(runs, loss, args, next(made))
    _share_legend(figure)
    best = float(runs.best.loss) if len(runs) else np.nan
    title = f"{len(runs):,} runs: {runs.message}; best loss {best:.6g}"
    figure.suptitle(textwrap.fill(title, 100 if count > 2 or rows > 1 else 80))
    return figure


def _share_legend(figure: Figure) -> None:
    """One legend, that of the first, for the pictures in which a colour is a minimum."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    for ax in figure.axes:
        drawn = ax.get_legend()
        if drawn is not None and ax.get_xlabel() != "step":
            drawn.remove()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
