"""The limits: `limit.c`, compiled for this machine, as contenders."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
import weakref
from typing import Any

import jax
import numpy as np

from benchmarks.case import SkippedError
from benchmarks.measure import LIMIT, Contender
from benchmarks.work import Work

SOURCE = pathlib.Path(__file__).parent / "limit.c"
BLOCK = 64
LOSSES = ("rosenbrock", "rastrigin", "exponentials")
RULES = ("adam", "momentum", "rmsprop", "decayed")


@functools.cache
def folder() -> pathlib.Path:
    """For programs and starts; it goes when Python ends."""
    made = tempfile.TemporaryDirectory(prefix="jaxgd-limit-")
    weakref.finalize(folder, made.cleanup)
    return pathlib.Path(made.name)


@functools.cache
def program(mode: str, size: int) -> pathlib.Path:
    """The compiled program for losses of `size` parameters."""
    if jax.default_backend() != "cpu":
        raise SkippedError("the limit: skipped, it is a C program for a CPU")
    if shutil.which("gcc") is None:
        raise SkippedError("the limit: skipped, there is no gcc")
    made = folder() / f"{mode}-{size}"
    flags = ["-O3", "-march=native", "-ffast-math", "-pthread", f"-DD={size}"]
    flags += [] if mode == "many" else ["-DALONE"]
    command = ["gcc", *flags, str(SOURCE), "-o", str(made), "-lm"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SkippedError(f"the limit: skipped, gcc failed: {done.stderr.splitlines()[0]}")
    return made


class Process:
    """The program under way: each call has it do its work once."""

    def __init__(self, size: int, words: list[Any]):
        command = [str(program(words[0], size)), *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        weakref.finalize(self, _end, self.process)

    def __call__(self) -> tuple[float, float]:
        """Seconds by its own clock, and the median of the final losses."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        took, loss = self.process.stdout.readline().split()
        return float(took) * 1e-9, float(loss)


def _end(process: subprocess.Popen) -> None:
    process.stdin.close()
    process.wait()


def _contender(name: str, run: Process) -> Contender:
    return Contender(name, LIMIT, run, lambda loss: loss, clocked=True)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def limit_many(work: Work) -> Contender:
    """Blocks of starts on all cores."""
    if work.runs % BLOCK:
        raise SkippedError(f"the limit: skipped, it wants a multiple of {BLOCK} starts")
    return _contender(f"C, {cores()} threads", _started("many", work, work.starts, cores()))


def limit_one(work: Work, start: np.ndarray) -> Contender:
    """One run of Rosenbrock under Adam, with the loss of every step."""
    return _contender("C", _started("one", work, start[None], 1))


def _started(mode: str, work: Work, starts: np.ndarray, threads: int) -> Process:
    path = folder() / f"starts-{len(list(folder().iterdir()))}"
    np.ascontiguousarray(starts, np.float32).tofile(path)
    loss, rule = LOSSES.index(work.problem.name), RULES.index(work.setting.name)
    words = [mode, loss, rule, int(work.history), len(starts), work.steps, work.rate, threads, path]
    return Process(starts.shape[1], words)


def limit_copy(numbers: int, steps: int) -> Contender:
    """Params and two moments copied at each step."""
    run = Process(10, ["copy", numbers, steps, cores()])
    return Contender("C, a copy of three such arrays a step", LIMIT, run, clocked=True)
