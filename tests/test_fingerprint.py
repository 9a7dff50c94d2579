"""A checkpoint of another run is refused, and what is different is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from disk_cases import files, saying
from kept_jobs import KEY, wells

import jaxgd as gd
from jaxgd import fingerprint


def loss(x, scale=1.0):
    return jnp.sum(scale * (x["a"] - 1) ** 2)


def other_loss(x, scale=1.0):
    return jnp.sum(scale * (x["a"] - 2) ** 2)


def capturing(array):
    array = jnp.asarray(array)

    def loss(x, scale=1.0):
        return jnp.sum(scale * (x["a"] - array) ** 2)

    return loss


def on_data(x, batch):
    return jnp.mean((x["a"][0] * batch - 1) ** 2)


def noisy(x, *, key):
    return loss(x) + 0.1 * jax.random.normal(key)


START = {"a": np.array([3.0, -2.0])}
DATA = np.arange(1.0, 13.0)
RULE = gd.Adam(0.1)


def single(checkpoint, f=loss, x=START, rule=RULE, **options):
    return gd.minimize(f, x, rule, 20, checkpoint=checkpoint, **options)


def batches(**changes):
    return gd.Batches(**({"arrays": DATA, "batch_size": 3, "key": KEY(0)} | changes))


# What is given at first, what is given then, and what is said.
SINGLE = {
    "rate": ({}, {"rule": gd.Adam(0.2)}, r"rule\.learning_rate was 0\.1, and is 0\.2 now"),
    "rule": ({}, {"rule": gd.RMSProp(0.1)}, r"rule\.is was Adam, and is RMSProp now"),
    "static": ({}, {"rule": gd.Adam(0.1, amsgrad=True)}, r"amsgrad was false, and is true now"),
    "wrapped": ({}, {"rule": gd.chain(gd.ClipByValue(1.0), gd.Adam(0.1))}, "rule"),
    "schedule": ({}, {"rule": gd.Adam(gd.CosineDecay(0.1, 20))}, r"rule\.learning_rate"),
    "start": ({}, {"x": {"a": np.array([3.0, -2.5])}}, "params had other values"),
    "shape": ({}, {"x": {"a": np.ones(3)}}, r"params\['a'\] was float.*\[2\], and is .*\[3\]"),
    "leaf": ({}, {"x": START | {"b": np.int32(1)}}, r"params\['b'\] was null, and is int"),
    "args": ({"args": (1.0,)}, {"args": (2.0,)}, "args had other values"),
    "static args": (
        {"args": (1.0,)}, {"args": (np.ones(2),)}, r"args\[0\] was float\[\], and is float64\[2\]",
    ),
    "bounds": ({"bounds": (-4.0, 4.0)}, {"bounds": (-4.0, 5.0)}, "bounds had other values"),
    "no bounds": ({"bounds": (-4.0, 4.0)}, {}, "bounds"),
    "keep": ({}, {"keep": "last"}, "keep was best, and is last now"),
    "record": ({}, {"record": gd.Record(every=2)}, r"record\.every was 1, and is 2 now"),
    "no record": ({}, {"record": None}, "record.loss was true, and is false now"),
    "stop": ({}, {"stop": gd.Stop(gtol=0.0)}, r"stop was \[\], and is \[\"gtol\"\] now"),
    "loss": ({}, {"f": other_loss}, "whose loss computes something else"),
    "captured": (
        {"f": capturing([1.0, 2.0])}, {"f": capturing([1.0, 3.0])}, "captured arrays had other",
    ),
    "key": ({"f": noisy, "key": KEY(0)}, {"f": noisy, "key": KEY(1)}, "key had other values"),
    "metrics": (
        {},
        {"record": gd.Record(evaluate=gd.Evaluate(lambda x: {"m": x["a"][0]}))},
        "metrics was null",
    ),
    **{
        f"data {name}": ({"f": on_data, "data": batches()}, {"f": on_data, "data": data}, said)
        for name, (data, said) in {
            "values": (batches(arrays=DATA + 1), r"data\.arrays had other values"),
            "order": (batches(key=KEY(1)), r"data\.key"),
            "size": (batches(batch_size=4), r"data\.batch_size was 3, and is 4 now"),
            "shuffle": (batches(shuffle=False), r"data\.shuffle was true, and is false now"),
            "last": (batches(arrays=DATA[:-1]), r"data\.arrays was .*\[12\], and is .*\[11\] now"),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_another_run_is_refused(name, tmp_path):
    first, then, said = SINGLE[name]
    here = gd.Checkpoint(tmp_path)
    single(here, **first)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"holds one of another run.*{said}") as error:
        single(here, **then)
    assert str(tmp_path) in str(error.value)
    assert contents(tmp_path) == before
    single(here, **first)  # it is still there


def contents(directory):
    return {path.name: path.read_bytes() for path in files(directory)}


def many(checkpoint, starts=5, rule=RULE, max_steps=20, f=wells, shift=0.0, **options):
    x = np.linspace(-2, 2, starts)[:, None] + shift
    options = {"lanes": 4} | options
    return gd.multistart(f, x, rule, max_steps, checkpoint=checkpoint, **options)


def tilted(x):
    return wells(x) + 0.1 * jnp.sum(x)


MANY = {
    "count": ({"starts": 6}, r"shape was \[5\], and is \[6\] now"),
    "starts": ({"shift": 0.25}, "params"),
    "rate": ({"rule": gd.Adam(0.2)}, r"rule\.learning_rate was 0\.1, and is 0\.2 now"),
    "rule": ({"rule": gd.RMSProp(0.1)}, r"rule\.is was Adam, and is RMSProp now"),
    "max_steps": ({"max_steps": 21}, "max_steps was 20, and is 21 now"),
    "loss": ({"f": tilted}, "whose loss computes something else"),
    "prune": ({"prune": gd.Halving(every=5)}, "prune was null"),
    "enough": ({"enough": gd.Rediscovered(times=9)}, "enough was null"),
    "keep": ({"keep": "last"}, "keep was best, and is last now"),
    "record": ({"record": gd.Record(every=5)}, r"record\.every was 1, and is 5 now"),
    "stop": ({"stop": gd.Stop(gtol=1e-3)}, "stop"),
    "bounds": ({"bounds": (-9.0, 9.0)}, "bounds"),
}


@pytest.fixture(scope="module")
def of_many(tmp_path_factory):
    directory = tmp_path_factory.mktemp("many")
    many(gd.Checkpoint(directory))
    return directory


@pytest.mark.parametrize("name", MANY)
def test_other_runs_are_refused(name, of_many):
    then, said = MANY[name]
    before = contents(of_many)
    with pytest.raises(ValueError, match=f"holds one of another run.*{said}"):
        many(gd.Checkpoint(of_many), **then)
    assert contents(of_many) == before


def test_many_runs_are_not_one(of_many, tmp_path):
    with pytest.raises(ValueError, match="kind was many runs, and is a single run now"):
        single(gd.Checkpoint(of_many))
    single(gd.Checkpoint(tmp_path))
    with pytest.raises(ValueError, match="kind was a single run, and is many runs now"):
        many(gd.Checkpoint(tmp_path))


def test_mapped_numbers_of_a_rule_are_looked_at(tmp_path):
    def go(rates):
        grid = gd.grid(gd.Adam, learning_rate=rates)
        return gd.sweep(wells, np.ones(1), grid, 20, checkpoint=gd.Checkpoint(tmp_path))

    go([0.1, 0.2])
    with pytest.raises(ValueError, match="rule of the runs"):
        go([0.1, 0.3])


@pytest.mark.float32
def test_numbers_that_are_the_same_to_the_rule_are_the_same(tmp_path):
    here = gd.Checkpoint(tmp_path)
    first = single(here)
    for rate in (np.float32(0.1), np.float64(0.1), jnp.float32(0.1)):
        assert single(here, rule=gd.Adam(rate)).loss == first.loss


def test_another_release_of_jax_is_said(tmp_path, monkeypatch):
    """It may write a loss otherwise; what the user gave must still be the same."""
    here, now = gd.Checkpoint(tmp_path), fingerprint.versions()
    monkeypatch.setattr(fingerprint, "versions", lambda: now | {"jax": "0.9.9", "jaxgd": "0.0"})
    single(here)
    monkeypatch.setattr(fingerprint, "versions", lambda: now)
    with saying("made with jax 0.9.9"), pytest.raises(ValueError, match="learning_rate"):
        single(here, rule=gd.Adam(0.3))
    with saying("made with jax 0.9.9, goes on with .*: the last bits may differ"):
        single(here, f=other_loss)
