"""Losses of the linear models, on data that the user gives."""

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import ClassVar, cast, final

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from .base import Float64s, as_point


@final
@dataclass(frozen=True, eq=False)
class LinearRegression:
    """Half the mean squared error of a linear model, on m examples.

    f(theta) = sum((X theta - y)^2) / (2 m). The model has an intercept if X has a column of ones.
    Where the columns of X depend on one another, the minimisers are a whole plane, of which
    `minima` lists the one of least norm. Two regressions are equal only if they are the same
    object.

    Reference: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009,
    section 3.2.

    >>> import jax.numpy as jnp
    >>> cost = LinearRegression(X=[[1.0, 0.0], [1.0, 1.0]], y=[1.0, 3.0])
    >>> float(cost(jnp.array([0.0, 0.0])))
    2.5
    >>> cost.minima.round(6)
    array([[1., 2.]])
    """

    X: npt.ArrayLike
    y: npt.ArrayLike
    reference: ClassVar[str] = (
        "Hastie, Tibshirani and Friedman, 2009, The Elements of Statistical Learning, section "
        "3.2, doi:10.1007/978-0-387-84858-7"
    )

    def __post_init__(self) -> None:
        features, targets = _data(self.X, self.y)
        object.__setattr__(self, "X", features)
        object.__setattr__(self, "y", targets)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at the parameters `x`, that is theta."""
        theta = as_point(x, self.dimensions)
        residuals = _linear(self.X, theta) - jnp.asarray(self.y, theta.dtype)
        return jnp.mean(residuals**2) / 2

    @property
    def _examples(self) -> tuple[Float64s, Float64s]:
        # What `__post_init__` stored, which is narrower than what the fields accept.
        return cast(Float64s, self.X), cast(Float64s, self.y)

    @property
    def dimensions(self) -> int:
        """The number of parameters, one for each column of X."""
        return len(self._examples[0][0])

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The bounds of a box that holds the start and the minimiser, as data set no bounds."""
        return _box_around(self.minima)

    @cached_property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        solution = np.linalg.lstsq(*self._examples)[0]
        return _read_only(np.array(solution[np.newaxis], np.float64))

    @property
    def minimum(self) -> float:
        """The loss at the global minimisers."""
        features, targets = self._examples
        residuals = features @ self.minima[0] - targets
        return float(np.mean(residuals**2) / 2)

    @property
    def start(self) -> Float64s:
        """The origin, where the model ignores the data."""
        return np.zeros(self.dimensions)


@final
@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Mean negative log-likelihood of a logistic model, on m examples with labels 0 and 1.

    f(theta) = mean(log(1 + exp(X theta)) - y X theta) + l2 / 2 sum(theta^2). With l2 = 0 there is
    no minimiser if some theta separates the two labels: the loss then falls towards a bound that
    it never reaches, and `minima`, `minimum` and `domain` raise ValueError. Any l2 > 0 makes the
    minimiser unique. Two regressions are equal only if they are the same object.

    Reference: Cox, The regression analysis of binary sequences, 1958.

    >>> import jax.numpy as jnp
    >>> cost = LogisticRegression(X=[[1.0], [1.0], [1.0], [1.0]], y=[0, 1, 1, 1])
    >>> round(float(cost(jnp.array([0.0]))), 4)
    0.6931
    >>> cost.minima.round(4)
    array([[1.0986]])
    """

    X: npt.ArrayLike
    y: npt.ArrayLike
    l2: float = 0.0
    reference: ClassVar[str] = (
        "Cox, 1958, The regression analysis of binary sequences, "
        "doi:10.1111/j.2517-6161.1958.tb00292.x"
    )

    def __post_init__(self) -> None:
        features, targets = _data(self.X, self.y)
        if not np.all((targets == 0) | (targets == 1)):
            odd = targets[(targets != 0) & (targets != 1)][0]
            raise ValueError(f"y has the label {odd:g}; expected only 0 and 1")
        l2 = self.l2
        if not isinstance(l2, Real) or not 0 <= l2 < math.inf:
            raise ValueError(f"l2 is {l2!r}; expected a finite number >= 0")
        object.__setattr__(self, "X", features)
        object.__setattr__(self, "y", targets)
        object.__setattr__(self, "l2", float(l2))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at the parameters `x`, that is theta."""
        theta = as_point(x, self.dimensions)
        # log(1 + exp(z)) - y z equals log(1 + exp(z)) for y = 0 and log(1 + exp(-z)) for y = 1:
        # written with the sign, it neither overflows nor cancels for large z.
        sign = 1 - 2 * jnp.asarray(self.y, theta.dtype)
        losses = jnp.logaddexp(sign * _linear(self.X, theta), 0)
        return jnp.mean(losses) + 0.5 * self.l2 * jnp.sum(theta**2)

    @property
    def _examples(self) -> tuple[Float64s, Float64s]:
        # What `__post_init__` stored, which is narrower than what the fields accept.
        return cast(Float64s, self.X), cast(Float64s, self.y)

    @property
    def dimensions(self) -> int:
        """The number of parameters, one for each column of X."""
        return len(self._examples[0][0])

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The bounds of a box that holds the start and the minimiser, as data set no bounds."""
        return _box_around(self.minima)

    @cached_property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        solution = _logistic_solution(*self._examples, self.l2)
        if solution is None:
            raise ValueError(
                f"l2 is {self.l2:g} and X separates the labels in y, so that the loss has no "
                "minimum; expected l2 > 0 for such data"
            )
        return _read_only(solution[np.newaxis])

    @property
    def minimum(self) -> float:
        """The loss at the global minimisers."""
        signed, penalties = _signed(*self._examples), np.full(self.dimensions, self.l2)
        return _logistic_loss(signed, penalties, self.minima[0])

    @property
    def start(self) -> Float64s:
        """The origin, where the model ignores the data."""
        return np.zeros(self.dimensions)


def _data(given_x: npt.ArrayLike, given_y: npt.ArrayLike) -> tuple[Float64s, Float64s]:
    """Return X and y as double-precision copies that cannot change, or raise ValueError."""
    features, targets = np.array(given_x, dtype=np.float64), np.array(given_y, dtype=np.float64)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"X has shape {features.shape}; expected (m, n) with m, n >= 1")
    if targets.shape != features.shape[:1]:
        raise ValueError(
            f"y has shape {targets.shape}; expected ({features.shape[0]},), as X has shape "
            f"{features.shape}"
        )
    for name, values in (("X", features), ("y", targets)):
        if not np.all(np.isfinite(values)):
            odd = values[~np.isfinite(values)][0]
            raise ValueError(f"{name} has the value {odd:g}; expected finite numbers")
    return _read_only(features), _read_only(targets)


def _read_only(array: Float64s) -> Float64s:
    array.setflags(write=False)
    return array


def _linear(features: npt.ArrayLike, theta: jax.Array) -> jax.Array:
    # Accelerators multiply float32 matrices in fewer bits by default, which would give the loss
    # an error that is far above the rounding of float32.
    return jnp.matmul(
        jnp.asarray(features, theta.dtype), theta, precision=jax.lax.Precision.HIGHEST
    )


def _box_around(minima: Float64s) -> tuple[Float64s, Float64s]:
    half = np.maximum(1.0, 2 * np.abs(minima[0]))
    return -half, half


def _signed(rows: Float64s, labels: Float64s) -> Float64s:
    """Return `rows` with the sign changed where the label is 1."""
    return np.asarray((1 - 2 * labels)[:, np.newaxis] * rows)


def _logistic_loss(signed: Float64s, penalties: Float64s, theta: Float64s) -> float:
    return float(np.mean(np.logaddexp(signed @ theta, 0)) + np.sum(penalties * theta**2) / 2)


def _logistic_solution(features: Float64s, labels: Float64s, l2: float) -> Float64s | None:
    """Return the minimiser of least norm by damped Newton steps, or None if there is none."""
    # In an orthonormal basis of what X theta can be, the Hessian is regular where columns depend
    # on one another, and no worse conditioned where they differ in scale.
    basis, singular, rows = np.linalg.svd(features, full_matrices=False)
    kept = singular > singular[0] * max(features.shape) * np.finfo(np.float64).eps
    basis, singular, rows = basis[:, kept], singular[kept], rows[kept]
    signed, penalties = _signed(basis, labels), l2 / singular**2
    weights = np.zeros(len(singular))
    loss = _logistic_loss(signed, penalties, weights)
    for _ in range(60):
        # 1 / (1 + exp(-z)), without overflow.
        wrong = np.exp(-np.logaddexp(0, -signed @ weights))
        gradient = signed.T @ wrong / len(labels) + penalties * weights
        curvatures = wrong * (1 - wrong) / len(labels)
        hessian = signed.T @ (curvatures[:, np.newaxis] * signed) + np.diag(penalties)
        try:
            step = -np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        # Close to the minimiser the loss only changes by rounding, which must not shorten a step.
        allowed, scale = loss * (1 + 1e-12), 1.0
        while _logistic_loss(signed, penalties, weights + scale * step) > allowed and scale > 1e-9:
            scale /= 2
        weights = weights + scale * step
        loss = _logistic_loss(signed, penalties, weights)
        # Measured in X theta, for towards an unreachable bound the gradient vanishes too, while
        # every step still moves X theta by about 1. Convergence is quadratic, so that after a
        # step of 1e-9 the error is only rounding.
        if np.max(np.abs(signed @ step)) <= 1e-9 * (1 + np.max(np.abs(signed @ weights))):
            return np.asarray((weights / singular) @ rows)
    return None
