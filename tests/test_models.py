"""Models of flax and equinox, and plain pytrees, trained by the same call on mini-batches."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import jaxgd as gd

X, LABEL = (
    a[:320].astype(t) for a, t in zip(load_digits(return_X_y=True), ("f4", "i4"), strict=True)
)
DATA = gd.Batches((X / 16, LABEL), 64, jax.random.key(0))
KEY = jax.random.key(1)


def cross_entropy(scores, label):
    scores = jax.nn.log_softmax(scores)
    return -jnp.mean(jnp.take_along_axis(scores, label[:, None], 1))


def plain():
    params = {"w": 0.01 * jax.random.normal(KEY, (64, 10), "f4"), "b": jnp.zeros(10, "f4")}
    return params, lambda p, x: x @ p["w"] + p["b"][None]


def linen():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(10)(nn.relu(nn.Dense(16)(x)))

    model = Network()
    return model.init(KEY, X[:1]), model.apply


def nnx_network():
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Linear(64, 16, rngs=rngs), nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x):
            return self.second(nnx.relu(self.first(x)))

    graph, state = nnx.split(Network(nnx.Rngs(1)))
    return state, lambda state, x: nnx.merge(graph, state)(x)


def equinox():
    model = eqx.nn.MLP(64, 10, 16, 1, key=KEY, dtype=jnp.float32)
    return model, lambda model, x: jax.vmap(model)(x)


@pytest.mark.parametrize("make", [plain, linen, nnx_network, equinox])
def test_each_trains_by_the_same_call(make):
    params, apply = make()

    def loss(params, batch):
        x, label = batch
        return cross_entropy(apply(params, x), label)

    def accuracy(params, held_out):
        x, label = held_out
        return {"accuracy": jnp.mean(jnp.argmax(apply(params, x), -1).astype(label.dtype) == label)}

    record = gd.Record(evaluate=gd.Evaluate(accuracy, (X / 16, LABEL), every=20))
    result = gd.minimize(loss, params, gd.Adam(0.02), data=DATA, epochs=12, record=record)
    assert jax.tree.structure(result.params) == jax.tree.structure(params)
    assert result.history.metric_step.tolist() == [0, 20, 40, 60]
    scores = apply(result.params, X / 16)
    reached = np.mean(np.argmax(np.asarray(scores), -1) == LABEL)
    assert np.float32(reached) == result.history.metrics["accuracy"][-1]
    assert reached > 0.95
