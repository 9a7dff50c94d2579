"""Losses and rules that refer to arrays: handed in, since no kernel can have them inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd

COUNT = 4000  # 16 KB: XLA:CPU of jax 0.10 aborts on such a constant in a kernel
DRAW = np.random.default_rng(0)
HOST = DRAW.normal(size=COUNT).astype(np.float32)
DEVICE = jnp.asarray(DRAW.normal(size=COUNT).astype(np.float32))
START = jnp.float32([0.5, -1.0])


def of(a, b):
    return lambda x: jnp.mean((x[0] * a + x[1] - b) ** 2)


def with_custom_rule():
    @jax.custom_jvp
    def f(x):
        return of(HOST, DEVICE)(x)

    @f.defjvp
    def _(primals, tangents):
        return jax.jvp(of(HOST, DEVICE), primals, tangents)

    return f


LOSSES = {
    "host": of(HOST, 2 * HOST),
    "device": of(DEVICE, 2 * DEVICE),
    "jitted": jax.jit(of(HOST, DEVICE)),
    "jitted inside": lambda x: jax.jit(of(HOST, DEVICE))(x) + jnp.sum(x**2),
    "in a scan": lambda x: jax.lax.scan(lambda c, _: (c + of(HOST, DEVICE)(x), None), 0.0, None, 2)[
        0
    ],
    "in a branch": lambda x: jax.lax.cond(x[0] > 9, of(DEVICE, HOST), of(HOST, DEVICE), x),
    "with a rule of its own": with_custom_rule(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_may_refer_to_arrays(name):
    loss = LOSSES[name]
    expected = gd.descend(loss, START, gd.GradientDescent(0.1), 20)
    one = gd.minimize(loss, START, gd.GradientDescent(0.1), 20, keep="last")
    many = gd.multistart(loss, jnp.stack([START, START]), gd.GradientDescent(0.1), 20, keep="last")
    if name != "with a rule of its own":
        assert one.engine.startswith("cpu")
        assert many.engine.startswith("cpu")
    np.testing.assert_allclose(one.params, expected.params, rtol=1e-4)
    np.testing.assert_allclose(many.params, jnp.stack([expected.params] * 2), rtol=1e-4)
    again = gd.minimize(loss, START, gd.GradientDescent(0.1), 20, keep="last")
    np.testing.assert_array_equal(again.params, one.params)
    rest = gd.minimize(loss, START, gd.GradientDescent(0.1), 25, state=one.state, keep="last")
    np.testing.assert_allclose(
        rest.params, gd.descend(loss, START, gd.GradientDescent(0.1), 25).params, rtol=1e-4
    )


@pytest.mark.parametrize("jitted", [False, True])
def test_a_schedule_may_be_a_long_table(jitted):
    table = jnp.linspace(0.1, 0.0, COUNT)

    def rate(step):
        return table[step]

    rule = gd.GradientDescent(jax.jit(rate) if jitted else rate)

    def loss(x):
        return jnp.sum(x**2)

    expected = gd.descend(loss, START, rule, 20).params
    one = gd.minimize(loss, START, rule, 20)
    many = gd.multistart(loss, jnp.stack([START, START]), rule, 20)
    assert "more than 4 KiB" in one.engine
    np.testing.assert_allclose(one.params, expected, rtol=1e-5)
    np.testing.assert_allclose(many.params[1], expected, rtol=1e-5)


def test_a_random_key_may_be_referred_to():
    key = jax.random.key(3)

    def loss(x):
        return jnp.sum((x - jax.random.normal(key, (2,), x.dtype)) ** 2)

    result = gd.minimize(loss, START, gd.GradientDescent(0.4), 60)
    np.testing.assert_allclose(result.params, jax.random.normal(key, (2,), jnp.float32), rtol=1e-5)
