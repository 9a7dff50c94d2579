"""Whatever is in the place of a checkpoint: a run begins, goes on, or is refused in one line."""

import datetime
import functools
import hashlib
import io
import json
import random
import tempfile
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_fuzz import refusal

import jaxgd as gd

FILES = settings(
    max_examples=40, derandomize=True, database=None, deadline=datetime.timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def bowl(x):
    return jnp.sum((x - 1) ** 2)


def run(directory):
    return gd.minimize(
        bowl, jnp.zeros(2), gd.Adam(0.1), 20, stop=gd.Stop(xtol=1e-9),
        checkpoint=gd.Checkpoint(directory, every=1000),
    )  # fmt: skip


def runs(directory):
    return gd.multistart(
        bowl, jnp.zeros((5, 2)), gd.Adam(0.1), 20, record=gd.Record(every=5),
        checkpoint=gd.Checkpoint(directory, every=1000),
    )  # fmt: skip


@functools.cache
def written(call):
    """The bytes of a checkpoint of a call."""
    with tempfile.TemporaryDirectory() as directory:
        call(directory)
        return min(Path(directory).glob("*.npz")).read_bytes()


def taken_up(call, content):
    """Have a call find some bytes under a name that fits them."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        digest = hashlib.sha256(content).hexdigest()[:16]
        (Path(directory) / f"checkpoint-000001-{digest}.npz").write_bytes(content)
        said = refusal(call, directory, error=ValueError)
    assert said is None or ("checkpoint" in said and "\n" not in said)


@FILES
@given(content=st.binary(max_size=300), call=st.sampled_from([run, runs]))
@example(content=b"", call=run)
@example(content=b"\x80\x04N.", call=run)
@example(content=b"\x93NUMPY\x01\x00\xff\xff", call=runs)
def test_any_bytes(content, call):
    taken_up(call, content)


@FILES
@given(data=st.data(), call=st.sampled_from([run, runs]))
def test_other_bytes(data, call):
    content = bytearray(written(call))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    taken_up(call, bytes(content[: data.draw(st.integers(1, len(content)))]))


VALUES = [None, True, -1, 2**70, 0.5, "x", "key:x", [], [1, 2], {}, {"a": 1}]
ARRAYS = [
    np.zeros(0),
    np.zeros((3, 2), np.float32),
    np.int32(7),
    np.full(9, "x"),
    np.zeros(5, bool),
]


@FILES
@given(seed=st.integers(0, 10**6), call=st.sampled_from([run, runs]))
def test_other_arrays_and_facts(seed, call):
    choice = random.Random(seed).choice
    with np.load(io.BytesIO(written(call))) as archive:
        members = dict(archive)
    says = json.loads(members["says"].tobytes())
    inside = choice([says, says["fingerprint"], *_dicts(says)])
    inside[choice(sorted(inside))] = choice(VALUES)
    if choice([True, False]):
        members[choice(sorted(members))] = choice(ARRAYS)
    members["says"] = np.frombuffer(json.dumps(says).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    taken_up(call, buffer.getvalue())


def _dicts(says):
    return [value for value in says.values() if isinstance(value, dict) and value]
