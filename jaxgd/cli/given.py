"""What the options say that several commands share, checked."""

import dataclasses
import importlib
import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxgd.cache import cache_programs
from jaxgd.canonical import as_count
from jaxgd.cli.many import Many
from jaxgd.cli.options import DEFAULT_EVERY, DEFAULT_RATE, DEFAULT_SAMPLER
from jaxgd.files import prepare
from jaxgd.programs import option as jax_option
from jaxgd.schedules.expression import read_schedule
from jaxgd.target import TRANSFORM_OPTIONS, build_rule, option


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where the files go: as it was written, and as it stays if the user's code goes elsewhere."""

    shown: Path
    absolute: Path
    plot: bool
    """Whether pictures are among them."""


def configure(given: Mapping[str, Any]) -> None:
    """Tell JAX which precision is wanted, and where compiled programs are kept."""
    if given["x64"] is not None:
        jax.config.update("jax_enable_x64", given["x64"])  # type: ignore[no-untyped-call]
    if given["cache"] and jax_option("jax_compilation_cache_dir") is None:
        cache_programs()


def rule_of(given: Mapping[str, Any], name: str, rate: Any) -> tuple[Any, tuple[Any, ...]]:
    """The update rule of that name at that rate, and the transforms before it."""
    of_rule = {
        key.removeprefix("rule_"): value
        for key, value in given.items()
        if key.startswith("rule_") and value is not None
    }
    transforms = {key: given[key] for key in TRANSFORM_OPTIONS if given[key] is not None}
    return build_rule(name, rate, of_rule, transforms)


def rate_of(given: Mapping[str, Any]) -> Any:
    """The learning rate, or the schedule in its place."""
    if given["schedule"] is None:
        return DEFAULT_RATE if given["learning_rate"] is None else given["learning_rate"]
    if given["learning_rate"] is not None:
        raise ValueError("--schedule takes the place of --learning-rate: give one of them")
    return read_schedule(given["schedule"], "--schedule")


def count_of(given: Mapping[str, Any], name: str, at_least: int = 1) -> int | None:
    """A whole number, None where none was given."""
    return None if given[name] is None else as_count(given[name], option(name), at_least=at_least)


def needed(given: Mapping[str, Any], name: str, at_least: int) -> int:
    """A whole number of an option that has a default."""
    return as_count(given[name], option(name), at_least=at_least)


def every_of(given: Mapping[str, Any]) -> float | None:
    """Seconds from one checkpoint to the next, None where there shall be none."""
    every = given["checkpoint_every"]
    if every is None:
        wanted = given["out"] is not None and not given["no_checkpoint"]
        return DEFAULT_EVERY if wanted else None
    if given["no_checkpoint"]:
        raise ValueError("--checkpoint-every and --no-checkpoint exclude each other")
    if given["out"] is None:
        raise ValueError("--checkpoint-every writes checkpoints: say where to, with --out DIR")
    if not 0 < every < math.inf:
        raise ValueError(f"--checkpoint-every must be a number of seconds > 0, got {every:g}")
    return float(every)


def many_of(given: Mapping[str, Any]) -> Many | None:
    """How many starts and from where, None for one start."""
    starts, lanes = count_of(given, "starts"), count_of(given, "lanes")
    if starts is not None:
        return Many(starts, given["sampler"] or DEFAULT_SAMPLER, lanes)
    for name in ("sampler", "lanes"):
        if given[name] is not None:
            raise ValueError(f"{option(name)} is for many starts: give their number, --starts N")
    return None


def folder_of(given: Mapping[str, Any]) -> Folder | None:
    """Where the files go, made and tried; None where nobody wants any."""
    if given["out"] is None:
        if given["plot"]:
            raise ValueError("--plot writes pictures: say where to, with --out DIR")
        return None
    if given["plot"]:
        need_pictures()
    prepare(given["out"])
    return Folder(given["out"], given["out"].absolute(), given["plot"])


def need_pictures() -> None:
    """An ImportError that says how to get Matplotlib where there is none."""
    importlib.import_module("jaxgd.plot")


def wants_bar(given: Mapping[str, Any]) -> bool:
    """Whether to show a live bar."""
    if given["progress"] is not None:
        return bool(given["progress"])
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
