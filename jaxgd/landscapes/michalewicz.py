"""The Michalewicz landscape, whose minimisers have to be computed."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .base import Float64s, as_point, check_dimensions, cube


@final
@dataclass(frozen=True)
class Michalewicz:
    """Plateau crossed by steep, narrow valleys, in any number of dimensions.

    f(x) = -sum_i sin(x_i) sin(i x_i^2 / pi)^(2 m), with the usual m = 10. Between the valleys the
    gradient is lost in rounding, so the start is on the wall of the global one.

    Reference: Michalewicz, Genetic Algorithms + Data Structures = Evolution Programs, 1992.

    >>> import jax.numpy as jnp
    >>> round(float(Michalewicz(2)(jnp.array([2.2029, 1.5708]))), 4)
    -1.8013
    """

    dimensions: int = 2
    reference: ClassVar[str] = (
        "Michalewicz, 1992, Genetic Algorithms + Data Structures = Evolution Programs, "
        "doi:10.1007/978-3-662-02830-8"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        index = jnp.asarray(np.arange(1, self.dimensions + 1), point.dtype)
        return -jnp.sum(jnp.sin(point) * jnp.sin(index * point**2 / math.pi) ** 20)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(0.0, math.pi, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return _minimiser(self.dimensions)[np.newaxis]

    @property
    def minimum(self) -> float:
        """The loss at the global minimisers."""
        return -float(np.sum(_depth(_minimiser(self.dimensions), _index(self.dimensions))))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        # 0.25 radians before the valley's floor in the phase i x^2 / pi, where the wall is
        # about half as deep as the floor in every coordinate.
        index = _index(self.dimensions)
        phase = index * _minimiser(self.dimensions) ** 2 / math.pi
        return np.asarray(np.sqrt((phase - 0.25) * math.pi / index))


def _index(dimensions: int) -> Float64s:
    return np.arange(1.0, dimensions + 1)


def _depth(x: Float64s, index: Float64s) -> Float64s:
    return np.asarray(np.sin(x) * np.sin(index * x**2 / math.pi) ** 20)


def _minimiser(dimensions: int) -> Float64s:
    """Return the coordinates of the global minimiser, each of which is found on its own."""
    index = _index(dimensions)
    # Coordinate i has valleys near the odd multiples of pi / 2 of the phase i x^2 / pi. sin(x)
    # makes deepest the one nearest to x = pi / 2, so one of the two on either side of it.
    left = np.floor(index / 4 - 0.5)
    valleys = np.clip(np.stack([left, left + 1]), 0, index - 1)
    candidates = math.pi * np.sqrt((valleys + 0.5) / index)
    candidates = _refined(candidates, index)
    deepest = np.argmax(_depth(candidates, index), axis=0)
    return np.asarray(np.take_along_axis(candidates, deepest[np.newaxis], axis=0)[0])


def _refined(x: Float64s, index: Float64s) -> Float64s:
    """Return the valley floors near `x`, by Newton's method on log(depth)' = 0."""
    # On the logarithm, because it is close to a parabola: the valley itself is flat beyond its
    # walls, where Newton's method would leave it. Quadratic convergence needs fewer than 20.
    for _ in range(20):
        phase, rate = index * x**2 / math.pi, 2 * index * x / math.pi
        slope = 1 / np.tan(x) + 20 * rate / np.tan(phase)
        curvature = (
            -1 / np.sin(x) ** 2
            + 40 * index / (math.pi * np.tan(phase))
            - 20 * (rate / np.sin(phase)) ** 2
        )
        x = x - slope / curvature
    return x
