"""Runs that are told to end: by signals, by errors in callbacks and in threads."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from disk_cases import differences, files, saying, steps_in
from kept_jobs import valley, wells

import jaxgd as gd
from jaxgd import archive, crew

START = np.linspace(-1.2, 1, 3)
STARTS = np.linspace(-2, 2, 100)[:, None]
HERE = Path(__file__).parent

SCRIPT = """
    import sys, numpy as np, jaxgd as gd
    from kept_jobs import valley, wells
    kind, directory, steps = sys.argv[1], sys.argv[2], 2**30
    seen = []

    def callback(outcome):
        seen.append(outcome)
        if len(seen) == 4:
            print("there", flush=True)

    options = dict(record=None, checkpoint=gd.Checkpoint(directory, every=1e6), callback=callback)
    if kind == "one":
        gd.minimize(valley, np.linspace(-1.2, 1, 3), gd.Adam(1e-3), steps, **options)
    else:
        starts = np.linspace(-2, 2, 30)[:, None]
        gd.multistart(wells, starts, gd.Adam(1e-3), steps, lanes=4, **options)
    print("ended", flush=True)
"""


def spawned(code, *words):
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, words)], text=True,
        env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_signal_to_terminate_has_a_checkpoint_made_and_goes_on_its_way(kind, tmp_path):
    steps = []
    for _ in range(2):  # the second process goes on where the first was
        child = spawned(SCRIPT, kind, tmp_path)
        assert child.stdout.readline() == "there\n", child.communicate()
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=120)
        assert child.returncode == -signal.SIGTERM
        assert "ended" not in out
        steps.append(steps_in(tmp_path)[-1])
    assert 0 < steps[0] < steps[1]
    assert len(files(tmp_path)) == 2


def one(directory, max_steps=200, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=50)
    options = {"checkpoint": checkpoint} | options
    return gd.minimize(valley, START, gd.Adam(0.05), max_steps, **options)


def many(directory, max_steps=200, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=1)
    options = {"lanes": 4, "record": gd.Record(every=5), "checkpoint": checkpoint} | options
    return gd.multistart(wells, STARTS, gd.Adam(0.01), max_steps, **options)


@pytest.fixture
def short_calls(monkeypatch):
    """Many looks while the runs are made."""
    monkeypatch.setattr(crew, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(crew, "LOOK_SECONDS", 0.0)


def in_the_midst(act, step=30):
    """A callback that acts when something has been done, and not all."""

    def callback(outcome):
        if np.max(outcome.steps) >= step:
            act()

    return callback


@pytest.mark.usefixtures("short_calls")
@pytest.mark.parametrize("go", [one, many])
def test_after_ctrl_c_the_same_call_goes_on(go, tmp_path):
    callback = in_the_midst(lambda: signal.raise_signal(signal.SIGINT))
    stopped = go(tmp_path, callback=callback)
    assert "Interrupted from the keyboard" in stopped.message  # of many, all may have ended by then
    assert not differences(go(None), go(tmp_path))


@pytest.mark.usefixtures("short_calls")
@pytest.mark.parametrize("go", [one, many])
def test_a_second_ctrl_c_stops_at_once(go, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, callback=in_the_midst(twice))
    assert signal.getsignal(signal.SIGINT) is handler
    assert not differences(go(None), go(tmp_path))


@pytest.mark.usefixtures("short_calls")
@pytest.mark.parametrize("go", [one, many])
def test_nor_does_it_wait_for_what_is_being_written(go, tmp_path, monkeypatch):
    begun, whole = threading.Event(), []

    def slowly(file, *_):
        for _ in range(1200):
            file.write(bytes(2**16))
            begun.set()
            time.sleep(0.05)
        whole.append(file)

    def twice():
        if begun.is_set():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(archive, "fill", slowly)
    often = gd.Checkpoint(tmp_path, every=1e-9)
    with pytest.raises(KeyboardInterrupt):
        go(None, 2**20, checkpoint=often, callback=in_the_midst(twice, 0))
    assert not whole
    assert not [*tmp_path.glob(".checkpoint-*"), *files(tmp_path)]


@pytest.mark.parametrize("go", [one, many])
def test_a_handler_of_ones_own_is_called_when_the_checkpoint_is_there(go, tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(len(steps_in(tmp_path))))
    callback = in_the_midst(lambda: signal.raise_signal(signal.SIGTERM), 1)
    try:
        with saying("told to terminate; the same call goes on from what is there"):
            go(tmp_path, callback=callback)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(seen) == 1
    assert seen[0] > 0
    assert not differences(go(None), go(tmp_path))


class Own(Exception):
    """An error of the user's."""


class Closed(Own):
    """One that lets nothing be put into it."""

    @property
    def result(self):
        return "mine"


def raises():
    raise Own("mine")


@pytest.mark.usefixtures("short_calls")
@pytest.mark.parametrize("go", [one, many])
@pytest.mark.parametrize("kept", [False, True])
def test_an_error_of_a_callback_has_what_had_been_done(go, kept, tmp_path):
    directory = tmp_path if kept else None
    with pytest.raises(Own, match="mine") as error:
        go(directory, callback=in_the_midst(raises))
    result, straight = error.value.result, go(None)
    assert np.max(result.steps) >= 30
    if go is one:
        assert isinstance(result, gd.Result)
        assert gd.Status(int(result.status)) == gd.Status.RUNNING
        more = one(None, state=result.state)
        assert not differences(straight, more, without=("history", "evaluations"))
    else:
        assert isinstance(result, gd.Runs)
        ended = result.status != gd.Status.RUNNING
        np.testing.assert_array_equal(result.loss[ended], straight.loss[ended])
        assert 0 < ended.sum() < len(ended)
    if kept:
        assert not differences(straight, go(directory))


@pytest.mark.parametrize("go", [one, many])
def test_an_error_that_takes_nothing_comes_through_as_it_is(go):
    def act():
        raise Closed("mine")

    with pytest.raises(Closed, match="mine") as error:
        go(None, callback=in_the_midst(act, 1))
    assert error.value.result == "mine"


MIDST = """
    import pathlib, signal, sys, threading, time, warnings
    import numpy as np
    import jaxgd as gd
    from disk_cases import differences
    from jaxgd import archive, checkpoint as kept, crew, keeping
    from test_ends import many, one

    scene, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    crew.CALL_SECONDS, crew.LOOK_SECONDS = 0.0, 0.002
    counts, call, closed, save = [0], crew.Worker._call, crew.Gate.closed, keeping.Keeper.save
    settle, fill = kept.Vault.settle, archive.fill

    def interrupt():
        for _ in range(2):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.1)

    def when(count, act):
        counts[0] += 1
        if counts[0] == count:
            act()

    def fail():
        raise RuntimeError("of a thread")

    def failing(worker, *rest):
        when(20, fail)
        return call(worker, *rest)

    def interrupting(worker, *rest):
        late = time.monotonic() + 0.05  # it is closed only when steps have been made
        while gate and not counts[0] and not gate[0]._closed and time.monotonic() < late:
            time.sleep(0.001)
        if gate and gate[0]._closed:
            when(1, interrupt)
        return call(worker, *rest)

    gate = []

    def looking(mine):
        gate[:] = [mine]
        return closed(mine)

    def saving(keeper, place):
        when(3, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
        save(keeper, place)

    def filling(file, *what):
        when(3, interrupt)
        fill(file, *what)

    def failing_to_fill(file, *what):
        when(3, fail)
        fill(file, *what)

    go, (owner, name, patch), error = {
        "a thread raises": (many, (crew.Worker, "_call", failing), RuntimeError),
        "waiting for the threads": (many, (crew.Worker, "_call", interrupting), KeyboardInterrupt),
        "while they wait": (many, (keeping.Keeper, "save", saving), KeyboardInterrupt),
        "while one is written": (one, (archive, "fill", filling), KeyboardInterrupt),
        "while some are written": (many, (archive, "fill", filling), KeyboardInterrupt),
        "one cannot be made": (one, (archive, "fill", failing_to_fill), RuntimeError),
        "some cannot be made": (many, (archive, "fill", failing_to_fill), RuntimeError),
    }[scene]
    before = getattr(owner, name)
    crew.Gate.closed = looking
    setattr(owner, name, patch)
    try:
        go(directory)
    except error:
        print("came through")
    setattr(owner, name, before)
    print(threading.active_count(), differences(go(None), go(directory)))
"""
SCENES = [
    "a thread raises", "waiting for the threads", "while they wait", "while one is written",
    "while some are written", "one cannot be made", "some cannot be made",
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_hangs(scene, tmp_path):
    """In a process of its own, since one that hangs has to be killed."""
    child = spawned(MIDST, scene, tmp_path)
    try:
        out, error = child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    assert out == "came through\n1 []\n", error
