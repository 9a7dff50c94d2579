"""Draws docs/hero.png, the picture at the top of the README: python docs/hero.py.

Left, four rules on Rosenbrock's valley; right, their losses. Middle, the plane of starts of
Himmelblau's function, each coloured by the minimum that heavy-ball momentum takes it to.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxgd as gd

RULES = {
    "Momentum": gd.Momentum(5e-4, decay=0.95),
    "Adam": gd.Adam(0.05),
    "RMSProp": gd.RMSProp(0.01),
    "GradientDescent": gd.GradientDescent(1.5e-3),
}
SIDE = 240


def main() -> None:
    """Draw it."""
    valley, hills = gd.landscapes.Rosenbrock(), gd.landscapes.Himmelblau()
    start, record = jnp.array([-1.2, 1.0]), gd.Record(params=True)
    results = {
        name: gd.minimize(valley, start, rule, max_steps=2000, record=record, keep="last")
        for name, rule in RULES.items()
    }
    side = np.linspace(-5, 5, SIDE)
    starts = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    rule, stop = gd.Momentum(0.006, decay=0.9), gd.Stop(gtol=1e-2)
    runs = gd.multistart(hills, starts, rule, max_steps=2000, stop=stop)

    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    gd.plot.path(results, valley, ax=left)
    left.set_title("Four rules in Rosenbrock's valley")
    gd.plot.basins(runs, ax=middle)
    middle.set_title(f"{len(runs):,} starts, {len(runs.minima())} minima of Himmelblau's function")
    gd.plot.convergence(results, ax=right)
    right.set_title("Loss")
    figure.savefig(Path(__file__).with_name("hero.png"), dpi=100)


if __name__ == "__main__":
    main()
