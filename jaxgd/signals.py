"""Ctrl-C as a flag that is read between calls of the compiled program."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """Whether Ctrl-C was pressed; a second time it raises KeyboardInterrupt as usual."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        """Handle SIGINT."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def catching_interrupts() -> Iterator[Interruption]:
    """Turn SIGINT into a flag for the duration; elsewhere than in the main thread do nothing.

    An exception raised while a call that was given its buffers is under way would lose them.
    """
    interruption = Interruption()
    before = signal.getsignal(signal.SIGINT)
    # None: a handler that is not Python's, which could not be put back.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield interruption
        return
    signal.signal(signal.SIGINT, interruption)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
