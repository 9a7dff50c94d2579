"""The soak: mixed jobs in one process for minutes, and what it holds after each round of them."""

import argparse
import functools
import gc
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.gauge import give_back, held, resident_mib
from benchmarks.jobs import COMPILING, REUSING, Given, Job, do
from benchmarks.report import RESULTS, surroundings, table

ROOT = pathlib.Path(__file__).parent.parent
AGAIN = 3
"""How often a round does each job whose program is there: most calls compile nothing."""
MOST_POINTS = 60
FLAT = ("arrays", "programs", "losses", "brought", "threads", "native_threads", "descriptors")
"""What must be as much at the end as at the beginning."""
TOLD = (*FLAT, "executables", "jax_caches", "objects")
COMPILED = "/jax/core/compile/backend_compile_duration"


def run(options: argparse.Namespace) -> int:
    """Soak, print, and save a JSON file; 1 if something is not flat."""
    minutes = options.minutes or (0.2 if options.quick else 30)
    dropped = {who: dropping(who, int(min(300, 20 * minutes))) for who in ("jax", "jaxgd")}
    with tempfile.TemporaryDirectory() as directory:
        series = list(rounds(pathlib.Path(directory), 60 * minutes))
    figures = {"dropped": dropped, **verdict(series), "left_mib": left()}
    print(f"## soak\n\n{markdown_of(figures)}\n", flush=True)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        told = {"surroundings": surroundings(), **figures, "series": thinned(series)}
        path = RESULTS / f"soak-jax{jax.__version__}.json"
        path.write_text(json.dumps(told, indent=1) + "\n")
    return 0 if figures["flat"] else 1


def rounds(
    directory: pathlib.Path, seconds: float, jobs: Sequence[Job] = (*COMPILING, *AGAIN * REUSING)
) -> Iterator[dict[str, Any]]:
    """Rounds of jobs until the time is over, two at least; yields what is held after each."""
    given = Given(np.random.default_rng(0), directory)
    compiled = functools.partial(_count, [0])
    jax.monitoring.register_event_duration_secs_listener(compiled)
    began = time.monotonic()
    try:
        for at in itertools.count(1):
            for i in given.draw.permutation(len(jobs)):
                do(jobs[i], given)
            passed = time.monotonic() - began
            done = {"jobs": at * len(jobs), "compiled": compiled.args[0][0]}
            yield {"round": at, **done, "seconds": round(passed, 1), **held()}
            if passed > seconds and at > 1:
                return
    finally:
        jax.monitoring.unregister_event_duration_listener(compiled)


def _count(into: list[int], event: str, _: float, **__: Any) -> None:
    into[0] += event == COMPILED


def left() -> dict[str, float]:
    """MiB without what the allocator has free, and then without JAX's caches."""
    give_back()
    in_use = resident_mib()
    jax.clear_caches()
    gc.collect()
    give_back()
    return {"in_use": in_use, "without_jax_caches": resident_mib()}


def verdict(series: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts at both ends, and how memory goes over the last two thirds."""
    third = max(1, len(series) // 3)
    counts = {}
    for name in TOLD:
        first, last = ([row[name] for row in part] for part in (series[:third], series[-third:]))
        if None not in first:
            ends = [statistics.median(first), statistics.median(last)]
            counts[name] = {
                "first_third": ends[0],
                "last_third": ends[1],
                "most": _most(series, name),
            }
    later = series[third:] if len(series) > third else series
    slope = slope_of([row["jobs"] for row in later], [row["memory"] for row in later])
    flat = all(c["last_third"] <= c["first_third"] for n, c in counts.items() if n in FLAT)
    last = series[-1]
    return {
        "minutes": round(last["seconds"] / 60, 1),
        "rounds": last["round"],
        "jobs": last["jobs"],
        "compiled": last["compiled"],
        "memory_mib": {
            "after_the_first_round": series[0]["memory"],
            "at_one_third": later[0]["memory"],
            "at_the_end": last["memory"],
            "most": _most(series, "memory"),
            "per_1000_jobs": slope and 1000 * slope,
            "per_job": slope,
        },
        "counts": counts,
        "flat": flat,
    }


def _most(series: list[dict[str, Any]], name: str) -> float:
    return max(row[name] for row in series)


def slope_of(xs: list[float], ys: list[float]) -> float | None:
    """The median of the slopes between all pairs of points, which no outlier moves.

    Reference: Sen (1968), Estimates of the regression coefficient based on Kendall's tau.
    """
    points = list(zip(xs, ys, strict=True))
    slopes = [
        (d - b) / (c - a) for at, (a, b) in enumerate(points) for c, d in points[at + 1 :] if c != a
    ]
    return statistics.median(slopes) if slopes else None


def thinned(series: list[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(series) <= most:
        return series
    return [series[round(i * (len(series) - 1) / (most - 1))] for i in range(most)]


def dropping(who: str, count: int) -> dict[str, Any]:
    """What a process of its own keeps of programs that were dropped."""
    command = [sys.executable, "-m", "benchmarks.drop", who, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    series = json.loads(done.stdout)
    later = series[len(series) // 3 :]
    slope = slope_of(*([point[i] for point in later] for i in (0, 1)))
    return {"programs": count, "mib_per_1000": slope and 1000 * slope, "series": series}


def markdown_of(figures: dict[str, Any]) -> str:
    """What was done, and a table of what was held."""
    memory, counts = figures["memory_mib"], figures["counts"]
    rows = [
        [
            name.replace("_", " "),
            f"{c['first_third']:,.0f}",
            f"{c['last_third']:,.0f}",
            f"{c['most']:,.0f}",
        ]
        for name, c in counts.items()
    ]
    ends = [memory[key] for key in ("at_one_third", "at_the_end", "most")]
    rows.insert(0, ["resident memory, MiB", *(f"{end:,.1f}" for end in ends)])
    dropped = ", ".join(
        f"{d['mib_per_1000'] or 0:.2f} by {who}" for who, d in figures["dropped"].items()
    )
    return "\n\n".join(
        [
            f"{figures['jobs']:,} jobs in {figures['rounds']:,} rounds and {figures['minutes']} "
            f"minutes; {figures['compiled']:,} programs were compiled.",
            table(["after a round", "first third", "last third", "most"], rows),
            f"Memory, last two thirds: {memory['per_1000_jobs'] or 0:+.2f} MiB for 1,000 jobs. "
            f"At the end {figures['left_mib']['in_use']:,.1f} MiB were in use, "
            f"{figures['left_mib']['without_jax_caches']:,.1f} without JAX's caches. "
            f"1,000 programs that were compiled and dropped left, in MiB: {dropped}. "
            + ("All counts are flat." if figures["flat"] else "NOT all counts are flat."),
        ]
    )
