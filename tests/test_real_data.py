"""Real data: digits to the accuracies that the documentation states, diabetes to the closed form.

Networks are trained from five seeds at once, in lanes, each with its own order of the batches.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import jaxgd as gd

SEEDS = 5


def digits():
    """1,437 pictures to train on and 360 to test with."""
    x, label = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, label = (x[order] / 16).astype(np.float32), label[order].astype(np.int32)
    return (x[:1437], label[:1437]), (x[1437:], label[1437:])


TRAIN, TEST = digits()


class Softmax(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x)


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x)))


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(-1, 8, 8, 1)
        for features in (8, 16):
            x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(x.reshape(len(x), -1))


@pytest.mark.parametrize(
    ("model", "rate", "epochs", "accuracy"),
    [
        (Softmax(), 0.02, 20, 0.95),
        (TwoLayers(), 0.005, 20, 0.97),
        (Convolutional(), 0.01, 10, 0.95),
    ],
    ids=["softmax", "two layers", "convolutional"],
)
def test_digits_from_five_seeds(model, rate, epochs, accuracy):
    def loss(params, batch):
        x, label = batch
        scores = jax.nn.log_softmax(model.apply(params, x))
        return -jnp.mean(jnp.take_along_axis(scores, label[:, None], 1))

    def score(params, batch):
        x, label = batch
        found = jnp.argmax(model.apply(params, x), -1).astype(label.dtype)
        return {"accuracy": jnp.mean(found == label)}

    keys = jax.random.split(jax.random.key(0), SEEDS)
    starts = jax.vmap(lambda key: model.init(key, TRAIN[0][:1]))(keys)
    data = gd.Batches(TRAIN, 64, jax.random.key(1))
    steps = epochs * data.steps_per_epoch
    record = gd.Record(loss=False, grad_norm=False, evaluate=gd.Evaluate(score, TEST, every=steps))
    rule = gd.Adam(gd.CosineDecay(rate, steps=steps))
    runs = gd.multistart(loss, starts, rule, data=data, epochs=epochs, record=record)
    reached = runs.history.metrics["accuracy"][:, -1]
    assert reached.shape == (SEEDS,)
    assert reached.min() > accuracy, reached


def test_linear_regression_on_diabetes_is_the_closed_form():
    with jax.enable_x64(True):
        x, y = load_diabetes(return_X_y=True)
        x = np.column_stack([np.ones(len(x)), x * np.sqrt(len(x))])
        exact = np.linalg.lstsq(x, y, rcond=None)[0]

        def loss(w, batch):
            x, y = batch
            return jnp.mean((x @ w - y) ** 2)

        rule, stop = gd.Momentum(0.1, decay=0.95), gd.Stop(gtol=1e-9)
        result = gd.minimize(
            loss, np.zeros(11), rule, data=gd.Batches((x, y)), epochs=20_000, stop=stop
        )
        assert result.status == gd.Status.CONVERGED_GRADIENT
        np.testing.assert_allclose(result.params, exact, rtol=0, atol=1e-6)
