"""What the options of `jaxgd run` say, checked; and the descent that they ask for."""

import dataclasses
import os
import warnings
from collections.abc import Mapping
from typing import Any

from jaxgd.checkpoint import Checkpoint
from jaxgd.cli.given import (
    Folder,
    count_of,
    every_of,
    folder_of,
    many_of,
    needed,
    rate_of,
    rule_of,
    wants_bar,
)
from jaxgd.cli.heard import Heard
from jaxgd.cli.many import Many
from jaxgd.cli.screen import typed
from jaxgd.cli.unfinished import Command, Unfinished
from jaxgd.files import named_params
from jaxgd.many import multistart
from jaxgd.minimize import minimize
from jaxgd.record import Record
from jaxgd.result import Result
from jaxgd.rules import chain
from jaxgd.runs import Runs
from jaxgd.stop import Stop
from jaxgd.target import Target, checked_number
from jaxgd.tree import PyTree

MOST_RECORDED = 500_000
"""Losses of many runs that are recorded for pictures."""
ROWS = 50
"""Rows for each run below which its losses are no picture."""


@dataclasses.dataclass(frozen=True)
class Job:
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
    debug: bool
    many: Many | None
    out: Folder | None = None
    unfinished: Unfinished | None = None
    """Where a run that ends too early is kept."""

    def run(self, target: Target) -> Result | Runs:
        """Descend on the target, or go on where that ended."""
        if self.unfinished is None:
            return self._descend(target, None)
        with self.unfinished.used():
            return self._descend(target, self.unfinished.checkpoint)

    def _descend(self, target: Target, checkpoint: Checkpoint | None) -> Result | Runs:
        rule = chain(*self.transforms, self.rule)
        options: dict[str, Any] = {
            "bounds": target.bounds,
            "stop": self.stop,
            "key": target.key,
            "keep": self.keep,
            "time_limit": self.time_limit,
            "progress": self.progress,
            "debug": self.debug,
            "record": self._record(target),
            "checkpoint": checkpoint,
        }
        if self.many is None:
            return minimize(target.loss, target.start, rule, self.max_steps, **options)
        starts = self.many.draw(target, self.seed)
        with warnings.catch_warnings():
            # The table says it.
            warnings.filterwarnings("ignore", "every run became NaN", RuntimeWarning)
            lanes = self.many.lanes
            return multistart(target.loss, starts, rule, self.max_steps, lanes=lanes, **options)

    def _record(self, target: Target) -> Record | None:
        """What pictures show, if any are wanted, as far as it is cheap."""
        drawn = self.out is not None and self.out.plot
        if self.many is None:
            return Record(params=drawn and _numbers(target.start) <= 2)
        every = -(-(self.max_steps + 1) * self.many.starts // MOST_RECORDED)
        if not drawn or self.max_steps < ROWS * (every - 1):
            return None
        return Record(every=every, grad_norm=False)

    def about(self) -> dict[str, Any]:
        """What the JSON file says of the options."""
        tests = {field: getattr(self.stop, field) for field in _STOP}
        names = ("max_steps", "time_limit", "seed", "dimensions", "keep")
        options = {name: getattr(self, name) for name in names}
        options |= {} if self.many is None else dataclasses.asdict(self.many)
        return {"rule": self.rule, "transforms": self.transforms, "stop": tests, **options}


def _numbers(params: PyTree) -> int:
    """How many numbers are optimised."""
    arrays = named_params(params).values()
    return sum(a.size * (1 + (a.dtype.kind == "c")) for a in arrays if a.dtype.kind in "fc")


_STOP = {field.name: field for field in dataclasses.fields(Stop)}


def checked_job(given: Mapping[str, Any]) -> Job:
    """Check the options, all of them before the target's code is run."""
    rule, before = rule_of(given, given["rule"], rate_of(given))
    tests = {
        name: checked_number(name, given[name], field)
        for name, field in _STOP.items()
        if given[name] is not None
    }
    limit = given["time_limit"]
    if limit is not None and not limit > 0:
        raise ValueError(f"--time-limit must be a number of seconds > 0, got {limit:g}")
    every = every_of(given)
    job = Job(
        rule=rule,
        transforms=before,
        stop=Stop(**tests),
        max_steps=needed(given, "max_steps", at_least=0),
        seed=needed(given, "seed", at_least=0),
        dimensions=count_of(given, "dimensions"),
        keep=given["keep"],
        time_limit=limit,
        progress=wants_bar(given),
        debug=given["debug"],
        many=many_of(given),
    )
    out = folder_of(given)  # last, since it makes the directory
    if out is None or every is None:
        return dataclasses.replace(job, out=out)
    command = Command(tuple(typed()[1:]), os.getcwd())
    unfinished = Unfinished(out, every, command, Heard(below_a_bar=job.progress))
    return dataclasses.replace(job, out=out, unfinished=unfinished)
