"""A small regression with a NumPy twin of its mini-batch descent, for the tests of data."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd

COUNT, WIDTH = 23, 3
FLOAT = jnp.result_type(float)
"""What JAX takes for a float where nobody says which."""


def examples(dtype=np.float64):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(COUNT, WIDTH))
    y = x @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=COUNT)
    return {"x": x.astype(dtype), "y": y.astype(dtype)}


def loss(w, batch):
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def weighted_loss(w, batch, *, weights):
    return jnp.average((batch["x"] @ w - batch["y"]) ** 2, weights=weights)


def numpy_descent(data, batches, rate=0.02, decay=0.9):
    """Momentum on the batches, each an array of indices: params and losses."""
    w, velocity, losses = np.zeros(WIDTH), np.zeros(WIDTH), []
    for index in batches:
        x, y = data["x"][index], data["y"][index]
        rest = x @ w - y
        losses.append(np.mean(rest**2))
        velocity = decay * velocity + 2 * x.T @ rest / len(index)
        w = w - rate * velocity
    return w, np.array(losses)


RULE = gd.Momentum(0.02)
KEY = jax.random.key(5)
START = np.zeros(WIDTH)
