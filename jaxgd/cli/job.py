"""What the options of `jaxgd run` say, checked; and the descent that they ask for."""

import dataclasses
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgd.canonical import as_count
from jaxgd.cli.many import Many
from jaxgd.cli.options import DEFAULT_RATE, DEFAULT_SAMPLER
from jaxgd.files import prepare
from jaxgd.many import multistart
from jaxgd.minimize import minimize
from jaxgd.result import Result
from jaxgd.rules import chain
from jaxgd.runs import Runs
from jaxgd.schedules.expression import read_schedule
from jaxgd.stop import Stop
from jaxgd.target import TRANSFORM_OPTIONS, Target, build_rule, checked_number, option


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where the files go: as it was written, and as it stays if the user's code goes elsewhere."""

    shown: Path
    absolute: Path


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
    out: Folder | None
    many: Many | None

    def run(self, target: Target) -> Result | Runs:
        """Descend on the target."""
        rule = chain(*self.transforms, self.rule)
        options: dict[str, Any] = {
            "bounds": target.bounds,
            "stop": self.stop,
            "key": target.key,
            "keep": self.keep,
            "time_limit": self.time_limit,
            "progress": self.progress,
        }
        if self.many is None:
            return minimize(target.loss, target.start, rule, self.max_steps, **options)
        starts = self.many.draw(target, self.seed)
        with warnings.catch_warnings():
            # The table says it.
            warnings.filterwarnings("ignore", "every run became NaN", RuntimeWarning)
            lanes = self.many.lanes
            return multistart(target.loss, starts, rule, self.max_steps, lanes=lanes, **options)

    def about(self) -> dict[str, Any]:
        """What the JSON file says of the options."""
        tests = {field: getattr(self.stop, field) for field in _STOP}
        names = ("max_steps", "time_limit", "seed", "dimensions", "keep")
        options = {name: getattr(self, name) for name in names}
        options |= {} if self.many is None else dataclasses.asdict(self.many)
        return {"rule": self.rule, "transforms": self.transforms, "stop": tests, **options}


_STOP = {field.name: field for field in dataclasses.fields(Stop)}


def checked_job(given: Mapping[str, Any]) -> Job:
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
    limit = given["time_limit"]
    if limit is not None and not limit > 0:
        raise ValueError(f"--time-limit must be a number of seconds > 0, got {limit:g}")
    job = Job(
        rule,
        before,
        Stop(**tests),
        as_count(given["max_steps"], option("max_steps"), at_least=0),
        as_count(given["seed"], option("seed"), at_least=0),
        _count(given, "dimensions"),
        given["keep"],
        limit,
        _wants_bar(given["progress"]),
        None if given["out"] is None else Folder(given["out"], given["out"].absolute()),
        _many(given),
    )
    if job.out is not None:
        prepare(given["out"])
    return job


def _count(given: Mapping[str, Any], name: str) -> int | None:
    return None if given[name] is None else as_count(given[name], option(name), at_least=1)


def _many(given: Mapping[str, Any]) -> Many | None:
    starts, lanes = _count(given, "starts"), _count(given, "lanes")
    if starts is not None:
        return Many(starts, given["sampler"] or DEFAULT_SAMPLER, lanes)
    for name in ("sampler", "lanes"):
        if given[name] is not None:
            raise ValueError(f"{option(name)} is for many starts: give their number, --starts N")
    return None


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
