"""`jaxgd run`: from the options to a result, on the screen and on the disk."""

from typing import Any

from jaxgd.cli.errors import INTERRUPTED, refusing
from jaxgd.cli.given import configure
from jaxgd.cli.job import checked_job
from jaxgd.cli.many import verdict_on_many
from jaxgd.cli.screen import chained, draw, files_row, made_by, precision, say
from jaxgd.files import write
from jaxgd.result import Result
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.target import find_target

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
    Status.INTERRUPTED: "Interrupted from the keyboard; this is how far the run got.",
}


def run(what: str, **given: Any) -> int:
    """Minimise the loss of TARGET from its start, or from many.

    TARGET is a landscape ("jaxgd landscapes" lists them), or a file of yours and the name of a
    loss in it: path/to/file.py:loss. The file also defines params, the start: a pytree of arrays,
    or a function that makes one from a JAX key. It may define bounds = (lower, upper), numbers or
    pytrees like params: no run leaves them, and many starts are drawn between them. A loss with a
    keyword key is stochastic: it gets a fresh one at every step.
    """
    configure(given)
    with refusing():
        job = checked_job(given)
        target = find_target(what, job.dimensions, job.seed)
    with refusing(target.file):
        outcome = job.run(target)
    verdict = verdict_on_many(outcome) if isinstance(outcome, Runs) else _verdict(outcome)
    message, exit_status = verdict
    rows = [("target", what), ("rule", chained(job.transforms, job.rule))]
    if job.many is not None:
        rows.append(("sampler", job.many.sampler))
    rows += [*outcome.rows(), ("precision", precision(outcome.params))]
    if job.out is not None:
        about = {"message": message, "target": what, **job.about(), **made_by()}
        with refusing():
            files = write(job.out.absolute, outcome, about)
        if job.out.plot:
            with refusing(target.file):
                page = outcome.plot(None if target.key is not None else target.loss)
                files += draw(job.out, files[0].stem, page)
        rows.append(files_row(job.out, files))
    # Last of all: nobody may be there to read it.
    say(rows, message)
    return exit_status


def _verdict(result: Result) -> tuple[str, int]:
    """Why the run ended and what to try, and the exit status."""
    status = Status(int(result.status))
    message = result.message.replace(status.message, _MESSAGES.get(status, status.message))
    return message, INTERRUPTED if status == Status.INTERRUPTED else int(status.failed)
