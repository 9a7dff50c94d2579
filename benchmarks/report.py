"""Tables and files: Markdown, JSON and a picture, for each device and version of jax."""

import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
from typing import Any

import jax
import jaxlib
import numpy as np

import jaxgd
from benchmarks.case import Case, judged, rivals_of
from benchmarks.measure import LIMIT, OURS, PEER, Timing
from benchmarks.peers import versions

RESULTS = pathlib.Path(__file__).parent / "results"


def surroundings() -> dict[str, str]:
    """What a figure depends on besides the code."""
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "jaxgd": jaxgd.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        **versions(),
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
    }


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return named[0].split(":")[1].strip() if named else platform.machine()


def figures_of(case: Case, timings: dict[str, Timing], notes: list[str], turns: int) -> dict:
    """All that is known of a case, for JSON."""
    peer, limit = (min(rivals_of(kind, case, timings), default=None) for kind in (PEER, LIMIT))
    rows = []
    for one in case.contenders:
        if one.name not in timings:
            continue
        timing = timings[one.name]
        compared = one.kind != LIMIT
        rows.append(
            {
                "contender": one.name,
                "kind": one.kind,
                "first_ms": None if one.clocked else timing.first * 1e3,
                "ms": timing.median * 1e3,
                "quartiles_ms": [timing.low * 1e3, timing.high * 1e3],
                "least_ms": timing.least * 1e3,
                "times_as_fast_as_best_peer": peer / timing.median if peer and compared else None,
                "times_the_limit": timing.median / limit if limit else None,
                "median_loss": None if math.isnan(timing.loss) else timing.loss,
            }
        )
    verdicts = [dataclasses.asdict(verdict) for verdict in judged(case, timings)]
    for verdict in verdicts:
        verdict["reached"] = None if math.isnan(verdict["reached"]) else verdict["reached"]
    return {
        "work": case.work,
        "repetitions": turns,
        "rows": rows,
        "targets": verdicts,
        "notes": notes,
        "surroundings": surroundings(),
    }


def markdown_of(name: str, figures: dict) -> str:
    """A case as a heading, a table, its targets and notes."""
    head = ["contender", "first call, ms", "ms", "quartiles", "times as fast as the best peer", "times the limit", "median loss"]  # fmt: skip  # noqa: E501
    rows = []
    for row in figures["rows"]:
        low, high = row["quartiles_ms"]
        rows.append(
            [
                row["contender"],
                _number(row["first_ms"]),
                _number(row["ms"]),
                f"{_number(low)} to {_number(high)}",
                _number(row["times_as_fast_as_best_peer"]),
                _number(row["times_the_limit"]),
                "" if row["median_loss"] is None else f"{row['median_loss']:.4g}",
            ]
        )
    parts = [f"## {name}", f"{figures['work'][0].upper()}{figures['work'][1:]}.", table(head, rows)]
    lines = [_target(verdict) for verdict in figures["targets"]] + figures["notes"]
    if lines:
        parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts)


def _target(verdict: dict) -> str:
    outcome = {True: "met", False: "missed", None: "cannot be told"}[verdict["met"]]
    reached = "" if verdict["reached"] is None else f" {_number(verdict['reached'])}"
    return f"target, {verdict['row']}: {verdict['wanted']}:{reached}, **{outcome}**"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, aligned; numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(head, widths, strict=True)]]
    lines += [
        ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    ]
    for row in rows:
        first, *numbers = zip(row, widths, strict=True)
        lines.append([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in numbers)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(cases: dict[str, dict], order: list[str]) -> list[pathlib.Path]:
    """Put these cases in the place of what was known of them, and write all three files."""
    from benchmarks.picture import draw

    stem = f"{jax.default_backend()}-jax{jax.__version__}"
    if jax.default_backend() != "cpu":
        stem = f"{jax.devices()[0].device_kind.replace(' ', '-')}-jax{jax.__version__}"
    paths = [RESULTS / f"{stem}.{ending}" for ending in ("json", "md", "png")]
    known = json.loads(paths[0].read_text()) if paths[0].exists() else {}
    known.update(cases)
    known = {name: known[name] for name in order if name in known}
    RESULTS.mkdir(exist_ok=True)
    paths[0].write_text(json.dumps(known, indent=1) + "\n")
    paths[1].write_text(page(stem, known))
    drawn = draw(known, paths[2])
    return paths if drawn else paths[:2]


def page(stem: str, known: dict[str, Any]) -> str:
    """All cases on one page, with what they ran on."""
    places: dict[str, list[str]] = {}
    for name, figures in known.items():
        told = ", ".join(f"{key} {value}" for key, value in figures["surroundings"].items())
        places.setdefault(told, []).append(name)
    parts = [f"# {stem}", f"![ratios]({stem}.png)"]
    if len(places) == 1:
        parts.append(f"{next(iter(places))}.")
    else:
        parts += [f"{', '.join(names)}: {told}." for told, names in places.items()]
    met = [verdict["met"] for figures in known.values() for verdict in figures["targets"]]
    parts.append(
        "Float32. Medians of interleaved warm repetitions; the first call, which compiles, apart. "
        f"Targets met: {met.count(True)} of {len(met)}."
    )
    parts += [markdown_of(name, figures) for name, figures in known.items()]
    return "\n\n".join(parts) + "\n"


def is_ours(row: dict) -> bool:
    """Whether a row is one of jaxgd."""
    return row["kind"] == OURS
