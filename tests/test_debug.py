"""`debug=True`: which step, which array, and whether it was params, loss or gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_cases import same_bits, untimed

import jaxgd as gd

RULE = gd.GradientDescent(0.5)


@gd.pytree
class Layer:
    w: jax.Array


def roots(p):
    """Its gradient is NaN where an entry of `w` is below 0."""
    return jnp.sum(jnp.sqrt(p["encoder"][0].w)) + jnp.sum(p["b"] ** 2)


def model(w):
    layer = Layer(np.array(w, np.float32))
    return {"encoder": [layer], "b": np.ones(2, np.float32), "n": np.arange(3)}


def told(*args, **options):
    result = gd.minimize(*args, debug=True, **options)
    assert gd.Status(int(result.status)) == gd.Status.NON_FINITE
    assert result.message.startswith(result.diagnosis)
    assert result.diagnosis.startswith(f"At step {int(result.steps):,}: ")
    return result.diagnosis


def kink(x):
    return jnp.sum(x) + jnp.sum(jnp.where(x > 1, 0 * jnp.sqrt(x - 1), 0.0))


def plane(x):
    return x[0] / 16 + x[1] / 16


def bowl(x):
    return jnp.sum(x**2)


def misfit(x, data):
    return jnp.sum((x - data["y"]) ** 2)


CASES = {
    "loss and gradient": (
        (roots, model([4, 0.04]), RULE),
        "At step 1: the loss is nan, where all params are finite, with params['encoder'][0].w in "
        "[-1.21, 3.875]; the gradient is not finite in params['encoder'][0].w (1 nan of 2).",
    ),
    "the loss": (
        (bowl, np.array([1.0, 2.0], np.float32), gd.GradientDescent(2.0**65)),
        "At step 1: the loss is inf, where all params are finite, with params in "
        "[-1.47574e+20, -7.3787e+19]; the gradient is finite.",
    ),
    "the gradient": (
        (kink, np.array([8.0, 3.0, 9.0], np.float32), gd.GradientDescent(1.0)),
        "At step 2: the gradient is not finite in params (1 nan of 3); the loss is 14, where all "
        "params are finite, with params in [1, 7].",
    ),
    "the update": (
        (
            plane,
            np.array([0.0, 1.5 * 2.0**123 - 2.0**128], np.float32),
            gd.GradientDescent(2.0**127),
        ),
        "At step 2: the update of step 1 has made params non-finite, params (1 infinite of "
        "2); before it the loss is -2.16e+37 with params in [-3.34965e+38, -1.06338e+37], the "
        "gradient there has params in [0.0625, 0.0625].",
    ),
    "the start": (
        (bowl, np.array([1.0, np.nan, np.inf], np.float32), RULE),
        "At step 0: the start is not finite in params (1 nan and 1 infinite of 3).",
    ),
    "the args": (
        (misfit, np.float32(1.0), RULE, 9, {"y": np.array([1.0, np.nan], np.float32)}),
        "At step 0: the loss is nan, where all params are finite, with params = 1; the gradient is "
        "not finite in params (1 nan of 1); it was called with args[0]['y'] (1 nan of 2).",
    ),
}


@pytest.mark.parametrize("engine", [None, gd.engines.Plain(7)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_it_says_what_was_not_finite_first(name, engine):
    (loss, start, rule, *more), expected = CASES[name]
    options = {"args": tuple(more[1:]), "engine": engine, "keep": "last", "record": None}
    assert told(loss, start, rule, *more[:1], **options) == expected


def test_it_changes_nothing_else():
    given = roots, model([4, 0.5]), gd.Adam(0.2), 60
    plain, debugged = gd.minimize(*given), gd.minimize(*given, debug=True)
    assert not plain.diagnosis
    assert same_bits(untimed(plain), untimed(debugged, diagnosis=""))
    assert not gd.minimize(bowl, np.ones(2, np.float32), RULE, debug=True).diagnosis
    with pytest.raises(gd.RunFailed, match=r"^At step \d+: the loss is nan.*encoder"):
        gd.minimize(*given, debug=True, throw=True)
    with pytest.raises(TypeError, match="debug must be True or False, got 1"):
        gd.minimize(*given, debug=1)


def test_many_small_arrays_a_state_and_batches():
    start = {f"leaf {i}": np.full(3, 1.0 + i, np.float32) for i in range(60)}

    def whole(p, batch):
        return sum(jnp.sum(x**2) for x in p.values()) * jnp.mean(batch)

    numbers = np.ones(12, np.float32)
    numbers[9] = np.inf
    data = gd.Batches(numbers, batch_size=2, shuffle=False)
    given = whole, start, gd.GradientDescent(1e-3)
    first = gd.minimize(*given, 3, data=data)
    for options in ({}, {"state": first.state}):
        text = told(*given, 12, data=data, **options)
        assert text.startswith("At step 4: the loss is inf, where all params are finite")
        assert text.endswith(" and 56 more; it was called with batch (1 infinite of 2).")


def test_of_many_runs_the_first_are_made_again():
    """Their numbers, keys and batches are their own."""

    def noisy(x, batch, target, key):
        draw = jax.random.uniform(key)
        return jnp.sum((x - target) ** 2) * jnp.mean(batch) + jnp.where(draw > 0.9, jnp.nan, 0.0)

    numbers = np.ones(64, np.float32)
    numbers[[5, 50]] = np.nan
    data = gd.Batches(numbers, batch_size=2, key=jax.random.key(1))
    given = noisy, np.zeros(2, np.float32), gd.GradientDescent(np.float32([0.1] * 11 + [0.2])), 40
    options = {
        "axes": gd.Axes(None, rule=0, args=0), "args": (np.arange(12, dtype=np.float32),),
        "data": data, "key": jax.random.key(2), "record": gd.Record(params=True),
    }  # fmt: skip
    with pytest.warns(RuntimeWarning, match="every run"):
        runs = gd.minimize_many(*given, debug=True, **options)
    assert [run for run, _ in runs.diagnoses] == list(range(8))
    for run, text in runs.diagnoses:
        steps = int(runs.steps[run])
        low, high = (f(runs.history.params[run, steps]) for f in (np.min, np.max))
        assert text.startswith(f"At step {steps}: the loss is nan, where all params are finite, ")
        assert f"params in [{low:.4g}"[:-1] in text, (low, high)
        seen = np.isnan(numbers[np.asarray(data.indices(steps, run))]).any()
        assert ("it was called with batch (1 nan of 2)" in text) == seen
        assert runs[run].message.startswith(text)
        assert f"\nrun {run}: {text}" in runs.message
    assert "run 0: At step" in repr(runs)
    assert not runs[8].diagnosis


@pytest.mark.float32
def test_what_cannot_be_made_again_alone_is_said():
    """Keys of this kind draw otherwise in lanes."""

    def noisy(x, key):
        return x**2 + jnp.where(jax.random.uniform(key) > 0.9, jnp.nan, 0.0)

    key, starts = jax.random.key(3, impl="rbg"), np.float32([1, 2, 3, 4])
    runs = gd.multistart(
        noisy, starts, gd.Adam(0.1), 60, key=key, debug=True, devices=jax.devices()[:1]
    )
    texts = [text for _, text in runs.diagnoses]
    assert any("not where it is made again alone, rounded otherwise" in text for text in texts)
