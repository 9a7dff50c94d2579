"""`jaxgd run`: from the options to a result, on the screen and on the disk."""

import textwrap
from typing import Any

import click
import jax
import numpy as np

from jaxgd.cache import cache_programs
from jaxgd.cli.errors import INTERRUPTED, refusing
from jaxgd.cli.job import checked_job
from jaxgd.cli.many import verdict_on_many
from jaxgd.files import named_params, versions, write
from jaxgd.programs import option
from jaxgd.result import Result
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.target import find_target
from jaxgd.tree import PyTree

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
    if given["x64"] is not None:
        jax.config.update("jax_enable_x64", given["x64"])  # type: ignore[no-untyped-call]
    if given["cache"] and option("jax_compilation_cache_dir") is None:
        cache_programs()
    with refusing():
        job = checked_job(given)
        target = find_target(what, job.dimensions, job.seed)
    with refusing(target.file):
        outcome = job.run(target)
    verdict = verdict_on_many(outcome) if isinstance(outcome, Runs) else _verdict(outcome)
    message, exit_status = verdict
    rows = [("target", what), ("rule", ", then ".join(map(repr, (*job.transforms, job.rule))))]
    if job.many is not None:
        rows.append(("sampler", job.many.sampler))
    rows += [*outcome.rows(), ("precision", _precision(outcome.params))]
    if job.out is not None:
        about = {"message": message, "target": what, **job.about(), "versions": versions()}
        with refusing():
            files = write(job.out.absolute, outcome, about)
        rows.append(("files", "\n".join(str(job.out.shown / file.name) for file in files)))
    # Last of all: nobody may be there to read it.
    lines = [*(_row(name, value) for name, value in rows), *textwrap.wrap(message, 80)]
    click.echo("\n".join(lines))
    return exit_status


def _verdict(result: Result) -> tuple[str, int]:
    """Why the run ended and what to try, and the exit status."""
    status = Status(int(result.status))
    message = result.message.replace(status.message, _MESSAGES.get(status, status.message))
    return message, INTERRUPTED if status == Status.INTERRUPTED else int(status.failed)


def _precision(params: PyTree) -> str:
    inexact = [array for array in named_params(params).values() if array.dtype.kind in "fc"]
    return str(np.result_type(*inexact))


def _row(name: str, value: str) -> str:
    """A row of the table, of at most 80 columns unless a path is longer."""
    is_path = name in ("target", "files")
    lines = [
        part
        for line in value.splitlines()
        for part in textwrap.wrap(line, 62, break_on_hyphens=False, break_long_words=not is_path)
    ]
    return f"{name:<17} " + ("\n" + " " * 18).join(lines)
