"""`jaxgd run`: from the options to a result, on the screen and on the disk."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgd.cli.errors import INTERRUPTED, TERMINATED, refusing
from jaxgd.cli.given import Folder, configure
from jaxgd.cli.job import checked_job
from jaxgd.cli.many import verdict_on_many
from jaxgd.cli.screen import chained, draw, files_row, made_by, precision, say
from jaxgd.files import write
from jaxgd.result import Result
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.target import Target, find_target

# In the place of the messages that speak of Python.
_MESSAGES = {
    Status.MAX_STEPS: (
        "All --max-steps steps were made. If the loss was still falling, give more steps or a "
        "higher learning rate."
    ),
    Status.NON_FINITE: (
        "The loss or its gradient became NaN or infinite; an iterate from before is returned. "
        "Try a learning rate 3 to 10 times lower, or --clip-norm 1; at step 0, another start."
    ),
    Status.TIME_LIMIT: "The time limit passed; this is how far the run got.",
}


def run(what: str, **given: Any) -> int:
    """Minimise the loss of TARGET from its start, or from many.

    TARGET is a landscape ("jaxgd landscapes" lists them), or a file of yours and the name of a
    loss in it: path/to/file.py:loss. The file also defines params, the start: a pytree of arrays,
    or a function that makes one from a JAX key. It may define bounds = (lower, upper), numbers or
    pytrees like params: no run leaves them, and many starts are drawn between them. A loss with a
    keyword key is stochastic: it gets a fresh one at every step.

    With --out DIR a run that ends too early, by Ctrl-C, SIGTERM, its time limit or a power cut,
    goes on to the same bits when the same command runs again, or "jaxgd resume DIR". Until it has
    finished it is kept in DIR/checkpoint.
    """
    configure(given)
    with refusing():
        job = checked_job(given)
        target = find_target(what, job.dimensions, job.seed)
    with refusing(target.file):
        outcome = job.run(target)
    kept = job.unfinished
    terminated = kept is not None and kept.heard.terminated
    message, exit_status = _verdict(outcome, terminated=terminated)
    rows = [("target", what), ("rule", chained(job.transforms, job.rule))]
    if job.many is not None:
        rows.append(("sampler", job.many.sampler))
    if kept is not None and kept.resumed_at is not None:
        rows.append(("resumed", _place(kept.resumed_at, outcome)))
    rows += [*outcome.rows(), ("precision", precision(outcome.params))]
    if job.out is not None:
        about = {"message": message, "target": what, **job.about(), **made_by()}
        rows.append(files_row(job.out, _written(job.out, outcome, target, about)))
    messages, how = [message], ""
    # Only now: what is kept outlives a disk that was too full for the result.
    if kept is not None and kept.ends(finished=_has_finished(outcome)):
        messages, how = [message, "To go on from there:"], kept.how_to_go_on
    # Last of all: nobody may be there to read it.
    say(rows, *messages, last=how)
    return exit_status


def _written(
    out: Folder, outcome: Result | Runs, target: Target, about: dict[str, Any]
) -> list[Path]:
    """The files, pictures included, once they are there."""
    with refusing():
        files = write(out.absolute, outcome, about)
    if out.plot:
        with refusing(target.file):
            page = outcome.plot(None if target.key is not None else target.loss)
            files += draw(out, files[0].stem, page)
    return files


def _place(step: int, outcome: Result | Runs) -> str:
    return f"after {step:,} steps of all runs" if isinstance(outcome, Runs) else f"at step {step:,}"


def _has_finished(outcome: Result | Runs) -> bool:
    return not _UNFINISHED.intersection(np.atleast_1d(outcome.status).tolist())


_UNFINISHED = {Status.INTERRUPTED, Status.TIME_LIMIT, Status.NOT_STARTED}


def _verdict(outcome: Result | Runs, *, terminated: bool) -> tuple[str, int]:
    """Why the run ended and what to try, and the exit status."""
    ended_by = "Told to terminate" if terminated else "Interrupted from the keyboard"
    if isinstance(outcome, Runs):
        message, exit_status = verdict_on_many(outcome, ended_by)
    else:
        status = Status(int(outcome.status))
        messages = {**_MESSAGES, Status.INTERRUPTED: f"{ended_by}; this is how far the run got."}
        message = outcome.message.replace(status.message, messages.get(status, status.message))
        exit_status = INTERRUPTED if status == Status.INTERRUPTED else int(status.failed)
    return message, TERMINATED if terminated else exit_status
