"""Timing that can be trusted on a noisy machine: interleaved, warm, medians with their spread."""

import dataclasses
import datetime
import gc
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping

import jax
import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one contender: the median of the repetitions and their quartiles."""

    median: float
    low: float
    high: float


def interleaved(
    contenders: Mapping[Hashable, Callable[[], object]], repetitions: int
) -> dict[Hashable, Timing]:
    """Time each contender `repetitions` times, in turn, after one call that warms it up."""
    for run in contenders.values():
        jax.block_until_ready(run())
    seconds: dict[Hashable, list[float]] = {name: [] for name in contenders}
    gc.disable()
    for _ in range(repetitions):
        for name, run in contenders.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - began)
    gc.enable()
    return {name: _timing(times) for name, times in seconds.items()}


def _timing(times: list[float]) -> Timing:
    low, _, high = statistics.quantiles(times, n=4)
    return Timing(statistics.median(times), low, high)


def surroundings() -> dict[str, str]:
    """What a figure depends on besides the code."""
    import jaxgd

    return {
        "date": datetime.date.today().isoformat(),
        "jaxgd": jaxgd.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return named[0].split(":")[1].strip() if named else platform.machine()


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, aligned."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(head, widths, strict=True)]]
    lines += [["-" * width for width in widths]]
    lines += [[c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))] for row in rows]  # fmt: skip  # noqa: E501
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(name: str, report: str, figures: object) -> list[pathlib.Path]:
    """Write the Markdown table and the figures of a case, named after the versions that ran."""
    RESULTS.mkdir(exist_ok=True)
    stem = f"{name}-{jax.devices()[0].platform}-jax{jax.__version__}"
    facts = surroundings()
    text = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    markdown, data = RESULTS / f"{stem}.md", RESULTS / f"{stem}.json"
    markdown.write_text(f"# {name}\n\n{text}\n\n{report}\n")
    data.write_text(json.dumps({"surroundings": facts, "figures": figures}, indent=1) + "\n")
    return [markdown, data]
