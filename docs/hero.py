"""Draws docs/hero.png, the picture at the top of the README: python docs/hero.py.

Left, the ways of four rules down Rosenbrock's valley, and right, their losses. Middle, a start for
each dot of the picture, coloured by the minimum of Himmelblau's function to which heavy-ball
momentum takes it, and the darker the more steps that takes.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import jaxgd as gd

RULES = {
    "Adam": gd.Adam(0.2),
    "Momentum": gd.Momentum(8e-4, decay=0.95),
    "RMSProp": gd.RMSProp(0.01),
    "GradientDescent": gd.GradientDescent(1.5e-3),
}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
SIDE = 300
STEPS = 1000


def main() -> None:
    """Draw it."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    valley(left, right)
    basins(middle)
    for ax in (left, middle):
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("hero.png"), dpi=100)


def valley(ground: Axes, curves: Axes) -> None:
    """Four runs from one start."""
    loss, start, record = gd.landscapes.Rosenbrock(), jnp.array([-1.3, 1.2]), gd.Record(params=True)
    results = {
        name: gd.minimize(loss, start, rule, max_steps=STEPS, record=record)
        for name, rule in RULES.items()
    }
    gd.plot.path(results, loss, ax=ground)
    ground.figure.axes[-1].remove()  # the colour bar
    ground.get_legend().remove()
    ground.set_title("One start, four rules")
    gd.plot.convergence(results, curves)
    handles, labels = curves.get_legend_handles_labels()
    curves.legend(handles[: len(RULES)], labels[: len(RULES)], loc="lower left")
    curves.set(title="Their losses", xlabel="step", ylabel="")


def basins(ax: Axes) -> None:
    """A start for each dot."""
    low, high = -6.0, 6.0
    side = np.linspace(low, high, SIDE)
    starts = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    rule, stop = gd.Momentum(0.008, decay=0.93), gd.Stop(gtol=1e-2)
    runs = gd.multistart(
        gd.landscapes.Himmelblau(), starts, rule, max_steps=5000, stop=stop, bounds=(low, high)
    )
    minima, picture = runs.minima(), np.ones((len(runs), 3))
    for minimum, colour in zip(minima, COLOURS, strict=True):
        picture[minimum.indices] = to_rgb(colour)
    slow = np.searchsorted(np.sort(runs.steps), runs.steps) / len(runs)
    picture *= 1 - 0.5 * slow[:, None]
    ax.imshow(picture.reshape(SIDE, SIDE, 3), origin="lower", extent=(low, high) * 2, aspect="auto")
    at = np.array([minimum.params for minimum in minima])
    ax.plot(*at.T, "*", color="white", markersize=15, markeredgecolor="#333333")
    ax.set_title(f"{len(runs):,} starts, {len(minima)} minima")


if __name__ == "__main__":
    main()
