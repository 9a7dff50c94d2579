"""What jobs are given, and what is known of them."""

import contextlib
import dataclasses
import functools
import pathlib
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import jaxgd as gd

EXAMPLES, BATCH = 512, 32

BROUGHT: weakref.WeakSet[Any] = weakref.WeakSet()
"""The functions and objects that jobs brought and that have not died."""


@dataclasses.dataclass(frozen=True)
class Given:
    """Random numbers, and where to find and leave files."""

    draw: np.random.Generator
    directory: pathlib.Path

    def point(self, *shape: int) -> np.ndarray:
        """Params, or many: three of them unless told otherwise."""
        return self.draw.uniform(-1, 1, shape or (3,)).astype(np.float32)

    def rule(self) -> gd.Adam:
        """Of another rate each time."""
        return gd.Adam(float(self.draw.uniform(0.01, 0.1)))

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Examples of a straight line."""
        x = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype(np.float32)
        return {"x": x, "y": x @ np.array([1, -2, 3], np.float32)}

    def mapped(self) -> dict[str, np.ndarray]:
        """The same, on the disk."""
        maps = {}
        for name, array in self.arrays.items():
            path = self.directory / f"{name}.npy"
            if not path.exists():
                np.save(path, array)
            maps[name] = np.load(path, mmap_mode="r")
        return maps


Job = Callable[[Given], Any]


def joins(jobs: list[Job]) -> Callable[[Job], Job]:
    """A decorator that puts a job into a list."""

    def put(job: Job) -> Job:
        jobs.append(job)
        return job

    return put


def do(job: Job, given: Given) -> None:
    """Do a job; that runs fail on purpose is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        job(given)


def brought(loss: Any) -> Any:
    """The same, whose death is watched."""
    BROUGHT.add(loss)
    return loss


@contextlib.contextmanager
def expected(*errors: type[BaseException]) -> Iterator[None]:
    """What must raise one of these."""
    try:
        yield
    except errors:
        return
    raise AssertionError(f"a job did not raise one of {errors}")
