"""Ctrl-C, and the signal to terminate, as flags that are read between calls of the program."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interruption:
    """Whether Ctrl-C was pressed; a second time it raises KeyboardInterrupt as usual."""

    def __init__(self) -> None:
        self.requested = False
        self.terminated = False
        """Whether the process has been told to terminate."""

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        """Handle SIGINT, or SIGTERM."""
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.terminated = self.terminated or signum == signal.SIGTERM
        self.requested = True


@contextlib.contextmanager
def catching_interrupts(*, terminating: bool = False) -> Iterator[Interruption]:
    """Turn SIGINT into a flag for the duration; elsewhere than in the main thread do nothing.

    An exception raised while a call that was given its buffers is under way would lose them.

    Args:
      terminating: whether SIGTERM is one too; in the end it goes on its way.
    """
    interruption = Interruption()
    caught = [signal.SIGINT, signal.SIGTERM] if terminating else [signal.SIGINT]
    before = {signum: signal.getsignal(signum) for signum in caught}
    # None: a handler that is not Python's, which could not be put back.
    if threading.current_thread() is not threading.main_thread() or None in before.values():
        yield interruption
        return
    with contextlib.ExitStack() as after:
        for signum, handler in before.items():
            signal.signal(signum, interruption)
            after.callback(_restore, signum, handler, interruption)
        yield interruption


def _restore(signum: int, handler: Any, interruption: Interruption) -> None:
    signal.signal(signum, handler)
    if signum == signal.SIGTERM and interruption.terminated:
        signal.raise_signal(signum)
