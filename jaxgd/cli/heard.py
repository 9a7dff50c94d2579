"""What is heard while the library runs: its warnings about checkpoints, and that it shall end."""

import contextlib
import dataclasses
import signal
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click


@dataclasses.dataclass
class Heard:
    """What was heard."""

    below_a_bar: bool = False
    """Whether the cursor may stand behind one."""
    terminated: bool = False
    """Whether the process was told to terminate."""
    said: set[str] = dataclasses.field(default_factory=set)
    """What has been said of checkpoints."""

    def say(self, text: str) -> None:
        """Say something in a line of its own, the first time, if the table will not say it."""
        if text not in self.said and "told to terminate" not in text:
            self.said.add(text)
            click.echo("\n" * self.below_a_bar + f"jaxgd: {text}", err=True)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Note the signal to terminate if the library hands it on, its last checkpoint written.

        At other times there is nothing to write, and it acts as if nobody had asked for it.
        """
        if frame is not None and frame.f_globals.get("__name__") == "jaxgd.signals":
            self.terminated = True
            return
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)


@contextlib.contextmanager
def listening(heard: Heard) -> Iterator[None]:
    """Listen to warnings about checkpoints, and to SIGTERM if nobody else does."""
    with warnings.catch_warnings(), _noting_sigterm(heard):
        warnings.filterwarnings("always", "checkpoint: ", RuntimeWarning)
        show: Any = warnings.showwarning

        def say(message: Any, category: Any, *where: Any, **more: Any) -> None:
            if category is RuntimeWarning and str(message).startswith("checkpoint: "):
                heard.say(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = say
        yield


@contextlib.contextmanager
def _noting_sigterm(heard: Heard) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, heard.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
