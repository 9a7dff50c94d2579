"""Data that is read while the run goes on: memory maps and sources of batches."""

import functools
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from data_cases import COUNT, FLOAT, KEY, RULE, examples, loss, weighted_loss

import jaxgd as gd
from jaxgd import supply

W = jnp.zeros(3)
ARRAYS = examples(FLOAT)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Of three batches, so that some follow each other; and no reader may outlive its run."""
    monkeypatch.setattr(supply, "MOST_BATCHES", 3)
    yield
    assert not [t for t in threading.enumerate() if t.name == "jaxgd-reader"]


@pytest.fixture
def mapped(tmp_path):
    maps = {}
    for name, array in ARRAYS.items():
        np.save(tmp_path / f"{name}.npy", array)
        maps[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    return maps


def batches(size=5, epochs=1):
    whole = COUNT // size * size
    for _ in range(epochs):
        for at in range(0, whole, size):
            yield {name: a[at : at + size] for name, a in ARRAYS.items()}


def same(one, other):
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(one.history.loss, other.history.loss)
    np.testing.assert_array_equal(one.history.grad_norm, other.history.grad_norm)
    assert int(one.status) == int(other.status)


@pytest.mark.parametrize("drop_last", [True, False])
def test_from_the_disk_it_is_the_same_to_the_bit(mapped, drop_last):
    f = loss if drop_last else weighted_loss
    there = gd.minimize(f, W, RULE, data=gd.Batches(ARRAYS, 5, KEY, drop_last=drop_last), epochs=5)
    read = gd.minimize(f, W, RULE, data=gd.Batches(mapped, 5, KEY, drop_last=drop_last), epochs=5)
    same(read, there)
    assert int(read.steps) == 5 * (4 if drop_last else 5)


def test_from_the_disk_a_run_is_continued_where_it_was(mapped):
    data = gd.Batches(mapped, 5, KEY)
    whole = gd.minimize(loss, W, RULE, data=data, max_steps=11)
    part = gd.minimize(loss, W, RULE, data=data, max_steps=4)
    rest = gd.minimize(loss, W, RULE, data=data, max_steps=11, state=part.state)
    np.testing.assert_array_equal(rest.params, whole.params)


def test_a_bad_row_is_found_where_it_is_in_the_windows(mapped):
    """What ended inside of a window is made again from there."""

    def breaking(w, batch):
        return jnp.where(jnp.any(jnp.abs(w[0]) > 0.6), jnp.nan, 1.0) * loss(w, batch)

    options = {"max_steps": 40, "stop": gd.Stop(gtol=1e-9)}
    there = gd.minimize(breaking, W, RULE, data=gd.Batches(ARRAYS, 5, KEY), **options)
    read = gd.minimize(breaking, W, RULE, data=gd.Batches(mapped, 5, KEY), **options)
    assert there.status == gd.Status.NON_FINITE
    assert 1 < there.steps < 40
    same(read, there)
    assert read.at_step == there.at_step


class Loader:
    """As a DataLoader has it: a length, and a fresh iterator for each epoch."""

    def __len__(self):
        return COUNT // 5

    def __iter__(self):
        return batches()


@pytest.mark.parametrize("source", [Loader(), batches], ids=["an iterable", "a factory"])
def test_a_source_is_read_epoch_after_epoch(source):
    in_order = gd.Batches(ARRAYS, 5, shuffle=False)
    there = gd.minimize(loss, W, RULE, data=in_order, max_steps=10)
    read = gd.minimize(loss, W, RULE, data=gd.Batches(source), max_steps=10)
    same(read, there)


def test_epochs_of_a_source_that_knows_its_length():
    result = gd.minimize(loss, W, RULE, data=gd.Batches(Loader()), epochs=3)
    assert int(result.steps) == 12


def test_an_iterator_that_ends_early_ends_the_run():
    with pytest.warns(RuntimeWarning, match="data ended after 8 batches, before step 20"):
        result = gd.minimize(loss, W, RULE, data=gd.Batches(batches(epochs=2)), max_steps=20)
    assert (int(result.steps), len(result.history)) == (8, 8)
    assert result.status == gd.Status.STOPPED
    longer = gd.minimize(loss, W, RULE, data=gd.Batches(batches(epochs=2)), max_steps=8)
    same_but_status = dict(params=longer.params, loss=longer.history.loss)
    np.testing.assert_array_equal(result.params, same_but_status["params"])
    np.testing.assert_array_equal(result.history.loss, same_but_status["loss"])


def test_no_batch_at_all_is_an_error():
    with pytest.raises(ValueError, match="data has no batch"):
        gd.minimize(loss, W, RULE, data=gd.Batches(iter(())), max_steps=3)


def failing(at):
    for i, batch in enumerate(batches(epochs=9)):
        if i == at:
            raise OSError("the disk is gone")
        yield batch


def test_a_reader_that_fails_is_heard_and_the_run_so_far_is_kept():
    with pytest.raises(
        gd.RunFailed, match=r"failed at batch 7: OSError\('the disk is gone'\)"
    ) as e:
        gd.minimize(loss, W, RULE, data=gd.Batches(failing(7)), max_steps=20)
    assert isinstance(e.value.__cause__, OSError)
    assert e.value.__cause__.__traceback__.tb_next is not None
    result = e.value.result
    expected = gd.minimize(loss, W, RULE, data=gd.Batches(batches(epochs=9)), max_steps=7)
    np.testing.assert_array_equal(result.params, expected.params)
    assert int(result.steps) == 7


def test_a_reader_that_fails_at_once_raises_its_own_error():
    with pytest.raises(OSError, match="the disk is gone"):
        gd.minimize(loss, W, RULE, data=gd.Batches(failing(0)), max_steps=20)


def test_batches_of_another_shape_are_told():
    def uneven():
        yield from batches()
        yield {name: a[-3:] for name, a in ARRAYS.items()}

    with pytest.raises(
        gd.RunFailed, match=r"batch 4 has float\d\d \(3, 3\).*\(drop_last=True of a DataLoader"
    ):
        gd.minimize(loss, W, RULE, data=gd.Batches(uneven), max_steps=20)


def test_a_slow_reader_is_waited_for():
    def slow():
        for batch in batches():
            time.sleep(0.02)
            yield batch

    there = gd.minimize(loss, W, RULE, data=gd.Batches(Loader()), max_steps=4)
    same(gd.minimize(loss, W, RULE, data=gd.Batches(slow), max_steps=4), there)


def test_nothing_of_the_reader_is_left_when_a_run_stops_early():
    closed = []

    def endless():
        try:
            while True:
                yield from batches()
        finally:
            closed.append(True)

    result = gd.minimize(
        loss, W, RULE, data=gd.Batches(endless()), max_steps=10**6, stop=gd.Stop(target=0.1)
    )
    assert result.status == gd.Status.TARGET_REACHED
    assert closed == [True]


def test_tensors_of_others_are_taken_as_arrays():
    class Tensor:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.array, dtype)

    def tensors():
        for batch in batches():
            yield {name: Tensor(a) for name, a in batch.items()}

    read = gd.minimize(loss, W, RULE, data=gd.Batches(tensors), max_steps=4)
    same(read, gd.minimize(loss, W, RULE, data=gd.Batches(Loader()), max_steps=4))


def test_an_iterate_of_long_ago_is_returned_with_the_loss_of_its_batch(tmp_path):
    """Of an EarlyStop: its batch has been read long ago, and others are in its place."""

    def away(w):
        return {"away": jnp.abs(w[0] - 0.05)}

    watch = gd.Evaluate(away, every=1, stop=gd.EarlyStop("away", patience=30))
    record = gd.Record(evaluate=watch, params=True)
    call = functools.partial(gd.minimize, loss, W, RULE, data=gd.Batches(batches), record=record)
    result, kept = call(99), gd.Checkpoint(tmp_path, every=5)
    call(max_steps=int(result.at_step) + 20, checkpoint=kept)
    more = call(99, checkpoint=kept)
    there = gd.minimize(loss, W, RULE, data=gd.Batches(Loader()), max_steps=99, record=record)
    assert result.status == gd.Status.STOPPED
    assert int(result.steps) == int(result.at_step) + 30
    np.testing.assert_array_equal(result.params, result.history.params[int(result.at_step)])
    np.testing.assert_array_equal(result.params, there.params)
    for one in (result, more):
        assert one.loss == one.history.loss[int(one.at_step)]
        assert one.grad_norm == one.history.grad_norm[int(one.at_step)]
    assert more.steps == result.steps


def test_a_source_may_fill_the_same_arrays_again():
    def reusing():
        room = {name: np.empty_like(a[:5]) for name, a in ARRAYS.items()}
        for batch in batches():
            for name, array in batch.items():
                room[name][:] = array
            yield room

    read = gd.minimize(loss, W, RULE, data=gd.Batches(reusing), max_steps=8)
    same(read, gd.minimize(loss, W, RULE, data=gd.Batches(batches), max_steps=8))


@pytest.mark.parametrize("source", [Loader(), batches], ids=["an iterable", "a factory"])
def test_a_run_on_a_source_is_continued_where_it_was(source):
    whole = gd.minimize(loss, W, RULE, data=gd.Batches(source), max_steps=11)
    part = gd.minimize(loss, W, RULE, data=gd.Batches(source), max_steps=6)
    rest = gd.minimize(loss, W, RULE, data=gd.Batches(source), max_steps=11, state=part.state)
    np.testing.assert_array_equal(rest.params, whole.params)


def test_batches_of_another_dtype_are_told():
    def mixed():
        yield from batches()
        yield {name: a[:5].astype(np.int32) for name, a in ARRAYS.items()}

    with pytest.raises(gd.RunFailed, match=r"batch 4 has int32 \(5, 3\)"):
        gd.minimize(loss, W, RULE, data=gd.Batches(mixed), max_steps=20)


def test_what_has_come_is_used_while_a_slow_source_goes_on(monkeypatch):
    """A window of 1,000 batches would take a minute to fill."""
    monkeypatch.setattr(supply, "MOST_BATCHES", 1000)

    def slow():
        while True:
            for batch in batches():
                time.sleep(0.06)
                yield batch

    result = gd.minimize(loss, W, RULE, data=gd.Batches(slow), max_steps=1000, time_limit=1.0)
    assert result.status == gd.Status.TIME_LIMIT
    assert 0 < result.steps < 500


def test_what_has_been_changed_in_memory_stays(tmp_path):
    """A map that is copied on write has its changes nowhere else."""
    np.save(tmp_path / "x.npy", ARRAYS["x"])
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed += 1.0
    data = {"x": changed, "y": ARRAYS["y"]}
    read = gd.minimize(loss, W, RULE, data=gd.Batches(data, 5, KEY), epochs=2)
    there = {"x": ARRAYS["x"] + 1.0, "y": ARRAYS["y"]}
    same(read, gd.minimize(loss, W, RULE, data=gd.Batches(there, 5, KEY), epochs=2))
    np.testing.assert_array_equal(changed, there["x"])


def test_a_run_that_ended_by_itself_wants_nothing_of_a_reader_that_fails():
    stop = gd.Stop(target=100.0)
    result = gd.minimize(loss, W, RULE, data=gd.Batches(failing(4)), max_steps=20, stop=stop)
    assert result.status == gd.Status.TARGET_REACHED


def test_a_source_that_hangs_does_not_outlast_a_time_limit():
    freed = threading.Event()

    def hanging():
        yield from batches()
        freed.wait(20)

    began = time.perf_counter()
    result = gd.minimize(loss, W, RULE, data=gd.Batches(hanging), max_steps=20, time_limit=0.3)
    seconds = time.perf_counter() - began
    freed.set()
    for thread in threading.enumerate():
        if thread.name == "jaxgd-reader":
            thread.join(20)
    assert result.status == gd.Status.TIME_LIMIT
    assert 0 < int(result.steps) <= 4  # the last ones wait for others of their window
    assert seconds < 15


def test_a_mistake_takes_nothing_from_a_source():
    source = batches()
    with pytest.raises(TypeError, match="rule"):
        gd.minimize(loss, W, 5, data=gd.Batches(source), max_steps=3)
    assert len(list(source)) == 4


def test_aux_of_the_last_batch_is_there():
    def with_aux(w, batch):
        return loss(w, batch), batch["x"][0, 0]

    result = gd.minimize(with_aux, W, RULE, data=gd.Batches(Loader()), max_steps=4, has_aux=True)
    assert float(result.aux) in ARRAYS["x"][:, 0]


LARGE = """
import pathlib, sys
import jax.numpy as jnp, jax, numpy as np
import jaxgd as gd

rows, width = 2**16, 2**14
x = np.lib.format.open_memmap(sys.argv[1], "w+", np.float32, (rows, width))
x[::4096] = 1.0
x.flush()
x = np.load(sys.argv[1], mmap_mode="r")
assert x.nbytes == 2**32
data = gd.Batches(x, 64, jax.random.key(0))
result = gd.minimize(lambda w, batch: jnp.mean((batch @ w - 1.0) ** 2), jnp.zeros(width, "f4"),
                     gd.GradientDescent(1e-6), data=data, max_steps=400)
assert int(result.steps) == 400
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_four_gigabytes_train_in_less_than_one(tmp_path):
    """400 batches of 4 MiB from all of it. The file is sparse: hardly any of it is on the disk."""
    command = [sys.executable, "-c", LARGE, str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1024, done.stdout
