"""Data that is read on the host while the device computes: memory maps, and sources of batches."""

import contextlib
import dataclasses
import itertools
import mmap
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgd.canonical import is_number
from jaxgd.data import Batches
from jaxgd.feed import Feed, Plan
from jaxgd.programs import option
from jaxgd.refusal import described
from jaxgd.tree import PyTree, is_key, strong

WINDOW_BYTES = 2**24
"""Of the batches that are read together, if they are not larger each."""
MOST_BATCHES = 1024
"""In a window."""
PATIENCE_SECONDS = 0.1
"""After which what has come of a window is used, if it is waited for."""
HANGS_SECONDS = 5.0
"""After which a source that does not answer is left alone."""
KEPT = 3
"""Windows of the past: a run that ended is done again from where its chunk, or the one before,
began."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Batches that follow one another."""

    first: int
    """The step of the first one."""
    end: int
    """The step after the last one."""
    feed: Feed


class Supply:
    """The windows of a run, read ahead on a thread."""

    def __init__(self, data: Batches, first: int, until: int) -> None:
        self.error: BaseException | None = None
        """What the reader raised."""
        self.gives_up: Callable[[], bool] = lambda: False
        """Whether nobody waits for a batch any more."""
        self.ended = False
        """Whether somebody asked for a batch after the last one."""
        read, what = (_from_source, data.arrays) if data.is_source else (_from_disk, data)
        batches = read(what, first)
        try:
            head = next(batches)
        except StopIteration:
            raise ValueError(f"data has no batch: {described(data.arrays)} is empty") from None
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(head))
        self._length = int(np.clip(WINDOW_BYTES // max(size, 1), 1, MOST_BATCHES))
        self.plan = _SOURCE if data.is_source else data.plan
        self._windows: deque[Window] = deque(maxlen=KEPT)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._closed, self._x64 = threading.Event(), option("jax_enable_x64")
        wanted = itertools.islice(itertools.chain([head], batches), max(1, until - first))
        self._thread = threading.Thread(
            target=self._read, args=(wanted, batches, first), name="jaxgd-reader", daemon=True
        )
        self._thread.start()

    def end_at(self, step: int) -> int:
        """The end of the window that holds a step; the step itself if there is no further batch."""
        while not self._windows or step >= self._windows[-1].end:
            if self.ended:
                return step
            try:
                item = self._queue.get(timeout=0.05)
            except queue.Empty:
                if self.gives_up():
                    return step
                continue
            if not isinstance(item, Window):
                self.error, self.ended = item, True
                return step
            self._windows.append(dataclasses.replace(item, feed=jax.device_put(item.feed)))
        return self._window(step).end

    @property
    def end(self) -> int:
        """The step after the last batch that was read and asked for."""
        return self._windows[-1].end

    def feed(self, step: int) -> Feed:
        """The window that holds a step, or the nearest one that is there."""
        self.end_at(step)
        return self._window(step).feed

    def close(self) -> None:
        """Stop reading; the reader's thread ends, unless it hangs in a source of the user's."""
        self._closed.set()
        self._thread.join(HANGS_SECONDS)

    def _window(self, step: int) -> Window:
        for window in reversed(self._windows):
            if window.first <= step:
                return window
        return self._windows[0]

    def _read(self, wanted: Iterator[PyTree], batches: Any, first: int) -> None:
        last: Any = None
        try:
            with jax.enable_x64(self._x64):  # threads do not inherit the caller's settings
                self._read_all(wanted, first)
        except BaseException as error:  # raised again in the user's thread
            last = error
        finally:
            with contextlib.suppress(Exception):
                batches.close()
            self._put(last)

    def _read_all(self, wanted: Iterator[PyTree], first: int) -> None:
        some: list[PyTree] = []
        began = time.monotonic()
        try:
            for batch in wanted:
                some.append(batch)
                waited_for = self._queue.empty() and time.monotonic() - began > PATIENCE_SECONDS
                if len(some) < self._length and not waited_for:
                    continue
                self._put(self._window_of(some, first))
                first, some, began = first + len(some), [], time.monotonic()
                if self._closed.is_set():
                    return
        finally:  # what came before the end, or before the reader failed, is used
            if some:
                self._put(self._window_of(some, first))

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.05)
                return

    def _window_of(self, batches: list[PyTree], first: int) -> Window:
        missing = self._length - len(batches)
        whole = [*batches, *[batches[-1]] * missing]  # one shape, whatever is left
        arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *whole)
        return Window(first, first + len(batches), Feed(arrays, None, np.int32(first)))


_SOURCE = Plan(0, 0, streams=True)
"""Of batches that a source has made."""


@contextlib.contextmanager
def supplied(data: Batches | None, first: int, until: int) -> Iterator[Supply | None]:
    """The supply of a run from step `first` on; None if its data, if any, is on the device."""
    if not isinstance(data, Batches) or not data.reads:
        yield None
        return
    supply = Supply(data, first, until)
    try:
        yield supply
    finally:
        supply.close()


def _from_disk(data: Batches, first: int) -> Iterator[PyTree]:
    """The batches from a step on, in the order in which the device would take them."""
    plan, order = data.plan, data.order
    words = None if order is None else np.asarray(order)
    for step in itertools.count(first):
        index = plan.indices_on_host(words, step)
        yield jax.tree.map(lambda leaf: strong(np.asarray(leaf[index])), data.arrays)  # noqa: B023
        for leaf in jax.tree.leaves(data.arrays):
            _release(leaf)


def _release(leaf: Any) -> None:
    """Let the system take back the pages of a memory map that have been read."""
    mapped = getattr(leaf, "_mmap", None)
    if getattr(leaf, "mode", None) == "c":  # what has been changed is in memory alone
        return
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _begun(source: Any) -> Iterator[Any]:
    """The iterator of an epoch."""
    made = source() if callable(source) else source
    if not hasattr(made, "__iter__"):
        raise TypeError(
            f"arrays, a function, must return an iterator of batches, got {described(made)}"
        )
    return iter(made)


def _copied(leaf: Any) -> Any:
    array = None if is_key(leaf) else strong(np.array(leaf))
    if array is None or not is_number(array):
        raise TypeError(
            f"batches of data must hold arrays of numbers, got {described(leaf)} in one"
        )
    return array


def _from_source(source: Any, first: int) -> Iterator[PyTree]:
    """The batches of a source from a step on, epoch after epoch, all of one form.

    An iterator goes on where it is; another source is read from its beginning again.
    """
    form, count, skipped = None, 0, 0 if hasattr(source, "__next__") else first
    while True:
        batches = _begun(source)
        before = count
        for batch in batches:
            count += 1
            if count <= skipped:
                continue
            # Copies: a source may fill the same arrays again.
            arrays = jax.tree.map(_copied, batch)
            kinds = [f"{a.dtype} {a.shape}" for a in jax.tree.leaves(arrays)]
            if not kinds:
                raise TypeError(f"batches of data must hold arrays, got {described(batch)}")
            its_form = jax.tree.structure(arrays), kinds
            form = form or its_form
            if its_form != form:
                raise ValueError(
                    f"all batches of data must have one form, but batch {count - 1} has "
                    f"{', '.join(kinds)} where the first one has {', '.join(form[1])}: leave out "
                    "what is too short for a batch (drop_last=True of a DataLoader)"
                )
            yield arrays
        # An iterator that is its own cannot begin anew, and an empty epoch would never end.
        if count == before or (batches is source):
            return
