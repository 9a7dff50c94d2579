"""A disk that is full or cannot be written to, and directories that somebody else uses."""

import contextlib
import functools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from disk_cases import break_off, differences, files, saying, steps_in
from kept_jobs import valley, wells

import jaxgd as gd
from jaxgd import archive

START = np.linspace(-1.2, 1, 3)


def run(directory, max_steps=90, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=20)
    return gd.minimize(valley, START, gd.Adam(0.05), max_steps, checkpoint=checkpoint, **options)


def runs(directory, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=1)
    starts = np.linspace(-2, 2, 30)[:, None]
    options = {"lanes": 4, "checkpoint": checkpoint} | options
    return gd.multistart(wells, starts, gd.Adam(0.01), 500, **options)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


@contextlib.contextmanager
def short_files(size):
    """No file can be longer: the kernel says so as it does of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mounted(*words):
    done = subprocess.run(["mount", *words], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB."""
    here = tmp_path / "disk"
    here.mkdir()
    mounted("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(here))
    yield here
    subprocess.run(["umount", str(here)], check=True)


@pytest.fixture
def not_root():
    """A directory of somebody whom permissions concern."""
    with tempfile.TemporaryDirectory() as here:
        root = os.geteuid() == 0
        if root:
            os.chown(here, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(here)
        finally:
            os.chmod(here, 0o700)
            if root:
                os.seteuid(0)


def goes_on_and_keeps_what_is_there(directory, trouble, said):
    """With checkpoints from before the trouble, and none from it; it can be resumed after it."""
    break_off(functools.partial(run, directory), 41)
    before = contents(directory)
    straight = run(None)
    with trouble, saying(said):
        result = run(directory)
    assert not differences(straight, result)
    assert contents(directory) == before
    assert steps_in(directory) == [20, 40]
    assert not differences(straight, run(directory))
    assert steps_in(directory)[-1] == 90


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000])
def test_files_that_cannot_grow(size, tmp_path):
    goes_on_and_keeps_what_is_there(tmp_path, short_files(size), "File too large; the run goes on")


def test_a_full_disk(small_disk):
    @contextlib.contextmanager
    def full():
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", 0) as file:
            while True:
                file.write(b"x" * 512)
        yield
        (small_disk / "filler").unlink()

    goes_on_and_keeps_what_is_there(small_disk, full(), "No space left on device; the run goes on")


def test_a_file_system_that_cannot_be_written_to(small_disk):
    @contextlib.contextmanager
    def read_only():
        mounted("-o", "remount,ro", str(small_disk))
        yield
        mounted("-o", "remount,rw", str(small_disk))

    goes_on_and_keeps_what_is_there(
        small_disk, read_only(), "Read-only file system; the run goes on"
    )


@pytest.mark.parametrize("left_over", [False, True])
def test_a_directory_that_cannot_be_written_to(left_over, not_root):
    @contextlib.contextmanager
    def closed():
        not_root.chmod(0o500)
        yield
        not_root.chmod(0o700)

    if left_over:
        (not_root / ".checkpoint-000009").write_text("half")
    goes_on_and_keeps_what_is_there(not_root, closed(), "Permission denied; the run goes on")


def test_a_directory_that_cannot_be_made(not_root):
    not_root.chmod(0o500)
    with saying("Permission denied; the run goes on"):
        result = run(not_root / "deeper")
    assert not differences(run(None), result)


def test_many_runs_on_a_full_disk(tmp_path):
    break_off(functools.partial(runs, tmp_path), 500)
    before = contents(tmp_path)
    with short_files(100), saying("File too large; the run goes on"):
        result = runs(tmp_path)
    assert not differences(runs(None), result)
    assert contents(tmp_path) == before


def process(code, *words):
    """Another process, which prints a line when it is there."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, words)], text=True,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert child.stdout.readline() == "there\n"
    return child


def test_one_process_at_a_time(tmp_path):
    child = process(
        """
        import pathlib, sys, time
        from jaxgd.locking import locked
        with locked(pathlib.Path(sys.argv[1])):
            print("there", flush=True)
            time.sleep(600)
        """,
        tmp_path,
    )
    for go in (run, runs):
        with pytest.raises(ValueError, match=f"in use by process {child.pid}: give another"):
            go(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not differences(run(None), run(tmp_path))


def test_a_directory_is_not_used_twice_in_one_process(tmp_path):
    def callback(result):
        run(tmp_path)

    with pytest.raises(ValueError, match=f"in use by process {os.getpid()}"):
        run(tmp_path, callback=callback)
    assert run(tmp_path).steps == 90


@pytest.mark.parametrize("name", ["lock", ".checkpoint-000001", ".checkpoint-000003"])
@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "pipe"])
def test_what_is_put_there_leads_nowhere(name, kind, tmp_path):
    directory, precious = tmp_path / "kept", tmp_path / "precious"
    directory.mkdir()
    if kind == "link":
        precious.write_text("precious")
    if kind in ("link", "dangling"):
        (directory / name).symlink_to(precious)
    elif kind == "directory":
        (directory / name).mkdir()
    else:
        os.mkfifo(directory / name)
    straight = run(None)
    led_away = name == "lock"
    warns = led_away or kind == "directory"
    with saying("the run goes on, and what is there stays") if warns else saying():
        result = run(directory)
    assert not differences(straight, result)
    assert precious.exists() == (kind == "link")
    if kind == "link":
        assert precious.read_text() == "precious"
    assert bool(files(directory)) == (not led_away)


def test_memory_that_is_short_while_a_checkpoint_is_written_ends_no_run(tmp_path, monkeypatch):
    def fill(*_):
        raise MemoryError("no room for it")

    monkeypatch.setattr(archive, "fill", fill)
    with saying("no room for it; the run goes on"):
        result = run(tmp_path)
    assert not differences(run(None), result)
    assert not files(tmp_path)
