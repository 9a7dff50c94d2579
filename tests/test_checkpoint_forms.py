"""Whatever a run is made of comes back from the disk to the bit, and what is old goes on.

`python tests/test_checkpoint_forms.py` writes tests/data/checkpoints-1, of format 1, with the code
as it is. What has been written once stays: later versions must go on from it.
"""

import functools
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from disk_cases import break_off, differences, files, steps_in
from kept_jobs import KEY, wells

import jaxgd as gd
from jaxgd import crew
from jaxgd.archive import FORMAT, digest_of, fill, read

STORED = Path(__file__).parent / "data" / "checkpoints-1"


def quartic(params, *_):
    """Of leaves of any kind, those that move."""
    moving = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(jnp.sum(jnp.abs(leaf.astype(_wide(leaf)) - 1) ** 4) for leaf in moving)


def _wide(leaf):
    return jnp.float32 if leaf.dtype.itemsize < 4 else leaf.dtype


@gd.pytree
class Jittery:
    """A rule whose state is a random key."""

    learning_rate: float = gd.number(default=0.01)
    key: object = None

    def init(self, _params):
        return {"key": jax.random.key(7), "count": jnp.int32(0)}

    def update(self, grads, state, _params=None):
        key, now = jax.random.split(state["key"])
        rate = self.learning_rate * jax.random.uniform(now)
        updates = jax.tree.map(lambda g: (-rate * g).astype(g.dtype), grads)
        return updates, {"key": key, "count": state["count"] + 1}


PARAMS = {
    "bfloat16": jnp.asarray([0.5, 2.0], jnp.bfloat16),
    "float16": np.float16([0.5, 2.0]),
    "complex": np.complex64([0.5 + 1j, 2.0 - 0.5j]),
    "scalar": 0.25,
    "empty": {"some": np.ones(2, np.float32), "none": np.zeros((0, 3), np.float32)},
    "nested": {
        "a": [np.ones(2, np.float32), (np.float32(2), {"['b']": np.zeros((2, 1))})],
        "": 3.0,
    },
    "held": {"x": np.ones(2, np.float32) * 3, "n": np.arange(3), "mask": np.array([True, False])},
}
RULES = {
    "adam": gd.Adam(0.05),
    "averaged": gd.average(gd.Momentum(0.01)),
    "optax": optax.chain(optax.clip(1.0), optax.adamw(0.05)),
    "key": Jittery(0.02),
}


def run(directory, params, rule, max_steps=90, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=20)
    record = gd.Record(params=True)
    return gd.minimize(
        quartic, params, rule, max_steps, record=record, checkpoint=checkpoint, **options
    )


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        *[(name, "adam") for name in PARAMS if name != "nested"],
        *[pytest.param("nested", name, marks=pytest.mark.promotion) for name in RULES],
    ],
)
def test_it_comes_back_to_the_bit(params, rule, tmp_path):
    what = PARAMS[params], RULES[rule]
    break_off(functools.partial(run, tmp_path, *what), 41)
    assert steps_in(tmp_path) == [20, 40]
    assert not differences(run(None, *what), run(tmp_path, *what))


@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.key(3, impl="rbg")])
def test_keys_come_back(key, tmp_path):
    def noisy(x, other, *, key):
        return jnp.sum(x**2) + jnp.sum(x * jax.random.normal(key, x.shape)) + other

    def go(directory, **options):
        checkpoint = None if directory is None else gd.Checkpoint(directory, every=20)
        return gd.minimize(
            noisy, np.ones(2), gd.Adam(0.1), 90, key=key, args=(0.5,), checkpoint=checkpoint,
            **options,
        )  # fmt: skip

    break_off(functools.partial(go, tmp_path), 41)
    assert not differences(go(None), go(tmp_path))


def test_an_archive_has_all_kinds_of_arrays(tmp_path):
    arrays = {
        "a": np.float32([np.nan, -0.0, np.inf]), "b": jnp.asarray([1, 2], jnp.bfloat16),
        "c": np.zeros((0, 3), np.int8), "d": np.complex64(1 + 2j), "e": np.array(True),
        "f": jnp.asarray([1, 2], jnp.float8_e4m3fn), "": np.asfortranarray(np.eye(3)[:, :2]),
        "../x": np.arange(6).reshape(2, 3)[:, ::2], "key": jax.random.key(1),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
    }  # fmt: skip
    told = {"kind": "run", "step": 1, "fingerprint": {"kind": "", "versions": {}}, "nan": np.inf}
    path = tmp_path / "new"
    with path.open("x+b") as file:
        fill(file, told, arrays)
        path = path.rename(tmp_path / f"{digest_of(file)}.npz")
    says, found = read(path)
    assert says == told | {"format": FORMAT}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        a, b = (jax.random.key_data(x) if "key" in name else x for x in (array, found[name]))
        assert (np.shape(a), np.asarray(a).tobytes()) == (np.shape(b), np.asarray(b).tobytes())


def stored_single(directory, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=20, keep=1)
    rule = gd.chain(gd.ClipByGlobalNorm(5.0), gd.Adam(gd.CosineDecay(0.05, 300)))
    return gd.minimize(
        quartic, PARAMS["nested"], rule, 90, args=(2.0,), bounds=(-4.0, 4.0), keep="best",
        record=gd.Record(every=2), stop=gd.Stop(gtol=0.0), checkpoint=checkpoint, **options,
    )  # fmt: skip


def stored_batches(directory, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=20, keep=1)
    data = gd.Batches(np.arange(20, dtype=np.float32), 3, KEY(2))
    return gd.minimize(
        lambda x, batch: jnp.mean((x * batch - 3) ** 2), 0.5, gd.Momentum(1e-3), 90, data=data,
        checkpoint=checkpoint, **options,
    )  # fmt: skip


def stored_many(directory, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=1, keep=1)
    starts = np.linspace(-2, 2, 12, dtype=np.float32)[:, None]
    return gd.multistart(
        wells, starts, gd.Adam(0.01), 300, lanes=2, record=gd.Record(every=10),
        prune=gd.Halving(every=100), checkpoint=checkpoint, **options,
    )  # fmt: skip


KINDS = {"single": stored_single, "batches": stored_batches, "many": stored_many}


@pytest.mark.float32
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_stored_with_format_1_goes_on(kind, tmp_path):
    directory = tmp_path / "kept"
    shutil.copytree(STORED / kind, directory)
    says, _ = read(*files(directory))
    assert says["format"] == 1
    with warnings.catch_warnings():
        # It may have been made with another release of JAX, and on a machine with other cores.
        warnings.filterwarnings("ignore", "checkpoint: made ", RuntimeWarning)
        more = KINDS[kind](directory)
    straight = KINDS[kind](None)
    for name in ("params", "loss", "history", "steps", "status", "evaluations"):
        pairs = zip(*(jax.tree.leaves(getattr(r, name)) for r in (more, straight)), strict=True)
        for a, b in pairs:
            # Losses begin at 24, of which float32 tells apart 2e-6; compilers round otherwise.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-6)
    assert getattr(more, "log", None) == getattr(straight, "log", None)


def _store():
    crew.CALL_SECONDS = crew.LOOK_SECONDS = 0.0
    for kind, go in KINDS.items():
        directory = STORED / kind
        shutil.rmtree(directory, ignore_errors=True)
        break_off(functools.partial(go, directory), 110 if kind == "many" else 61)
        (directory / "lock").unlink()
        print(kind, steps_in(directory), files(directory)[0].stat().st_size)


if __name__ == "__main__":
    _store()
