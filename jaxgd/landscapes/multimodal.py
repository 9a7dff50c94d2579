"""Landscapes with many local minima, in any number of dimensions.

The literature searches these from random points and names no starting point. Except where said,
each `start` is in a local basin, away from the points where symmetry makes the gradient vanish.
"""

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
class Rastrigin:
    """Bowl covered with a lattice of local minima.

    f(x) = 10 n + sum_i x_i^2 - 10 cos(2 pi x_i).

    Reference: Rastrigin, Systems of Extremal Control, 1974; in any dimension, Muehlenbein,
    Schomisch and Born, The parallel genetic algorithm as function optimizer, 1991.

    >>> import jax.numpy as jnp
    >>> round(float(Rastrigin(2)(jnp.array([1.0, 1.0]))), 4)
    2.0
    """

    dimensions: int = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Muehlenbein, Schomisch and Born, 1991, The parallel genetic algorithm as function "
        "optimizer, doi:10.1016/S0167-8191(05)80052-3"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        # 10 - 10 cos(2 a) = 20 sin(a)^2, which does not cancel near the minimum.
        return jnp.sum(point**2 + 20 * jnp.sin(math.pi * point) ** 2)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-5.12, 5.12, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.zeros((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.full(self.dimensions, 2.3)


@final
@dataclass(frozen=True)
class Ackley:
    """Almost flat, rippled plain around one deep hole.

    f(x) = 20 + e - 20 exp(-0.2 sqrt(mean_i x_i^2)) - exp(mean_i cos(2 pi x_i)). The minimum is
    the tip of a cone, where the gradient does not exist: it is given there as zero, which is a
    subgradient.

    Reference: Ackley, A Connectionist Machine for Genetic Hillclimbing, 1987.

    >>> import jax.numpy as jnp
    >>> round(float(Ackley(2)(jnp.array([1.0, 1.0]))), 4)
    3.6254
    """

    dimensions: int = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Ackley, 1987, A Connectionist Machine for Genetic Hillclimbing, "
        "doi:10.1007/978-1-4613-1997-9"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        mean_square = jnp.mean(point**2)
        # The derivative of sqrt is infinite at 0, and infinity times the zero derivative of the
        # square is NaN. The inner `where` keeps sqrt away from 0: masking its result alone would
        # leave the NaN, because the gradient flows through both branches. The tip is where the
        # root vanishes, not where the square does, as devices may flush small numbers in between.
        at_tip = jnp.sqrt(mean_square) == 0
        radius = jnp.where(at_tip, 0.0, jnp.sqrt(jnp.where(at_tip, 1.0, mean_square)))
        # expm1, and cos(2 a) - 1 = -2 sin(a)^2, so that nothing cancels near the minimum.
        ripple = -2 * jnp.mean(jnp.sin(math.pi * point) ** 2)
        return -20 * jnp.expm1(-0.2 * radius) - math.e * jnp.expm1(ripple)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-32.768, 32.768, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.zeros((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.full(self.dimensions, 2.3)


@final
@dataclass(frozen=True)
class StyblinskiTang:
    """Two basins along each axis, of unequal depth.

    f(x) = 1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i. The start, at the origin, is in the basin of the
    global minimum.

    Reference: Styblinski and Tang, Experiments in nonconvex optimization, 1990.

    >>> import jax.numpy as jnp
    >>> float(StyblinskiTang(2)(jnp.array([1.0, 1.0])))
    -10.0
    """

    dimensions: int = 2
    reference: ClassVar[str] = (
        "Styblinski and Tang, 1990, Experiments in nonconvex optimization: stochastic "
        "approximation with function smoothing and simulated annealing, "
        "doi:10.1016/0893-6080(90)90029-K"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        return 0.5 * jnp.sum(point**4 - 16 * point**2 + 5 * point)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-5.0, 5.0, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        # The least root of the derivative, 4 x^3 - 32 x + 5, by Newton's method in 50 decimal
        # digits, rounded.
        return np.full((1, self.dimensions), -2.903534027771177)

    @property
    def minimum(self) -> float:
        """The loss at the global minimisers."""
        return -39.16616570377141 * self.dimensions

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.zeros(self.dimensions)


@final
@dataclass(frozen=True)
class Griewank:
    """Wide bowl with a product of cosines on it, which fades as the dimensions grow.

    f(x) = 1 + sum_i x_i^2 / 4000 - product_i cos(x_i / sqrt(i)).

    Reference: Griewank, Generalized descent for global optimization, 1981.

    >>> import jax.numpy as jnp
    >>> round(float(Griewank(1)(jnp.array([jnp.pi]))), 4)
    2.0025
    """

    dimensions: int = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Griewank, 1981, Generalized descent for global optimization, doi:10.1007/BF00933356"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        point = as_point(x, self.dimensions)
        frequencies = jnp.asarray(1 / np.sqrt(np.arange(1, self.dimensions + 1)), point.dtype)
        return 1 + jnp.sum(point**2) / 4000 - jnp.prod(jnp.cos(point * frequencies))

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-600.0, 600.0, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.zeros((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.full(self.dimensions, 10.0)


@final
@dataclass(frozen=True)
class Levy:
    """Rippled valleys whose walls grow away from the minimum.

    With w_i = 1 + (x_i - 1) / 4, f(x) = sin(pi w_1)^2
    + sum_{i<n} (w_i - 1)^2 (1 + 10 sin(pi w_i + 1)^2) + (w_n - 1)^2 (1 + sin(2 pi w_n)^2).

    Reference: Levy and Montalvo, The tunneling algorithm for the global minimization of
    functions, 1985; in this form, Laguna and Marti, Experimental testing of advanced scatter
    search designs for global optimization of multimodal functions, 2005.

    >>> import jax.numpy as jnp
    >>> round(float(Levy(1)(jnp.array([-1.0]))), 4)
    1.25
    """

    dimensions: int = 2
    minimum: ClassVar[float] = 0.0
    reference: ClassVar[str] = (
        "Laguna and Marti, 2005, Experimental testing of advanced scatter search designs for "
        "global optimization of multimodal functions, doi:10.1007/s10898-004-1936-z"
    )

    def __post_init__(self) -> None:
        check_dimensions(self.dimensions, at_least=1)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        # In u = w - 1 the squared sines keep their values, since each argument moves by a
        # multiple of pi, and the loss at the minimum is exactly 0.
        u = (as_point(x, self.dimensions) - 1) / 4
        head = jnp.sin(math.pi * u[0]) ** 2
        middle = jnp.sum(u[:-1] ** 2 * (1 + 10 * jnp.sin(math.pi * u[:-1] + 1) ** 2))
        tail = u[-1] ** 2 * (1 + jnp.sin(2 * math.pi * u[-1]) ** 2)
        return head + middle + tail

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(-10.0, 10.0, self.dimensions)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        return np.ones((1, self.dimensions))

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.full(self.dimensions, -5.0)
