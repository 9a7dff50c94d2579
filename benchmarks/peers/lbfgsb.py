"""SciPy's L-BFGS-B, which is what many would take for such fits: another algorithm."""

import time
from typing import Any

import numpy as np

from benchmarks.measure import OTHER, Contender
from benchmarks.peers import needed
from benchmarks.work import Work

SOME = 64
"""Starts that are timed; the time is that of all, in proportion."""


def lbfgsb_many(work: Work) -> Contender:
    """One start after another, value and gradient written in NumPy, with its own tolerances."""
    optimize = needed("scipy.optimize")
    starts = work.starts[: min(SOME, work.runs // 16)].astype(np.float64)

    def run() -> tuple[float, Any]:
        began = time.perf_counter()
        ends = [
            optimize.minimize(work.problem.numpy, x, jac=True, method="L-BFGS-B").fun
            for x in starts
        ]
        return (time.perf_counter() - began) * work.runs / len(starts), np.array(ends)

    name = f"scipy, L-BFGS-B to its end ({len(starts)} starts, in proportion)"
    return Contender(name, OTHER, run, lambda losses: losses, clocked=True)
