"""A million starts: the time, and the peak of resident memory, each in a process of its own."""

import functools
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import Case
from benchmarks.cases.calls import python
from benchmarks.measure import OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.scan import optax_loop
from benchmarks.problems import rosenbrock

STEPS, RATE = 200, 1e-2
ALONE = """
import sys
from benchmarks.cases.million import alone
alone(sys.argv[1], int(sys.argv[2]))
"""


def peak_mib() -> float:
    """Of this process; not from `resource`, which counts what the parent had."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def alone(who: str, runs: int) -> None:
    """Do it, and print seconds, peaks and the median loss."""
    starts = np.random.default_rng(0).normal(size=(runs, 2)).astype(np.float32)
    if who == "ours":
        call = functools.partial(gd.multistart, rosenbrock, rule=gd.Adam(RATE), max_steps=STEPS)
        warm = starts[:10]  # one program for any number of starts
    else:
        rule = needed("optax").adam(RATE)
        call, warm = jax.jit(jax.vmap(optax_loop(rosenbrock, rule, STEPS, history=False))), starts
    before = peak_mib()
    jax.block_until_ready(call(warm))
    began = time.perf_counter()
    outcome = jax.block_until_ready(call(starts))
    seconds = time.perf_counter() - began
    ends = outcome.params if who == "ours" else outcome[0]
    losses = jax.vmap(rosenbrock)(jnp.asarray(ends))
    told = {"seconds": seconds, "before": before, "peak": peak_mib()}
    print(json.dumps({**told, "loss": float(np.median(losses))}))


def million(quick: bool) -> Case:
    """Ours and optax, and what memory they take."""
    runs = 1000 if quick else 1_000_000
    peaks: dict[str, str] = {}

    def fresh(who: str, name: str) -> tuple[float, Any]:
        told = json.loads(python(ALONE, who, str(runs)))
        peaks[name] = (
            f"peak resident memory, {name}: {told['peak']:,.0f} MiB "
            f"(before the first call {told['before']:,.0f})"
        )
        return told["seconds"], told["loss"]

    rows = []
    for who, name, kind in (("optax", "optax, jit(vmap(scan))", PEER), ("ours", "jaxgd", OURS)):
        run = functools.partial(fresh, who, name)
        rows.append(Contender(name, kind, run, lambda loss: loss, clocked=True))
    return Case(
        f"{runs:,} starts x 2 parameters x {STEPS} steps of Adam, in a process of its own",
        tuple(rows),
        remarks=lambda: list(peaks.values()),
        repetitions=3,
    )


MILLION = {"million": million}
