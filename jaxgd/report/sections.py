"""What a report says of one outcome: rows of words and numbers, and pictures."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgd.report.pictures import svg_of
from jaxgd.report.stored import Stored
from jaxgd.result import Result
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.target import find_target, landscape_name
from jaxgd.tree import brief

MOST_MINIMA = 20
"""Minima that are listed."""

Rows = list[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a head; nothing in it is escaped yet."""

    head: tuple[str, ...]
    rows: Rows


@dataclasses.dataclass(frozen=True)
class Section:
    """What is said of one outcome; nothing in it is escaped yet."""

    title: str
    command: str
    """The command that made it, as a shell reads it; empty where the file does not say it."""
    summary: str
    message: str
    facts: Rows
    """Names and values."""
    tables: list[Table]
    pictures: list[tuple[str, bytes]]
    """What each shows, and an SVG file."""


def section(stored: Stored, title: str) -> Section:
    """All that a report says of two files.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    facts, outcome = stored.facts, stored.outcome
    many = isinstance(outcome, Runs)
    return Section(
        title=title,
        command=command_of(facts),
        summary=_summary(outcome),
        message=str(facts["message"]),
        facts=[*asked(facts), *_came_out(outcome), *made(facts)],
        tables=[_statuses(outcome), _minima(outcome)] if isinstance(outcome, Runs) else [],
        pictures=_of_many(outcome, _ground(stored)) if many else _of_one(outcome, _ground(stored)),
    )


def _summary(outcome: Result | Runs) -> str:
    if isinstance(outcome, Runs):
        return f"{len(outcome):,} runs, best loss {outcome.best.loss:.6g}"
    return f"{Status(int(outcome.status)).name}, loss {outcome.loss:.6g}"


def command_of(facts: Mapping[str, Any]) -> str:
    """The command that made a file, as a shell reads it; empty where the file does not say it."""
    return shlex.join(str(word) for word in facts.get("command") or [])


_OPTIONS = (
    "max_steps", "time_limit", "seed", "dimensions", "keep", "starts", "sampler", "lanes",
    "low", "high", "count", "tolerance",
)  # fmt: skip


def asked(facts: Mapping[str, Any]) -> Rows:
    """What was asked for: the target, the rule or rules, and the options that were given."""
    given = {name: facts.get(name) for name in _OPTIONS} | facts.get("stop", {})
    options = [f"{name} {value}" for name, value in given.items() if value is not None]
    if "rules" in facts:
        rules = "\n".join(_in_words(rule) for rule in facts["rules"].values())
    else:
        rules = ", then ".join(map(_in_words, [*facts["transforms"], facts["rule"]]))
    return [("target", str(facts["target"])), ("rule", rules), ("options", ", ".join(options))]


def _came_out(outcome: Result | Runs) -> Rows:
    rows = [row for row in outcome.rows() if not row[0].startswith("minima")]
    if isinstance(outcome, Result):
        return [*rows, ("engine", outcome.engine)] if outcome.engine else [*rows]
    return [*rows]


def made(facts: Mapping[str, Any]) -> Rows:
    """When it was made, and by what."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [("date", str(facts.get("date", "unknown"))), ("versions", versions)]


def _in_words(value: Any) -> str:
    """A rule or a schedule of a JSON file as Python would write it."""
    if isinstance(value, Mapping):
        fields = [f"{key}={_in_words(item)}" for key, item in value.items() if key != "name"]
        return f"{value.get('name', '')}({', '.join(fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_words, value))}]"
    return str(value)


def _statuses(runs: Runs) -> Table:
    codes, counts = np.unique(runs.status, return_counts=True)
    rows: Rows = [
        (Status(int(code)).name, f"{count:,}", f"{count / len(runs):.1%}")
        for code, count in zip(codes, counts, strict=True)
    ]
    return Table(("status", "runs", "share"), rows)


def _minima(runs: Runs) -> Table:
    minima = runs.minima()
    rows: Rows = [
        (f"{m.loss:.9g}", f"{m.count:,}", f"{m.grad_norm:.3g}", brief(m.params))
        for m in minima[:MOST_MINIMA]
    ]
    shown = f", the lowest {MOST_MINIMA}" if len(minima) > MOST_MINIMA else ""
    return Table((f"minima ({len(minima):,}{shown})", "runs", "gradient norm", "params"), rows)


def _ground(stored: Stored) -> Callable[..., Any] | None:
    """The loss, for contours: of a landscape alone, since code of the user's is not run again."""
    facts, outcome = stored.facts, stored.outcome
    name = landscape_name(str(facts["target"]))
    if name is None or facts["dimensions"] not in (None, 1, 2):
        return None
    target = find_target(name, facts["dimensions"])
    end = outcome.best.params if isinstance(outcome, Runs) else outcome.params
    fits = np.shape(end) == np.shape(target.start) and math.prod(np.shape(end)) <= 2
    return target.loss if fits else None


def _of_one(result: Any, loss: Any) -> list[tuple[str, bytes]]:
    from jaxgd import plot

    drawn = [
        ("Loss by step", plot.convergence(result)),
        ("Gradient norm by step", plot.gradient_norm(result)),
    ]
    if result.history is not None and result.history.params is not None:
        drawn.append(("The path", plot.path(result, loss)))
    return [(label, svg_of(ax.figure)) for label, ax in drawn]


def _of_many(runs: Any, loss: Any) -> list[tuple[str, bytes]]:
    from jaxgd import plot
    from jaxgd.plot.ends import starts_width

    drawn = [
        ("Final losses in ascending order", plot.waterfall(runs)),
        ("Params of the minima", plot.parameters(runs)),
    ]
    if runs.history is not None and runs.history.loss is not None:
        drawn.append(("Loss by step", plot.convergence(runs)))
    if starts_width(runs) == 2:
        drawn.append(("Which start leads to which minimum", plot.basins(runs, loss)))
    return [(label, svg_of(ax.figure)) for label, ax in drawn]
