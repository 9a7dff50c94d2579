"""Tests of the influenza landscape against SciPy's integrator and fit, and over its domain."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from jaxgd.landscapes import Influenza

Floats = np.ndarray[Any, np.dtype[np.float64]]
FLU = Influenza()


def by_scipy(x: Floats) -> Floats:
    """Return S and I on days 0 to 14, of shape (15, 2), by another method and adaptive steps."""
    beta, gamma, infected, _ = np.exp(x)

    def slope(_: float, state: Floats) -> tuple[float, float]:
        infections = beta / 763 * state[0] * state[1]
        return -infections, infections - gamma * state[1]

    first, days = [763 - infected, infected], np.arange(15)
    return solve_ivp(slope, (0, 14), first, "DOP853", days, rtol=1e-12, atol=1e-10).y.T


def test_against_adaptive_steps() -> None:
    near = FLU.minima + np.random.default_rng(0).normal(0, 0.05, (10, 4))
    points = np.concatenate([FLU.minima, [FLU.start], near])
    exact = np.array([by_scipy(x)[1:] for x in points])
    in_bed = np.exp(points[:, 3:]) * exact[..., 1]
    losses = np.mean((in_bed - np.array(FLU.observed)) ** 2, axis=1)
    with jax.enable_x64(True):
        states, curves = jax.jit(jax.vmap(lambda x: (FLU.trajectory(x), FLU.curve(x))))(points)
        computed = jax.jit(jax.vmap(FLU))(points)
    np.testing.assert_allclose(states, exact, atol=2e-4)
    np.testing.assert_allclose(curves, in_bed, atol=2e-4)
    # At the best fit the step's error is below half a unit in the last place of float32.
    np.testing.assert_allclose(computed, losses, rtol=2e-6)
    np.testing.assert_allclose(computed[0], losses[0], rtol=2**-24)


def test_best_fit_against_least_squares() -> None:
    fit = least_squares(
        lambda x: np.exp(x[3]) * by_scipy(x)[1:, 1] - FLU.observed,
        FLU.start,
        jac="3-point",
        ftol=1e-14,
        xtol=1e-14,
    )
    np.testing.assert_allclose(fit.x, FLU.minima[0], atol=2e-6)
    assert FLU.minimum == pytest.approx(2 * fit.cost / 14, rel=1e-7)
    # Keeling and Rohani's fit, without a scale: 1.66 boys a day for 2.2 days.
    assert FLU.reproduction_number(FLU.minima[0]) == pytest.approx(1.66 * 2.2, rel=0.05)


def test_is_finite_and_keeps_the_boys_all_over_the_domain() -> None:
    corners = np.stack(np.meshgrid(*np.stack(FLU.domain, 1)), -1).reshape(-1, 4)
    points = np.concatenate([corners, np.random.default_rng(1).uniform(*FLU.domain, (500, 4))])
    for dtype in ("float32", "float64"):
        with jax.enable_x64(True):
            x = jnp.asarray(points, dtype)
            losses, gradients = jax.jit(jax.vmap(jax.value_and_grad(FLU)))(x)
            boys = np.asarray(jax.jit(jax.vmap(FLU.trajectory))(x))
        assert losses.dtype == gradients.dtype == boys.dtype == dtype
        assert np.all(np.isfinite(losses))
        assert np.all(np.isfinite(gradients))
        # Boys recover, and no boy is made: within float32's rounding of a sum of 763.
        assert np.all(boys >= 0)
        assert np.all(boys.sum(axis=2) <= 763 + 1e-3)
        assert np.all(np.diff(boys.sum(axis=2), axis=1) <= 1e-3)


def test_keeps_the_invariant_of_the_equations() -> None:
    with jax.enable_x64(True):
        boys = np.asarray(FLU.trajectory(FLU.minima[0]))
    number, infected = np.exp(FLU.minima[0, 0] - FLU.minima[0, 1]), np.exp(FLU.minima[0, 2])
    kept = boys.sum(axis=1) - 763 / number * np.log(boys[:, 0])
    np.testing.assert_allclose(kept, 763 - 763 / number * math.log(763 - infected), atol=1e-4)
