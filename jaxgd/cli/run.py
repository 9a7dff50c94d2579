"""`jaxgd run`: from the options to a result, on the screen and on the disk."""

import dataclasses
import importlib.util
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from jaxgd.canonical import as_count
from jaxgd.cli.errors import INTERRUPTED, refusing
from jaxgd.cli.options import DEFAULT_RATE
from jaxgd.files import named_params, prepare, versions, write
from jaxgd.minimize import minimize
from jaxgd.result import Result
from jaxgd.rules import chain
from jaxgd.schedules.expression import read_schedule
from jaxgd.status import Status
from jaxgd.stop import Stop
from jaxgd.target import TRANSFORM_OPTIONS, Target, build_rule, checked_number, find_target, option

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
    """Minimise the loss of TARGET from its start.

    TARGET is a landscape ("jaxgd landscapes" lists them), or a file of yours and the name of a
    loss in it: path/to/file.py:loss. The file also defines params, the start: a pytree of arrays,
    or a function that makes one from a JAX key. A loss with a keyword key is stochastic: it gets a
    fresh one at every step.
    """
    if given["x64"] is not None:
        jax.config.update("jax_enable_x64", given["x64"])  # type: ignore[no-untyped-call]
    with refusing():
        job = _job(given)
        target = find_target(what, job.dimensions, job.seed)
    with refusing(target.file):
        result = job.run(target)
    status = Status(int(result.status))
    message = result.message.replace(status.message, _MESSAGES.get(status, status.message))
    rule = ", then ".join(map(repr, (*job.transforms, job.rule)))
    rows = [("target", what), ("rule", rule), *result.rows(), ("precision", _precision(result))]
    if job.out is not None:
        about = {"message": message, "target": what, **job.about(), "versions": versions()}
        with refusing():
            files = write(job.out.absolute, result, about)
        rows.append(("files", "\n".join(str(job.out.shown / file.name) for file in files)))
    # Last of all: nobody may be there to read it.
    table = [_row(name, value) for name, value in rows]
    click.echo("\n".join([*table, textwrap.fill(message, 80)]))
    return INTERRUPTED if status == Status.INTERRUPTED else int(status.failed)


@dataclasses.dataclass(frozen=True)
class _Folder:
    """Where the files go: as it was written, and as it stays if the user's code goes elsewhere."""

    shown: Path
    absolute: Path


@dataclasses.dataclass(frozen=True)
class _Job:
    """All that the options say, checked."""

    rule: Any
    transforms: tuple[Any, ...]
    stop: Stop
    max_steps: int
    seed: int
    dimensions: int | None
    keep: str | None
    time_limit: float | None
    progress: bool
    out: _Folder | None

    def run(self, target: Target) -> Result:
        """Descend on the target."""
        return minimize(
            target.loss,
            target.start,
            chain(*self.transforms, self.rule),
            self.max_steps,
            stop=self.stop,
            key=target.key,
            keep=self.keep,
            time_limit=self.time_limit,
            progress=self.progress,
        )

    def about(self) -> dict[str, Any]:
        """What `result.json` says of the options."""
        tests = {field: getattr(self.stop, field) for field in _STOP}
        names = ("max_steps", "time_limit", "seed", "dimensions", "keep")
        options = {name: getattr(self, name) for name in names}
        return {"rule": self.rule, "transforms": self.transforms, "stop": tests, **options}


_STOP = {field.name: field for field in dataclasses.fields(Stop)}


def _job(given: Mapping[str, Any]) -> _Job:
    """Check the options, all of them before the target's code is run."""
    of_rule = {
        key.removeprefix("rule_"): value
        for key, value in given.items()
        if key.startswith("rule_") and value is not None
    }
    transforms = {key: given[key] for key in TRANSFORM_OPTIONS if given[key] is not None}
    rule, before = build_rule(given["rule"], _rate(given), of_rule, transforms)
    tests = {
        name: checked_number(name, given[name], field)
        for name, field in _STOP.items()
        if given[name] is not None
    }
    limit, dimensions = given["time_limit"], given["dimensions"]
    if limit is not None and not limit > 0:
        raise ValueError(f"--time-limit must be a number of seconds > 0, got {limit:g}")
    job = _Job(
        rule,
        before,
        Stop(**tests),
        as_count(given["max_steps"], option("max_steps"), at_least=0),
        as_count(given["seed"], option("seed"), at_least=0),
        None if dimensions is None else as_count(dimensions, option("dimensions"), at_least=1),
        given["keep"],
        limit,
        _wants_bar(given["progress"]),
        None if given["out"] is None else _Folder(given["out"], given["out"].absolute()),
    )
    if job.out is not None:
        prepare(given["out"])
    return job


def _rate(given: Mapping[str, Any]) -> Any:
    """The learning rate, or the schedule in its place."""
    if given["schedule"] is None:
        return DEFAULT_RATE if given["learning_rate"] is None else given["learning_rate"]
    if given["learning_rate"] is not None:
        raise ValueError("--schedule takes the place of --learning-rate: give one of them")
    return read_schedule(given["schedule"], "--schedule")


def _wants_bar(asked: bool | None) -> bool:
    if asked is not None:
        return asked
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def _precision(result: Result) -> str:
    inexact = [array for array in named_params(result.params).values() if array.dtype.kind in "fc"]
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
