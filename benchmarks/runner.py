"""The one runner: builds the cases that were named, checks, measures, prints and saves."""

import argparse
import dataclasses
import sys

import jax

from benchmarks import scaling, soak
from benchmarks.case import SkippedError, disagreements
from benchmarks.cases import CASES, GROUPS
from benchmarks.measure import interleaved, warmed
from benchmarks.report import figures_of, markdown_of, save

LONGEST = 20.0
"""Seconds of warm calls after which a contender needs no more repetitions."""

APART = {"scaling": scaling.run, "soak": soak.run}
"""What is no case; each returns an exit code."""


def run(options: argparse.Namespace) -> int:
    """The exit code: 1 if contenders do not agree, 2 for a name or a device that is not there."""
    if options.list:
        print("\n".join([*CASES, *APART]))
        return 0
    named = [case for name in options.case for case in GROUPS.get(name, (name,))]
    unknown = set(named) - {*CASES, *APART}
    if unknown:
        print(f"no case is called {', '.join(sorted(unknown))}; --list names them", file=sys.stderr)
        return 2
    if options.device == "gpu" and not has_gpu():
        print("--device gpu: JAX sees no GPU here", file=sys.stderr)
        return 2
    turns = options.repetitions or (1 if options.quick else 7)
    wrong = 0
    for name in named or CASES:
        if name in APART:
            wrong += APART[name](options)
            continue
        try:
            figures = measure(name, options.quick, turns)
        except SkippedError as why:
            print(f"## {name}\n\nSkipped: {why}.\n", flush=True)
        except Disagreement as why:
            wrong += 1
            print(f"## {name}\n\nNot timed: {why}.\n", flush=True)
        else:
            print(markdown_of(name, figures) + "\n", flush=True)
            if not options.quick:
                save({name: figures}, list(CASES))
        jax.clear_caches()
    return 1 if wrong else 0


class Disagreement(Exception):
    """Contenders do not end at the same loss, so their times cannot be compared."""


def has_gpu() -> bool:
    """Whether JAX computes on one."""
    try:
        return jax.default_backend() == "gpu"
    except RuntimeError:
        return False


def measure(name: str, quick: bool, turns: int) -> dict:
    """Build a case, see that all do the same, and time them."""
    case = CASES[name](quick)
    warm = warmed(case.contenders)
    different = disagreements(case, warm.losses)
    if different:
        raise Disagreement("; ".join(different))
    if case.repetitions:
        turns = 0 if quick else min(turns, case.repetitions)
    timings = interleaved(warm, turns, LONGEST)
    if quick:
        case = dataclasses.replace(case, targets=())  # of the work in full
    return figures_of(case, timings, [*case.notes, *case.remarks(), *warm.failed], turns)
