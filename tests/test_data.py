"""Data in batches: every example once an epoch, and the descent that NumPy makes on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_cases import (
    COUNT,
    FLOAT,
    KEY,
    RULE,
    START,
    WIDTH,
    examples,
    loss,
    numpy_descent,
    weighted_loss,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgd as gd


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def indices(data, steps, run=None):
    return [np.asarray(data.indices(step, run)) for step in range(steps)]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(count=st.integers(1, 300), share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_each_epoch_visits_each_example_once(count, share, seed):
    size = 1 + int(share * (count - 1))
    data = gd.Batches(np.zeros(count), size, jax.random.key(seed), drop_last=False)
    words, plan = np.asarray(data.order), data.plan
    for epoch in range(2):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        seen = np.concatenate([plan.indices_on_host(words, step) for step in steps])
        assert sorted(seen[:count]) == list(range(count))
        assert np.all(seen[count:] == seen[count - 1])
    if count % size == 0:
        assert plan.steps_per_epoch == count // size


def test_what_does_not_fill_a_batch_is_left_out_of_the_epoch():
    data = gd.Batches(np.zeros(COUNT), 5, KEY)
    epochs = [np.concatenate(indices(data, 8)[a : a + 4]) for a in (0, 4)]
    assert data.steps_per_epoch == 4
    assert all(len(set(epoch.tolist())) == 20 for epoch in epochs)
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())


def test_it_says_what_it_is_in_a_line():
    assert repr(gd.Batches(np.zeros(23), 5, KEY)) == (
        "Batches(23 examples, 5 at each step, 4 steps an epoch)"
    )
    assert repr(gd.Batches(np.zeros(23))) == "Batches(23 examples, all at each step)"


def test_without_a_shuffle_examples_come_as_they_are():
    data = gd.Batches(np.zeros(COUNT), 5, shuffle=False, drop_last=False)
    np.testing.assert_array_equal(np.concatenate(indices(data, 5))[:COUNT], np.arange(COUNT))


def test_the_order_depends_on_the_key_alone():
    first, again = (gd.Batches(np.zeros(COUNT), 5, KEY) for _ in range(2))
    np.testing.assert_array_equal(indices(first, 9), indices(again, 9))
    other = gd.Batches(np.zeros(COUNT), 5, jax.random.key(6))
    assert not np.array_equal(indices(first, 9), indices(other, 9))
    raw = gd.Batches(np.zeros(COUNT), 5, jax.random.PRNGKey(5))
    np.testing.assert_array_equal(indices(first, 9), indices(raw, 9))


@pytest.mark.parametrize("engine", [gd.engines.Plain(), gd.engines.Cpu()])
@pytest.mark.parametrize("size", [1, 5])
def test_it_is_the_loop_that_numpy_makes_with_the_same_permutation(x64, size, engine):
    arrays = examples()
    data = gd.Batches(arrays, size, KEY)
    steps = 3 * data.steps_per_epoch
    params, losses = numpy_descent(arrays, indices(data, steps))
    result = gd.minimize(loss, START, RULE, data=data, epochs=3, engine=engine)
    np.testing.assert_allclose(result.params, params, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.history.loss, losses, rtol=0, atol=1e-12)
    assert (result.steps, result.evaluations, len(result.history)) == (steps, steps, steps)
    assert result.status == gd.Status.MAX_STEPS
    assert result.loss == result.history.loss[-1]
    pure = gd.descend(loss, START, RULE, steps, data=data)
    np.testing.assert_allclose(pure.params, params, rtol=0, atol=1e-12)


def test_a_batch_that_is_filled_up_comes_with_weights(x64):
    arrays = examples()
    data = gd.Batches(arrays, 5, KEY, drop_last=False)
    batches = indices(data, 10)
    batches = [b[:3] if i % 5 == 4 else b for i, b in enumerate(batches)]
    params, _ = numpy_descent(arrays, batches)
    result = gd.minimize(weighted_loss, START, RULE, data=data, epochs=2)
    np.testing.assert_allclose(result.params, params, rtol=0, atol=1e-12)


def test_all_examples_at_each_step_are_the_plain_call_to_the_bit():
    arrays = examples(FLOAT)
    start = START.astype(FLOAT)
    data = gd.Batches(arrays, key=KEY)
    batch = gd.minimize(loss, start, RULE, data=data, epochs=40)
    plain = gd.minimize(loss, start, RULE, 40, args=(arrays,))
    np.testing.assert_array_equal(batch.params, plain.params)
    np.testing.assert_array_equal(batch.history.loss, plain.history.loss)
    assert batch.evaluations == 41  # it is deterministic
    for its_loss, drop_last in ((loss, True), (weighted_loss, False)):  # no step needs its number
        data = gd.Batches(arrays, COUNT, shuffle=False, drop_last=drop_last)
        same = gd.minimize(its_loss, start, RULE, 40, data=data, record=None)
        np.testing.assert_allclose(same.params, plain.state.carry.x, rtol=1e-5)


def test_many_runs_have_orders_of_their_own_or_a_shared_one(x64):
    arrays, starts = examples(), np.zeros((3, WIDTH))
    own = gd.Batches(arrays, 5, KEY)
    runs = gd.multistart(loss, starts, RULE, data=own, epochs=2, record=gd.Record())
    for i in range(3):
        params, losses = numpy_descent(arrays, indices(own, 8, run=i))
        np.testing.assert_allclose(runs.params[i], params, rtol=0, atol=1e-12)
        np.testing.assert_allclose(runs.history.loss[i], losses, rtol=0, atol=1e-12)
    assert len(np.unique(runs.params[:, 0])) == 3
    shared = gd.Batches(arrays, 5, KEY, shared=True)
    runs = gd.multistart(loss, starts, RULE, data=shared, epochs=2)
    one = gd.minimize(loss, START, RULE, data=own, epochs=2)
    np.testing.assert_allclose(runs.params, np.stack([one.params] * 3), rtol=0, atol=1e-12)
    rates = gd.grid(gd.Momentum, learning_rate=[0.01, 0.02])
    swept = gd.sweep(loss, START, rates, data=gd.Batches(arrays), epochs=30)
    plain = gd.sweep(loss, START, rates, 30, args=(arrays,))
    np.testing.assert_array_equal(swept.params, plain.params)


def test_a_run_that_is_continued_goes_on_in_the_order_of_its_data():
    arrays = examples(FLOAT)
    data = gd.Batches(arrays, 5, KEY)
    whole = gd.minimize(loss, jnp.zeros(3), RULE, data=data, max_steps=11)
    part = gd.minimize(loss, jnp.zeros(3), RULE, data=data, max_steps=6)
    rest = gd.minimize(loss, jnp.zeros(3), RULE, data=data, max_steps=11, state=part.state)
    np.testing.assert_array_equal(rest.params, whole.params)
    np.testing.assert_array_equal(rest.history.loss, whole.history.loss[6:])
    other = gd.Batches(arrays, 5, jax.random.key(8))
    with pytest.raises(ValueError, match="its data came in another order"):
        gd.minimize(loss, jnp.zeros(3), RULE, data=other, max_steps=11, state=part.state)


def test_data_is_traced_and_no_part_of_the_program():
    calls = []

    def counted(w, batch):
        calls.append(1)
        return loss(w, batch)

    for seed in range(3):
        arrays = {name: a + seed for name, a in examples(FLOAT).items()}
        data = gd.Batches(arrays, 5, jax.random.key(seed))
        gd.minimize(counted, jnp.zeros(3), RULE, data=data, epochs=1)
    assert len(calls) == 1


def test_descents_on_batches_are_vmapped_and_differentiated():
    arrays = examples(FLOAT)

    def end(rate, key):
        data = gd.Batches(arrays, 5, key)
        last = gd.descend(loss, jnp.zeros(3), gd.Momentum(rate), 8, data=data).params
        return loss(last, arrays)

    rates, keys = jnp.array([0.01, 0.02]), jax.random.split(KEY, 2)
    slopes = jax.jit(jax.vmap(jax.grad(end)))(rates, keys)
    for rate, key, slope in zip(rates, keys, slopes, strict=True):
        change = (end(rate + 1e-3, key) - end(rate - 1e-3, key)) / 2e-3
        np.testing.assert_allclose(slope, change, rtol=0.05)


def test_integer_labels_keys_and_nested_arrays_are_examples_too():
    rng = np.random.default_rng(0)
    arrays = ({"x": rng.normal(size=(8, 2, 2))}, [rng.integers(0, 2, 8)], jax.random.split(KEY, 8))

    def noisy(w, batch):
        inputs, [label], keys = batch
        assert jnp.issubdtype(label.dtype, jnp.integer)
        noise = jax.vmap(jax.random.normal)(keys)
        scores = jnp.sum(inputs["x"] * w[None], (1, 2)) + 0 * noise
        return jnp.mean(jnp.logaddexp(0, jnp.where(label == 1, -scores, scores)))

    result = gd.minimize(noisy, jnp.zeros((2, 2)), RULE, data=gd.Batches(arrays, 4, KEY), epochs=2)
    assert np.isfinite(result.loss)


ARRAYS = examples(FLOAT)
REFUSED = {
    "lengths": (
        lambda: gd.Batches({"x": np.ones(3), "y": np.ones(4)}, 2, KEY),
        ValueError,
        r"arrays\['x'\] has 3, arrays\['y'\] has 4",
    ),
    "too large a batch": (
        lambda: gd.Batches(ARRAYS, 24, KEY),
        ValueError,
        "at most the number of examples, 23",
    ),
    "no rows": (
        lambda: gd.Batches(np.ones((0, 3)), 1, KEY),
        ValueError,
        "1 to 2147483647 examples",
    ),
    "a scalar": (lambda: gd.Batches({"x": np.float32(1)}, 1, KEY), ValueError, "got a scalar"),
    "nothing": (lambda: gd.Batches({}, 1, KEY), ValueError, "got none"),
    "ragged lists": (
        lambda: gd.Batches([[1.0, 2.0], [3.0]], 1, KEY),
        TypeError,
        r"arrays\[0\]\[0\]",
    ),
    "objects": (
        lambda: gd.Batches(np.array([[1], [2, 3]], object), 1, KEY),
        TypeError,
        "array of numbers",
    ),
    "words": (lambda: gd.Batches("data.csv", 1, KEY), TypeError, "array of numbers"),
    "batch of 0": (lambda: gd.Batches(ARRAYS, 0, KEY), ValueError, "batch_size"),
    "half a batch": (lambda: gd.Batches(ARRAYS, 2.5, KEY), (TypeError, ValueError), "batch_size"),
    "no key": (lambda: gd.Batches(ARRAYS, 2), ValueError, r"key=jax.random.key\(0\)"),
    "a seed": (lambda: gd.Batches(ARRAYS, 2, 0), TypeError, "as jax.random.key"),
    "a switch": (lambda: gd.Batches(ARRAYS, 2, KEY, shuffle=1), TypeError, "shuffle"),
    "a source with a size": (
        lambda: gd.Batches(iter([ARRAYS]), 2, KEY),
        ValueError,
        "makes batches by itself",
    ),
    "arrays": (
        lambda: gd.minimize(loss, START, RULE, data=ARRAYS),
        TypeError,
        "write data=gd.Batches",
    ),
    "epochs alone": (
        lambda: gd.minimize(loss, START, RULE, epochs=2),
        ValueError,
        "passes over data",
    ),
    "epochs and steps": (
        lambda: gd.minimize(loss, START, RULE, 7, epochs=2, data=gd.Batches(ARRAYS)),
        ValueError,
        "got both",
    ),
    "epochs of a source": (
        lambda: gd.minimize(loss, START, RULE, epochs=2, data=gd.Batches(iter([ARRAYS]))),
        TypeError,
        "give max_steps instead of epochs",
    ),
    "best": (
        lambda: gd.minimize(loss, START, RULE, data=gd.Batches(ARRAYS, 2, KEY), keep="best"),
        ValueError,
        'use keep="last"',
    ),
    "ftol": (
        lambda: gd.minimize(
            loss, START, RULE, data=gd.Batches(ARRAYS, 2, KEY), stop=gd.Stop(ftol=1e-3)
        ),
        ValueError,
        "stop.ftol",
    ),
    "a loss without batch": (
        lambda: gd.minimize(lambda w: jnp.sum(w**2), START, RULE, data=gd.Batches(ARRAYS, 2, KEY)),
        TypeError,
        r"called as loss\(params, batch\)",
    ),
    "a loss without weights": (
        lambda: gd.minimize(loss, START, RULE, data=gd.Batches(ARRAYS, 2, KEY, drop_last=False)),
        TypeError,
        r"called as loss\(params, batch, weights=weights\)",
    ),
    "a source for many": (
        lambda: gd.multistart(loss, START[None], RULE, data=gd.Batches(iter([ARRAYS]))),
        TypeError,
        "is for one run of minimize",
    ),
    "tracers": (
        lambda: jax.jit(lambda a: gd.minimize(loss, START, RULE, data=gd.Batches(a, 2, KEY)))(
            ARRAYS
        ),
        (TypeError, ValueError),
        "descend",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_a_word_on_why(case):
    call, error, said = REFUSED[case]
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
