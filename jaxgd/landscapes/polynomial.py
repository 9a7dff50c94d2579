"""Polynomial landscapes: a bowl, curved valleys and a few separate basins."""

import sys
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .base import Float64s, as_point, check_dimensions, cube


@final
@dataclass(frozen=True)
class Quadratic:
    """Convex bowl with any condition number, along the axes.

    f(x) = 1/2 sum_i d_i x_i^2, with d_i spaced evenly in logarithm from 1 to `condition`. In one
    dimension d_1 = 1, whatever the condition number.

    Reference: Nesterov, Lectures on Convex Optimization, 2018.

    >>> import jax.numpy as jnp
    >>> float(Quadratic(2, condition=10.0)(jnp.array([1.0, 1.0])))
    5.5
    """

    dimensions: int = 2
    condition: float = 10.0
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Nesterov, 2018, Lectures on Convex Optimization, doi:10.1007/978-3-319-91578-4"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)
        given = self.condition
        # Written as one chain so that NaN, which fails every comparison, is refused too.
        if not isinstance(given, Real) or not 1 <= given <= sys.float_info.max:
            raise ValueError(f"condition is {given!r}; expected a finite number >= 1")

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        curvatures = np.geomspace(1.0, float(self.condition), self.dimensions)
        return 0.5 * jnp.sum(jnp.asarray(curvatures, point.dtype) * point**2)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-5.0, 5.0, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.zeros((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.ones(self.dimensions)


@final
@dataclass(frozen=True)
class Rosenbrock:
    """Curved, narrow valley with a flat floor, in two or more dimensions.

    f(x) = sum_{i<n} 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2. From four dimensions on there is also
    a local minimum near (-1, 1, ..., 1).

    Reference: Rosenbrock, An automatic method for finding the greatest or least value of a
    function, 1960; the usual chain is its extension to more dimensions.

    >>> import jax.numpy as jnp
    >>> float(Rosenbrock(3)(jnp.array([0.0, 0.0, 0.0])))
    2.0
    """

    dimensions: int = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Rosenbrock, 1960, An automatic method for finding the greatest or least value of a "
        "function, doi:10.1093/comjnl/3.3.175"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=2)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        here, following = point[:-1], point[1:]
        return jnp.sum(100 * (following - here**2) ** 2 + (1 - here) ** 2)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-5.0, 10.0, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.ones((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.resize([-1.2, 1.0], self.dimensions)


@final
@dataclass(frozen=True)
class Himmelblau:
    """Four basins, equally deep, in two dimensions.

    f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2.

    Reference: Himmelblau, Applied Nonlinear Programming, 1972.

    >>> import jax.numpy as jnp
    >>> float(Himmelblau()(jnp.array([0.0, 0.0])))
    170.0
    """

    dimensions: ClassVar[int] = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = "Himmelblau, 1972, Applied Nonlinear Programming, McGraw-Hill"

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        first, second = point[0], point[1]
        return (first**2 + second - 11) ** 2 + (first + second**2 - 7) ** 2

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-5.0, 5.0, 2)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        # The roots of both squared terms, by Newton's method in 50 decimal digits, rounded.
        return np.array(
            [
                [3.0, 2.0],
                [-2.805118086952745, 3.131312518250573],
                [-3.779310253377747, -3.2831859912861696],
                [3.5844283403304917, -1.8481265269644036],
            ]
        )

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.zeros(2)


@final
@dataclass(frozen=True)
class Beale:
    """Nearly flat valley between steep corners, in two dimensions.

    f(x, y) = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2.

    Reference: Beale, On an iterative method for finding a local minimum of a function of more
    than one variable, 1958.

    >>> import jax.numpy as jnp
    >>> float(Beale()(jnp.array([1.0, 1.0])))
    14.203125
    """

    dimensions: ClassVar[int] = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Beale, 1958, On an iterative method for finding a local minimum of a function of more "
        "than one variable, Princeton University"
    )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        first, second = point[0], point[1]
        residuals = (
            1.5 - first + first * second,
            2.25 - first + first * second**2,
            2.625 - first + first * second**3,
        )
        return residuals[0] ** 2 + residuals[1] ** 2 + residuals[2] ** 2

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-4.5, 4.5, 2)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.array([[3.0, 0.5]])

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.ones(2)


@final
@dataclass(frozen=True)
class Booth:
    """Convex bowl, off the origin and tilted against the axes, in two dimensions.

    f(x, y) = (x + 2 y - 7)^2 + (2 x + y - 5)^2.

    Reference: Jamil and Yang, A literature survey of benchmark functions for global optimisation
    problems, 2013.

    >>> import jax.numpy as jnp
    >>> float(Booth()(jnp.array([0.0, 0.0])))
    74.0
    """

    dimensions: ClassVar[int] = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Jamil and Yang, 2013, A literature survey of benchmark functions for global "
        "optimisation problems, doi:10.1504/IJMMNO.2013.055204"
    )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        first, second = point[0], point[1]
        return (first + 2 * second - 7) ** 2 + (2 * first + second - 5) ** 2

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-10.0, 10.0, 2)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.array([[1.0, 3.0]])

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.zeros(2)
