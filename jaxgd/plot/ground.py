"""A plane through the space of the params, and the contours of the loss on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

from jaxgd.driver import prepared
from jaxgd.plot.outcome import Array, restored
from jaxgd.refusal import described
from jaxgd.tree import PyTree

Loss = Callable[..., Any]
SIDE = 101
"""Points of the grid in each direction."""
LEVELS = 12
GROUND = LinearSegmentedColormap.from_list("ground", ["#FFFFFF", "#D6DEE6", "#9AA9B8"])


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of the params: origin + a first + b second."""

    origin: Array
    axes: Array
    """float64, (2, d), or (1, d) where there is but one number."""
    labels: list[str]
    title: str

    def seen(self, numbers: Array) -> Array:
        """The coordinates of points (rows, d) in it, (rows, 2)."""
        return (numbers - self.origin) @ self.axes.T


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """A loss as a function of the optimised numbers."""

    loss: Loss
    args: Any
    params: PyTree
    """What is not optimised is taken from here."""

    def heights(self, numbers: Array) -> Array:
        """The loss at points (n, d), float64 (n,)."""
        if not callable(self.loss):
            raise TypeError(f"loss must be what was minimised, or None, got {described(self.loss)}")

        def at(point: Any) -> Any:
            value = self.loss(restored(self.params, point), *self.args)
            return value[0] if isinstance(value, tuple) else value  # with has_aux

        size = max(1, min(256, 10**7 // max(numbers.shape[1], 1)))
        points = jnp.asarray(numbers)
        # By itself lax.map would leave its program with JAX, which keeps some thousands of them.
        compiled = prepared(lambda points: lax.map(at, points, batch_size=size), points)()
        return np.asarray(compiled(points), np.float64)


def window(seen: list[Array], strays: list[bool], best: Array) -> Array:
    """What to show, (2, 2): all iterates, or the nearer half if all runs went astray."""
    starts = [xy[:1] for xy in seen]
    tame = [xy for xy, stray in zip(seen, strays, strict=True) if not stray]
    wild = np.concatenate(
        [xy for xy, stray in zip(seen, strays, strict=True) if stray] or [best[None]]
    )
    away = np.linalg.norm(wild - best, axis=1)
    near = wild[away <= np.quantile(away, 0.5, method="higher")]
    kept = np.concatenate([*starts, *(tame or [near]), best[None]])
    low, high = kept.min(0), kept.max(0)
    # Where nothing moves: a tenth of the other direction, or of where it stands.
    size = high - low
    size = np.maximum(size, 0.1 * float(size.max()) or 0.1 * float(np.abs(kept).max()) or 1.0)
    middle = (low + high) / 2
    return np.stack([middle - 0.6 * size, middle + 0.6 * size], axis=1)


def contours(ax: Axes, plane: Plane, surface: Surface, box: Array, filled: bool = True) -> None:
    """Contours at quantiles of the loss in the box, so that there is the same area between them."""
    x, y = np.linspace(box[:, 0], box[:, 1], SIDE).T
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    z = np.ma.masked_invalid(surface.heights(plane.origin + grid @ plane.axes).reshape(SIDE, SIDE))
    shares = np.linspace(0, 1, LEVELS + 1)
    levels: Array = np.unique(np.quantile(z.compressed(), shares)) if z.count() else shares[:0]
    if len(levels) < 3:
        return
    ax.grid(visible=False)
    ax.contour(x, y, z, levels=levels[1:-1], colors="#7C8A99", linewidths=0.5)
    if filled:
        norm, ticks = BoundaryNorm(levels, GROUND.N), levels[::3]
        areas = ax.contourf(x, y, z, levels=levels, cmap=GROUND, norm=norm, zorder=0.5)
        bar = ax.figure.colorbar(areas, ax=ax, spacing="uniform", ticks=ticks, label="loss")
        bar.ax.set_yticklabels([f"{level:.3g}" for level in ticks])
