"""How time and memory grow: with runs, parameters, steps, cores and lanes.

Every point is a process of its own, so that its peak of memory is its own and a number of cores can
be given to it; every process is warm when it is timed.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax

from benchmarks.report import RESULTS, surroundings, table

ROOT = pathlib.Path(__file__).parent.parent
REPETITIONS = 3


@dataclasses.dataclass(frozen=True)
class Point:
    """One work: Rosenbrock under Adam."""

    runs: int = 4096
    size: int = 10
    steps: int = 200
    lanes: int | None = None
    cores: int | None = None


@dataclasses.dataclass(frozen=True)
class Axis:
    """What is varied, and the works along it."""

    name: str
    field: str
    points: tuple[Point, ...]
    words: str


def axes(quick: bool) -> list[Axis]:
    """All that is measured."""
    most = 3 if quick else 7
    runs = [10**k for k in range(2, most)]
    sizes = [2, 30] if quick else [2, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]
    steps = [100, 1000] if quick else [100, 1000, 10_000, 100_000]
    lanes = [64] if quick else [8, 32, 64, 128, 256, 512, 1024]
    cores = [n for n in (1, 2, 4, 8, 16) if n <= len(os.sched_getaffinity(0))]
    some = 100 if quick else 4096
    return [
        Axis("runs", "runs", tuple(Point(runs=n) for n in runs), "10 parameters, 200 steps"),
        Axis(
            "parameters", "size", tuple(Point(runs=1, size=n, steps=20) for n in sizes),
            "one run, 20 steps",
        ),
        Axis(
            "steps", "steps", tuple(Point(runs=1, steps=n) for n in steps),
            "one run of 10 parameters",
        ),
        Axis(
            "cores", "cores", tuple(Point(runs=some, steps=1000, cores=n) for n in cores),
            f"{some:,} runs of 10 parameters, 1,000 steps",
        ),
        Axis(
            "lanes", "lanes", tuple(Point(runs=some, steps=1000, lanes=n) for n in lanes),
            f"{some:,} runs of 10 parameters, 1,000 steps",
        ),
    ]  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, print, and save a table, a JSON file and a picture."""
    from benchmarks.picture import draw_scaling

    figures: dict[str, Any] = {}
    for axis in axes(options.quick):
        rows = [{axis.field: getattr(p, axis.field), **alone(p)} for p in axis.points]
        figures[axis.name] = {"words": axis.words, "rows": rows, **slopes(axis.field, rows)}
        print(markdown_of(axis.name, axis.field, figures[axis.name]) + "\n", flush=True)
    if options.quick:
        return 0
    device = jax.devices()[0].device_kind.replace(" ", "-")
    paths = [
        RESULTS / f"scaling-{device}-jax{jax.__version__}.{end}" for end in ("json", "md", "png")
    ]
    told = ", ".join(f"{key} {value}" for key, value in surroundings().items())
    page = [f"# {paths[0].stem}", f"![scaling]({paths[2].name})", f"{told}."]
    page += [markdown_of(axis.name, axis.field, figures[axis.name]) for axis in axes(options.quick)]
    RESULTS.mkdir(exist_ok=True)
    paths[0].write_text(
        json.dumps({"surroundings": surroundings(), "axes": figures}, indent=1) + "\n"
    )
    paths[1].write_text("\n\n".join(page) + "\n")
    draw_scaling({axis.name: (axis.field, figures[axis.name]) for axis in axes(False)}, paths[2])
    return 0


def slopes(field: str, rows: list[dict]) -> dict[str, float | None]:
    """The exponents over the upper half of an axis, where what a call costs has faded."""
    upper = rows[len(rows) // 2 - (len(rows) > 1) :]
    return {f"slope_{key}": slope([r[field] for r in upper], [r[key] for r in upper]) for key in ("ms", "mib")}  # fmt: skip  # noqa: E501


def slope(xs: list[float], ys: list[float]) -> float | None:
    """Of the straight line through the logarithms, by least squares."""
    if len(set(xs)) < 2:
        return None
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    middle, height = sum(u) / len(u), sum(v) / len(v)
    above = sum((a - middle) * (b - height) for a, b in zip(u, v, strict=True))
    return above / sum((a - middle) ** 2 for a in u)


def markdown_of(name: str, field: str, figures: dict) -> str:
    """An axis as a table, with its slopes."""
    rows = [
        [f"{row[field]:,}", f"{row['ms']:,.3g}" if row["ms"] < 100 else f"{row['ms']:,.0f}",
         f"{row['mib']:,.0f}", f"{row['before_mib']:,.0f}"]
        for row in figures["rows"]
    ]  # fmt: skip
    told = table([name, "ms", "peak memory, MiB", "before the first call, MiB"], rows)
    ends = [figures["slope_ms"], figures["slope_mib"]]
    if None not in ends:
        told += f"\n\nSlopes over the upper half: time {ends[0]:.2f}, memory {ends[1]:.2f}."
    return f"## {name}\n\n{figures['words'][0].upper()}{figures['words'][1:]}.\n\n{told}"


def alone(point: Point) -> dict[str, float]:
    """What a process of its own says of one point."""
    words = json.dumps(dataclasses.asdict(point))
    command = [sys.executable, "-m", "benchmarks.point", words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout)
