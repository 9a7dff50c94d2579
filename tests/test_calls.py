"""How a run is cut into calls: by the clock alone, and so that nothing has to wait."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from jaxgd.calls import CALL_SECONDS


def slow_loss(x):
    """Some milliseconds a step."""
    return jnp.sum(jnp.square(jnp.linalg.matrix_power(x, 64)))


def test_a_time_limit_holds_also_after_runs_that_ended_early():
    """What they took says nothing about the speed of a step."""
    x = 1e-3 * jnp.ones((150, 150))

    def run(steps, **options):
        return gd.minimize(slow_loss, x, gd.Adam(1e-4), steps, **options)

    for _ in range(5):
        assert run(10**6, stop=gd.Stop(target=1e9)).steps == 0
    run(10**6, stop=gd.Stop(target=-1.0), time_limit=0.1)
    for _ in range(5):
        assert run(10**6, stop=gd.Stop(target=1e9)).steps == 0
    began = time.perf_counter()
    result = run(10**6, stop=gd.Stop(target=-1.0), time_limit=0.5)
    taken = time.perf_counter() - began
    assert gd.Status(int(result.status)) == gd.Status.TIME_LIMIT
    assert taken < 0.5 + 8 * CALL_SECONDS  # a busy machine may halve the speed


def test_a_callback_comes_as_early_in_the_second_run_as_in_the_first():
    def bowl(x):
        return jnp.sum((x - 3) ** 2)

    def run():
        steps = []
        callback = lambda info: steps.append(int(info.steps)) or info.loss < 0.5
        result = gd.minimize(bowl, jnp.zeros(2), gd.Adam(0.1), 900, callback=callback)
        return gd.Status(int(result.status)), steps[:3]

    assert run() == run() == (gd.Status.STOPPED, [1, 3, 7])


def test_many_threads_may_use_one_program():
    from concurrent.futures import ThreadPoolExecutor

    def bowl(x, centre):
        return jnp.sum((x - centre) ** 2)

    def run(i):
        options = {"args": (jnp.asarray(i, float),), "record": gd.Record(grad_norm=False)}
        return gd.minimize(bowl, jnp.zeros(2), gd.Adam(0.1), 300, **options)

    alone = [run(i) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, range(8)))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a.params, b.params)
        assert b.run_seconds > 0


def test_a_run_within_a_callback_is_a_run_of_its_own():
    def bowl(x):
        return jnp.sum((x - 3) ** 2)

    inner = []

    def callback(info):
        inner.append(gd.minimize(bowl, jnp.ones(2), gd.Adam(0.1), 50).loss)

    outer = gd.minimize(bowl, jnp.zeros(2), gd.Adam(0.1), 300, callback=callback)
    plain = gd.minimize(bowl, jnp.zeros(2), gd.Adam(0.1), 300)
    np.testing.assert_array_equal(outer.params, plain.params)
    assert len(set(map(float, inner))) == 1
    assert jax.tree.structure(outer.state) == jax.tree.structure(plain.state)
