"""Tests of the landscapes: their formulas, their known minima and their errors."""

import dataclasses
import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgd import landscapes
from jaxgd.landscapes import LANDSCAPES, Landscape, LinearRegression, LogisticRegression

DEFAULTS = [pytest.param(cls(), id=name) for name, cls in LANDSCAPES.items()]
NAMED_FREE = [(name, cls) for name, cls in LANDSCAPES.items() if dataclasses.fields(cls)]
FREE = [pytest.param(cls, id=name) for name, cls in NAMED_FREE]
FIVE = [pytest.param(cls(dimensions=5), id=f"{name}-5") for name, cls in NAMED_FREE]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@functools.cache
def evaluated(landscape: Landscape, dtype: str) -> tuple[Floats, Floats]:
    """Return the losses and gradients at the minima, the start, close to the minima and far.

    All the points in one call, since compiling takes most of the time of these tests.
    """
    n, (lower, upper) = landscape.dimensions, landscape.domain
    near = landscape.minima[:, None] + np.linspace(-1e-3, 1e-3, 20)[:, None]
    far = np.random.default_rng(0).uniform(lower, upper, (2000, n))
    points = np.concatenate([landscape.minima, [landscape.start], near.reshape(-1, n), far])
    with jax.enable_x64(True):
        evaluate = jax.jit(jax.vmap(jax.value_and_grad(landscape)))
        losses, gradients = evaluate(jnp.asarray(points, dtype))
    assert losses.dtype == gradients.dtype == dtype
    return np.asarray(losses), np.asarray(gradients)


def regression_data() -> tuple[Any, Any, Any]:
    """Return X, targets and labels, of which the labels are not separable."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    scores = X @ [0.5, 2.0, -1.0]
    return (X, scores + rng.normal(size=40), (scores + rng.logistic(size=40) > 0).astype(float))


REGRESSIONS = [
    pytest.param(LogisticRegression(*regression_data()[::2]), id="logistic"),
    pytest.param(LogisticRegression(*regression_data()[::2], l2=0.1), id="logistic-l2"),
    pytest.param(LinearRegression(*regression_data()[:2]), id="linear"),
]
BRIEF = DEFAULTS + REGRESSIONS[-2:]
ALL = DEFAULTS + FIVE + REGRESSIONS


def test_registry_names_every_landscape_without_data() -> None:
    others = {"LANDSCAPES", "Landscape", "LinearRegression", "LogisticRegression"}
    assert {cls.__name__ for cls in LANDSCAPES.values()} == set(landscapes.__all__) - others
    for name, cls in LANDSCAPES.items():
        assert name.replace("-", "") == cls.__name__.lower()


@pytest.mark.parametrize("landscape", ALL)
def test_shapes_and_types(landscape: Landscape) -> None:
    n = landscape.dimensions
    assert isinstance(landscape, Landscape)
    for array in (*landscape.domain, landscape.start, *landscape.minima):
        assert (type(array), array.shape, array.dtype) == (np.ndarray, (n,), np.float64)
    assert type(landscape.minimum) is float
    assert re.fullmatch(r"[A-Z].*, (19|20)\d\d, .+", landscape.reference)


@pytest.mark.parametrize("landscape", ALL)
def test_listed_minima_are_stationary_at_the_minimum(landscape: Landscape) -> None:
    losses, gradients = evaluated(landscape, "float64")
    k = len(landscape.minima)
    assert np.all(np.abs(gradients[:k]) < 1e-8)
    assert np.all(np.abs(losses[:k] - landscape.minimum) < 1e-10)
    assert k == (4 if isinstance(landscape, landscapes.Himmelblau) else 1)
    assert len(np.unique(landscape.minima.round(2), axis=0)) == k


@pytest.mark.parametrize("landscape", ALL)
def test_no_point_lies_below_the_minimum(landscape: Landscape) -> None:
    losses, _ = evaluated(landscape, "float64")
    assert np.all(losses >= landscape.minimum - 1e-12)


@pytest.mark.parametrize("landscape", ALL)
def test_minima_and_start_lie_in_the_domain(landscape: Landscape) -> None:
    lower, upper = landscape.domain
    for point in (*landscape.minima, landscape.start):
        assert np.all((lower <= point) & (point <= upper))


@pytest.mark.parametrize("landscape", DEFAULTS)
def test_float32_gradients_are_finite_and_lead_from_the_start(landscape: Landscape) -> None:
    _, gradients = evaluated(landscape, "float32")
    assert np.all(np.isfinite(gradients))
    assert np.max(np.abs(gradients[len(landscape.minima)])) > 0.01


@pytest.mark.parametrize("landscape", BRIEF)
def test_jit_and_vmap_agree_with_plain_calls(landscape: Landscape) -> None:
    compiled_batch, _ = evaluated(landscape, "float64")
    with jax.enable_x64(True):
        plain = [landscape(point) for point in (*landscape.minima, landscape.start)]
    np.testing.assert_allclose(compiled_batch[: len(plain)], plain, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("landscape", BRIEF)
def test_dtype_is_kept(landscape: Landscape, dtype: str) -> None:
    with jax.enable_x64(True):
        point = np.zeros(landscape.dimensions, jnp.dtype(dtype))
        loss, gradient = jax.eval_shape(jax.value_and_grad(landscape), point)
    assert loss.dtype == gradient.dtype == point.dtype
    assert loss.shape == ()


# Worked by hand from the formulas, or printed with them in the literature.
@pytest.mark.parametrize(
    ("name", "arguments", "point", "expected", "tolerance"),
    [
        ("quadratic", {}, [1, 1], 5.5, 1e-12),
        ("quadratic", {"dimensions": 3, "condition": 100}, [1, 2, 3], 470.5, 1e-12),
        ("rosenbrock", {}, [-1.2, 1], 24.2, 1e-12),
        ("rosenbrock", {"dimensions": 3}, [-1.2, 1, -1.2], 508.2, 1e-12),
        ("himmelblau", {}, [0, 0], 170, 1e-12),
        ("himmelblau", {}, [-0.270845, -0.923039], 181.617, 1e-5),
        ("beale", {}, [1, 1], 14.203125, 1e-12),
        ("beale", {}, [3, 0], 2.953125, 1e-12),
        ("booth", {}, [0, 0], 74, 1e-12),
        ("booth", {}, [1, 1], 20, 1e-12),
        ("rastrigin", {}, [0.5, 1], 21.25, 1e-12),
        ("rastrigin", {}, [4.52299366, -4.52299366], 80.70658039, 1e-5),
        ("ackley", {}, [1, 1], 20 - 20 * math.exp(-0.2), 1e-12),
        ("ackley", {}, [0.5, -0.5], 20 + math.e - 20 * math.exp(-0.1) - math.exp(-1), 1e-12),
        ("styblinski-tang", {}, [1, 2], -24, 1e-12),
        ("styblinski-tang", {"dimensions": 3}, [-2.903534] * 3, 3 * -39.16617, 1e-5),
        ("griewank", {"dimensions": 1}, [math.pi], 2 + math.pi**2 / 4000, 1e-12),
        ("griewank", {}, [0, math.sqrt(2) * math.pi], 2 + 2 * math.pi**2 / 4000, 1e-12),
        ("levy", {"dimensions": 1}, [-1], 1.25, 1e-12),
        ("levy", {}, [0, 0], 0.6875 + 0.625 * math.sin(0.75 * math.pi + 1) ** 2, 1e-12),
        ("michalewicz", {}, [math.pi / 2, math.pi / 2], -1 - 2**-10, 1e-12),
        ("michalewicz", {}, [2.20290552, 1.57079633], -1.80130341, 1e-5),
        ("influenza", {}, [0, 0, -80, 0], 23184 + 13 / 14, 1e-12),  # nobody is infected
    ],
)
def test_formula(
    name: str, arguments: dict[str, Any], point: list[float], expected: float, tolerance: float
) -> None:
    with jax.enable_x64(True):
        loss = LANDSCAPES[name](**arguments)(np.array(point, np.float64))
    # Published points and values have as few as six digits.
    np.testing.assert_allclose(loss, expected, rtol=tolerance)


@pytest.mark.parametrize(("n", "expected"), [(2, -1.8013), (5, -4.687658), (10, -9.66015)])
def test_michalewicz_published_minimum(n: int, expected: float) -> None:
    assert landscapes.Michalewicz(n).minimum == pytest.approx(expected, abs=1e-5)


def test_michalewicz_minimiser_is_the_deepest_point_of_a_fine_grid() -> None:
    minimiser, grid = (landscapes.Michalewicz(60).minima[0], np.linspace(0, math.pi, 200_001))
    for i in (1, 2, 3, 4, 7, 30, 59, 60):
        depth = np.sin(grid) * np.sin(i * grid**2 / math.pi) ** 20
        assert minimiser[i - 1] == pytest.approx(grid[np.argmax(depth)], abs=2e-5)


def test_ackley_gradient_is_zero_at_the_tip_and_steep_beside_it() -> None:
    gradient = jax.jit(jax.grad(landscapes.Ackley(1)))
    assert gradient(jnp.zeros(1)).tolist() == [0.0]
    # The slope of the cone is 20 * 0.2.
    np.testing.assert_allclose(gradient(jnp.array([1e-6])), [4.0], rtol=1e-3)
    assert bool(jnp.isfinite(gradient(jnp.array([1e-22]))[0]))


@pytest.mark.parametrize("cls", FREE)
def test_equality_and_hash_are_by_value(cls: type[Any]) -> None:
    assert cls(dimensions=3) == cls(dimensions=3) != cls(dimensions=4)
    assert hash(cls(dimensions=3)) == hash(cls(dimensions=3))
    assert cls() == cls(dimensions=2)
    assert landscapes.Quadratic(2, 10.0) == landscapes.Quadratic() != landscapes.Quadratic(2, 20.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().dimensions = 3


@pytest.mark.parametrize("cls", FREE)
def test_bad_dimensions(cls: type[Any]) -> None:
    least = 2 if cls is landscapes.Rosenbrock else 1
    assert cls(dimensions=least).dimensions == least
    for given in (least - 1, -1, 2.0, "2", True, None):
        with pytest.raises(
            ValueError, match=f"dimensions is {given!r}; expected an int >= {least}"
        ):
            cls(dimensions=given)


@pytest.mark.parametrize("given", [0.5, -1, math.nan, math.inf, "10", 10**400])
def test_bad_condition(given: Any) -> None:
    with pytest.raises(ValueError, match=r"condition is .*; expected a finite number >= 1"):
        landscapes.Quadratic(condition=given)


def test_bad_points() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(3,\); expected \(2,\)"):
        landscapes.Rosenbrock(2)(np.ones(3))
    with pytest.raises(ValueError, match=r"x has dtype complex64; expected real numbers"):
        landscapes.Booth()(np.ones(2, np.complex64))
    assert jax.eval_shape(landscapes.Booth(), np.array([1, 1])).dtype == jnp.result_type(float)


def test_linear_regression_against_least_squares() -> None:
    X, y, _ = regression_data()
    theta, squared_error, _, _ = np.linalg.lstsq(X, y)
    cost = LinearRegression(X, y)
    np.testing.assert_allclose(cost.minima, theta[None], rtol=1e-12)
    assert cost.minimum == pytest.approx(squared_error[0] / 80, rel=1e-12)
    with jax.enable_x64(True):
        point = jnp.array([1.0, -2.0, 0.5])
        loss, gradient = jax.jit(jax.value_and_grad(cost))(point)
    residuals = X @ np.asarray(point) - y
    np.testing.assert_allclose(loss, np.sum(residuals**2) / 80, rtol=1e-12)
    np.testing.assert_allclose(gradient, X.T @ residuals / 40, rtol=1e-12)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_logistic_regression_against_newton(l2: float) -> None:
    X, _, y = regression_data()
    theta = np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-X @ theta))
        hessian = (X.T * (p * (1 - p))) @ X / 40 + l2 * np.eye(3)
        theta -= np.linalg.solve(hessian, X.T @ (p - y) / 40 + l2 * theta)
    cost = LogisticRegression(X, y, l2=l2)
    np.testing.assert_allclose(cost.minima, theta[None], rtol=1e-9)
    z = X @ theta
    loss = np.mean(np.log1p(np.exp(z)) - y * z) + l2 / 2 * theta @ theta
    assert cost.minimum == pytest.approx(loss, rel=1e-12)


def test_logistic_regression_is_stable_far_from_the_minimum() -> None:
    cost = LogisticRegression([[1.0], [-1.0]], [0, 0])
    loss, gradient = jax.jit(jax.value_and_grad(cost))(np.array([1e4]))
    np.testing.assert_allclose([loss, *gradient], [5e3, 0.5])
    certain = jax.jit(LogisticRegression([[1.0]], [1]))(np.array([30.0]))
    np.testing.assert_allclose(certain, math.exp(-30), rtol=1e-5)


@pytest.mark.parametrize("y", [[0, 0, 1, 1], [0, 1, 1, 1]], ids=["complete", "quasi-complete"])
def test_separable_labels_need_l2(y: list[int]) -> None:
    X = [[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match=r"l2 is 0 and X separates .*expected l2 > 0"):
        _ = LogisticRegression(X, y).minima
    assert np.all(np.isfinite(LogisticRegression(X, y, l2=1e-3).minima))


def test_dependent_columns_give_the_minimiser_of_least_norm() -> None:
    X, y, labels = regression_data()
    doubled = np.column_stack([X, X[:, 0]])
    for cost in (LinearRegression(doubled, y), LogisticRegression(doubled, labels)):
        assert cost.minima[0, 0] == pytest.approx(cost.minima[0, 3], rel=1e-9)


def test_regressions_keep_their_own_data_and_identity() -> None:
    X, y, _ = regression_data()
    cost, twin = LinearRegression(X, y), LinearRegression(X, y)
    assert len({cost, twin}) == 2
    X[:] = 0
    assert np.any(cost.X)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(cost.X)[:] = 0


@pytest.mark.parametrize("cls", [LinearRegression, LogisticRegression])
@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([1.0, 2.0], [0, 1], r"X has shape \(2,\); expected \(m, n\)"),
        (np.ones((0, 2)), [], r"X has shape \(0, 2\); expected \(m, n\)"),
        ([[1.0], [2.0]], [0, 1, 1], r"y has shape \(3,\); expected \(2,\), as X has shape"),
        ([[1.0], [2.0]], [[0], [1]], r"y has shape \(2, 1\); expected \(2,\)"),
        ([[1.0], [math.nan]], [0, 1], r"X has the value nan; expected finite numbers"),
        ([[1.0], [2.0]], [0, math.inf], r"y has the value inf; expected finite numbers"),
    ],
)
def test_bad_data(cls: type[Any], X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(X, y)


def test_bad_labels_and_l2() -> None:
    with pytest.raises(ValueError, match=r"y has the label -1; expected only 0 and 1"):
        LogisticRegression([[1.0], [2.0]], [1, -1])
    for l2 in (-0.1, math.nan, math.inf, "1"):
        with pytest.raises(ValueError, match=r"l2 is .*; expected a finite number >= 0"):
            LogisticRegression([[1.0], [2.0]], [0, 1], l2=l2)  # type: ignore[arg-type]
