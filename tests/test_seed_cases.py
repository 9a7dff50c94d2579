"""The textbook cases, on real numbers, against plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxgd as gd

X = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
Y = np.array([1.0, 2.0, 3.0])
THETA = np.array([0.1, 0.2])


def cost(theta, x, y):
    return jnp.sum((x @ theta - y) ** 2) / (2 * len(y))


def mse(line, x, y):
    return jnp.mean((line["slope"] * x + line["intercept"] - y) ** 2)


def textbook_loop(theta, rate, iterations, threshold=None):
    """The loop of every textbook: cost of the current theta, then the update."""
    costs = []
    for t in range(iterations + 1):
        error = X @ theta - Y
        costs.append(np.sum(error**2) / (2 * len(Y)))
        if threshold is not None and t and abs(costs[-1] - costs[-2]) <= threshold:
            break
        if t < iterations:
            theta = theta - rate * X.T @ error / len(Y)
    return theta, np.array(costs)


def test_linear_regression_agrees_with_the_textbook_loop():
    theta, costs = textbook_loop(THETA, 0.01, 1000)
    with jax.enable_x64(True):
        result = gd.minimize(
            cost, THETA, gd.GradientDescent(0.01), max_steps=1000, args=(X, Y), keep="last"
        )
    np.testing.assert_allclose(result.params, theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.history.loss, costs, rtol=0, atol=1e-10)
    assert gd.Status(int(result.status)) == gd.Status.MAX_STEPS


def test_slope_and_intercept_agree_with_a_numpy_loop():
    x, y = np.arange(1.0, 6), np.arange(2.0, 11, 2)
    slope = intercept = 0.0
    losses = []
    for t in range(1001):
        error = slope * x + intercept - y
        losses.append(np.mean(error**2))
        if t < 1000:
            slope, intercept = (
                slope - 0.01 * 2 * np.mean(error * x),
                intercept - 0.01 * 2 * np.mean(error),
            )
    with jax.enable_x64(True):
        result = gd.minimize(
            mse,
            {"slope": 0.0, "intercept": 0.0},
            gd.GradientDescent(0.01),
            max_steps=1000,
            args=(x, y),
            keep="last",
        )
    assert abs(float(result.params["slope"]) - slope) < 1e-10
    assert abs(float(result.params["intercept"]) - intercept) < 1e-10
    np.testing.assert_allclose(result.history.loss, losses, rtol=0, atol=1e-10)


@pytest.mark.parametrize("threshold", [1e-3, 1e-5, 3e-7])
def test_a_threshold_on_the_cost_stops_where_the_loop_with_it_stops(threshold):
    theta, costs = textbook_loop(THETA, 0.01, 100_000, threshold)
    with jax.enable_x64(True):
        result = gd.minimize(
            cost,
            THETA,
            gd.GradientDescent(0.01),
            max_steps=100_000,
            args=(X, Y),
            stop=gd.Stop(ftol=threshold),
            keep="last",
        )
    assert result.steps == len(costs) - 1
    assert result.converged
    np.testing.assert_allclose(result.params, theta, rtol=0, atol=1e-10)


def test_too_high_a_rate_says_what_to_try_and_too_low_a_rate_runs_out_of_steps():
    high = gd.minimize(cost, THETA, gd.GradientDescent(10.0), args=(X, Y))
    assert gd.Status(int(high.status)) == gd.Status.NON_FINITE
    assert "learning rate 3 to 10 times lower" in high.message
    assert np.isfinite(high.loss)
    assert np.all(np.isfinite(high.params))
    low = gd.minimize(cost, THETA, gd.GradientDescent(1e-6), args=(X, Y), stop=gd.Stop(gtol=1e-4))
    assert gd.Status(int(low.status)) == gd.Status.MAX_STEPS
    assert "more steps" in low.message


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(jnp.result_type(float))
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:1400], order[1400:]
    return (images[train], labels[train]), (images[test], labels[test])


def cross_entropy(logits, labels):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -jnp.mean(chosen)


def linear(params, images):
    return images @ params["w"] + params["b"][None]


def network(params, images):
    return linear(params["out"], jax.nn.tanh(linear(params["hidden"], images)))


def logistic_loss(params, images, labels):
    return cross_entropy(linear(params, images), labels)


def network_loss(params, images, labels):
    return cross_entropy(network(params, images), labels)


def accuracy(logits, labels):
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) == labels))


def test_logistic_regression_on_digits(digits):
    (images, labels), (test_images, test_labels) = digits
    start = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
    result = gd.minimize(logistic_loss, start, gd.Adam(0.05), max_steps=400, args=(images, labels))
    assert accuracy(linear(result.params, test_images), test_labels) > 0.95
    assert result.loss < 0.05


def test_a_small_network_on_digits(digits):
    (images, labels), (test_images, test_labels) = digits
    w1, w2 = jax.random.split(jax.random.key(0))
    start = {
        "hidden": {"w": jax.random.normal(w1, (64, 32)) / 8, "b": jnp.zeros(32)},
        "out": {"w": jax.random.normal(w2, (32, 10)) / 6, "b": jnp.zeros(10)},
    }
    result = gd.minimize(network_loss, start, gd.Adam(0.02), max_steps=400, args=(images, labels))
    assert accuracy(network(result.params, test_images), test_labels) > 0.96
    assert result.loss < 0.01
