"""Where workers wait while somebody looks at all that they do."""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Workers pass it between two calls; while it is closed they stand still there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._at_work = self._waiting = 0

    def begin(self, workers: int) -> None:
        """So many workers begin."""
        with self._changed:
            self._at_work, self._waiting = workers, 0

    def pass_through(self) -> None:
        """Go on, once it is open; of a worker."""
        with self._changed:
            if not self._closed:
                return
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._closed)
            self._waiting -= 1

    def leave(self) -> None:
        """Do nothing any more; of a worker."""
        with self._changed:
            self._at_work -= 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody is at work inside."""
        try:  # also what interrupts the waiting must not leave it closed
            with self._changed:
                self._closed = True
                self._changed.wait_for(lambda: self._waiting >= self._at_work)
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
