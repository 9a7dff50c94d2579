"""Checkpoints on the disk: each whole or not there, checked when it is read, the last few kept."""

import contextlib
import dataclasses
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from jaxgd.archive import DAMAGES, DIGITS, Contents, put, read, reason_of
from jaxgd.canonical import as_count, is_quantity
from jaxgd.locking import locked
from jaxgd.refusal import described

SHARE = 50
"""A checkpoint that takes a second is not made again for so many seconds: at most 2% of a run."""
tell: ContextVar[Callable[[int], None]] = ContextVar("tell", default=lambda _: None)
"""Called with the step at which a run goes on, once its checkpoint is known to be its own."""
_NAME = re.compile(rf"checkpoint-(\d{{6,}})-([0-9a-f]{{{DIGITS}}})\.npz")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept on the disk, so that the same call goes on after whatever ended it.

    If `directory` holds a checkpoint of this very run, the call continues it, to the same bits as
    if it had never been ended; the whole history is in the result. If it holds one of another run
    (another form of params, other numbers of the rule, other values of params, args or data), that
    is an error. `time_limit` and callbacks may differ; of a single run tolerances and `max_steps`
    too, so that one that has ended can be made longer.

    Files are written by a thread while the device computes, each under another name first, and
    found damaged when they are read if a single bit of them is another. They are NumPy archives
    without pickles. If the disk is full or not writable the run goes on and warns once. One process
    uses a directory at a time. When the process is told to terminate (SIGTERM), or after Ctrl-C, a
    last checkpoint is written first; a second Ctrl-C does not wait for it.

    Args:
      directory: made if it is not there.
      every: seconds from one checkpoint to the next, a float, or, as an int, steps: of a single
        run exactly, in many runs counted over all of them and seen between calls. Seconds are
        stretched where writing would cost more than 2% of the time.
      keep: how many of the latest checkpoints stay.

    Raises:
      TypeError, ValueError: naming the argument, what was given and what was expected.

    Example:
      >>> import tempfile, jax.numpy as jnp, jaxgd as gd
      >>> def loss(x):
      ...     return jnp.sum((x - 1) ** 2)
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     kept = gd.Checkpoint(directory, every=100)
      ...     some = gd.minimize(loss, jnp.zeros(2), gd.Adam(0.1), 300, checkpoint=kept)
      ...     more = gd.minimize(loss, jnp.zeros(2), gd.Adam(0.1), 500, checkpoint=kept)
      >>> int(some.steps), int(more.steps), len(more.history.loss)
      (300, 500, 501)
    """

    directory: str | os.PathLike[str]
    every: float = 10.0
    keep: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.directory, str | os.PathLike):
            raise TypeError(f"directory must be a path, got {described(self.directory)}")
        if not str(self.directory) or "\0" in str(self.directory):
            raise ValueError(f"directory must be a path, got {str(self.directory)!r}")
        told = "every must be a float, seconds > 0, or an int, steps >= 1"
        if not is_quantity(self.every) or np.ndim(self.every):
            raise TypeError(f"{told}, got {described(self.every)}")
        if not 0 < self.every < float("inf"):
            raise ValueError(f"{told}, got {self.every}")
        as_count(self.keep, "keep", at_least=1)

    @property
    def path(self) -> Path:
        """The directory, of which "~" is the user's own."""
        return Path(os.path.expanduser(self.directory)).absolute()

    @property
    def steps(self) -> int | None:
        """Steps from one checkpoint to the next; None if seconds were given."""
        whole = np.issubdtype(np.asarray(self.every).dtype, np.integer)
        return int(self.every) if whole else None


class Vault:
    """The directory of a `Checkpoint` while a run uses it."""

    def __init__(self, checkpoint: Checkpoint, *, writes: bool = True) -> None:
        self._writes = writes
        self._given, self.path = checkpoint, checkpoint.path
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jaxgd-checkpoint")
        self._under_way: Future[None] | None = None
        self._given_up = threading.Event()
        self._said = False
        self._number = max((number for number, _ in self._files()), default=0)
        self._next_time = time.perf_counter() + float(checkpoint.every)
        self._next_step = 0
        self._soonest = 0.0
        """When a further one costs no more than it may."""

    def newest(self) -> Contents | None:
        """The latest checkpoint that can be read; of those that cannot, a warning says so."""
        damaged = []
        for _, path in sorted(self._files(), reverse=True):
            try:
                found = read(path)
            except DAMAGES as error:
                damaged.append(f"{path} cannot be read ({reason_of(error)})")
                continue
            if damaged:
                warn(f"{'; '.join(damaged)}: the one before it is used, {path.name}")
            return found
        if damaged:
            warn(f"{'; '.join(damaged)}: there is no other, and the run begins anew")
        return None

    def begin_at(self, step: int) -> None:
        """Say where the run is: at the next multiple of `every` steps a checkpoint is due."""
        if self._given.steps is not None:
            self._next_step = (step // self._given.steps + 1) * self._given.steps

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint shall be made of a run that is at a step."""
        if self._given.steps is not None:
            return step >= self._next_step
        idle = self._under_way is None or self._under_way.done()
        return idle and self.seconds_left == 0

    @property
    def next_step(self) -> int | None:
        """Where a call has to end."""
        return None if self._given.steps is None else self._next_step

    @property
    def seconds_left(self) -> float:
        """Until a checkpoint is due by the clock."""
        left = max(self._next_time, self._soonest) - time.perf_counter()
        return float("inf") if self._given.steps is not None else max(0.0, left)

    def save(self, step: int, make: Callable[[], Contents], spent: float = 0.0) -> None:
        """Write a checkpoint while the run goes on.

        Args:
          step: where the run is.
          make: what is in it; called on another thread.
          spent: seconds for which the run has waited already.
        """
        self.settle()
        self.begin_at(step)
        self._next_time = time.perf_counter() + float(self._given.every)
        self._soonest = time.perf_counter() + SHARE * spent
        if self._writes:
            self._under_way = self._pool.submit(self._write, make)

    def settle(self) -> None:
        """Wait until what is being written is on the disk; warn, once, if it cannot be."""
        if self._under_way is None:
            return
        writing, self._under_way = self._under_way, None
        try:
            writing.result()
        except (OSError, MemoryError) as error:
            if not self._said:
                self._said = True
                why = getattr(error, "strerror", None) or reason_of(error)
                warn(f"{self.path}: {why}; the run goes on, and what is there stays")
        except KeyboardInterrupt:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Let what is being written go: nobody waits for it any more."""
        self._under_way = None
        self._given_up.set()

    def say_where(self) -> None:
        """Say, before the process ends, that all is on the disk."""
        self.settle()
        if not self._said:
            warn(f"{self.path}: told to terminate; the same call goes on from what is there")

    def close(self) -> None:
        """Wait for the last one."""
        try:
            self.settle()
        finally:
            self._pool.shutdown()

    def _files(self) -> list[tuple[int, Path]]:
        try:
            names = os.listdir(self.path)
        except OSError:
            return []
        found = [(match, name) for name in names if (match := _NAME.fullmatch(name))]
        return [(int(match[1]), self.path / name) for match, name in found]

    def _write(self, make: Callable[[], Contents]) -> None:
        """Write a checkpoint, and let go of those that are too old."""
        began = time.thread_time()  # not the time for which the disk is waited for
        self._number += 1
        put(self.path, f"checkpoint-{self._number:06d}", make, self._given_up)
        for _, path in sorted(self._files())[: -self._given.keep]:
            path.unlink(missing_ok=True)
        self._soonest += SHARE * (time.thread_time() - began)


@contextlib.contextmanager
def opened(checkpoint: Checkpoint | None) -> Iterator[Vault | None]:
    """The vault of a checkpoint, for this process alone; None where there is none to be."""
    if checkpoint is None:
        yield None
        return
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint must be a gd.Checkpoint, got {described(checkpoint)}")
    path = checkpoint.path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"checkpoint: {path} is no directory") from None
    except OSError as error:
        warn(f"{path}: {error.strerror}; the run goes on without")
        yield None
        return
    with locked(path) as problem:
        if problem is not None:
            warn(f"{path}: {problem}; the run goes on, and what is there stays")
        else:
            _clear(path)
        vault = Vault(checkpoint, writes=problem is None)
        try:
            yield vault
        except KeyboardInterrupt:
            vault.give_up()
            raise
        finally:
            vault.close()


def _clear(path: Path) -> None:
    """Remove what a process that was killed has begun to write."""
    for left_over in path.glob(".checkpoint-*"):
        with contextlib.suppress(OSError):  # a directory, or one that cannot be written to
            left_over.unlink(missing_ok=True)


@contextlib.contextmanager
def understanding(path: Path) -> Iterator[None]:
    """Read what somebody may have made up."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"checkpoint: what is in {path} was not written by jaxgd ({type(error).__name__}: "
            f"{reason_of(error)})"
        ) from error


def warn(said: str) -> None:
    """Warn about checkpoints."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"checkpoint: {said}", RuntimeWarning, stacklevel=level)


_OURS = ("jaxgd", "contextlib")
"""Modules of which no line is the user's."""
