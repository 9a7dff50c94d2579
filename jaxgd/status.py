"""Why a run ended: one integer code, with a sentence that says what to try."""

import contextlib
import enum
from collections.abc import Iterator
from typing import Any


class Status(enum.IntEnum):
    """The reason why a run ended (RUNNING: it has not)."""

    RUNNING = 0
    TARGET_REACHED = 1
    CONVERGED_GRADIENT = 2
    CONVERGED_LOSS = 3
    CONVERGED_PARAMS = 4
    MAX_STEPS = 5
    NON_FINITE = 6
    TIME_LIMIT = 7
    INTERRUPTED = 8
    STOPPED = 9
    PRUNED = 10
    NOT_STARTED = 11

    @property
    def message(self) -> str:
        """What happened, and what to try if it was not what you wanted."""
        return _MESSAGES[self]

    @property
    def converged(self) -> bool:
        """Whether a test that the user asked for was met."""
        return Status.TARGET_REACHED <= self <= Status.CONVERGED_PARAMS

    @property
    def failed(self) -> bool:
        """Whether the run gave no result of its own that can be trusted."""
        return self in _FAILED


_FAILED = {Status.NON_FINITE, Status.INTERRUPTED, Status.PRUNED, Status.NOT_STARTED}

_MESSAGES = {
    Status.RUNNING: "The run has not ended yet.",
    Status.TARGET_REACHED: "The loss reached the target.",
    Status.CONVERGED_GRADIENT: "Converged: the largest gradient entry is at or below gtol.",
    Status.CONVERGED_LOSS: "Converged: the loss changes by no more than ftol (or frtol).",
    Status.CONVERGED_PARAMS: "Converged: no parameter moves by more than xtol.",
    Status.MAX_STEPS: (
        "All max_steps steps were made. If the loss was still falling, give more steps "
        "(state=result.state with a higher max_steps continues this run) or a higher learning rate."
    ),
    Status.NON_FINITE: (
        "The loss or its gradient became NaN or infinite; an iterate from before is returned. "
        "Try a learning rate 3 to 10 times lower, gd.ClipByGlobalNorm in a chain before the rule, "
        "or bounds that keep the params where the loss is defined; at step 0, another start."
    ),
    Status.TIME_LIMIT: "The time limit passed; state=result.state continues the run.",
    Status.INTERRUPTED: "Interrupted from the keyboard; state=result.state continues the run.",
    Status.STOPPED: (
        "Stopped by the callback, by a metric or for want of data; state=result.state continues "
        "the run."
    ),
    Status.PRUNED: "The run was dropped because others did better.",
    Status.NOT_STARTED: "The job ended before this run began.",
}


@contextlib.contextmanager
def keeping(result: object) -> Iterator[None]:
    """Let an error that is raised inside have a result, as its attribute `result`."""
    try:
        yield
    except Exception as error:
        if getattr(error, "result", None) is None:  # a RunFailed has one of its own
            with contextlib.suppress(AttributeError):  # a property of the user's
                error.result = result  # type: ignore[attr-defined]
                error.add_note("Its attribute `result` has what had been done up to then.")
        raise


class RunFailed(RuntimeError):
    """Raised in the place of returning a failed result where `throw=True` was asked for.

    Attributes:
      result: the `Result` that would have been returned.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.result)
