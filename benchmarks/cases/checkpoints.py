"""What checkpoints cost a run."""

import functools
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import Case, Target
from benchmarks.cases.training import digits, loss, network
from benchmarks.measure import OTHER, OURS, Contender
from benchmarks.problems import rosenbrock

EVERY = 1.0
"""Seconds from one to the next: ten times as often as by default."""
SHARE = 0.02
"""Of the time that they may cost at most if one is made every ten seconds."""
WITH, WITHOUT = f"jaxgd, a checkpoint every {EVERY:g} s", "jaxgd without"


def case_of(words: str, call: Callable[..., Any]) -> Case:
    """A call with checkpoints, which begins anew each time, and the same without."""

    def kept() -> Any:
        directory = tempfile.mkdtemp()
        try:
            return call(checkpoint=gd.Checkpoint(directory, every=EVERY))
        finally:
            shutil.rmtree(directory)

    ours = Contender(WITH, OURS, kept, lambda result: result.loss)
    other = Contender(WITHOUT, OTHER, call, lambda result: result.loss)
    return Case(words, (ours, other), (Target(WITHOUT, slower=1 + 10 * SHARE, row=WITH),))


def small(quick: bool) -> Case:
    """Five numbers, and a history of some rows."""
    steps = 20_000 if quick else 150_000_000
    record = gd.Record(every=10_000)
    call = functools.partial(
        gd.minimize, rosenbrock, jnp.zeros(5), gd.Adam(1e-4), steps, record=record
    )
    return case_of(f"Rosenbrock, 5 numbers, {steps:,} steps, the history of every 10,000th", call)


def large(quick: bool) -> Case:
    """A million numbers."""
    size, steps = (10_000, 20) if quick else (1_000_000, 4_000)
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)

    def bowl(x: Any) -> Any:
        return jnp.mean(jnp.cosh(0.1 * x))

    call = functools.partial(gd.minimize, bowl, x, gd.Adam(1e-3), steps)
    return case_of(f"Adam on {size:,} numbers, {steps:,} steps, the best of them returned", call)


def many(quick: bool) -> Case:
    """Many runs."""
    count, steps = (100, 50) if quick else (200_000, 4_000)
    starts = gd.starts.uniform(jnp.zeros(10), (-2.0, 2.0), count)
    stop = gd.Stop(gtol=1e-3)
    call = functools.partial(gd.multistart, rosenbrock, starts, gd.Adam(0.01), steps, stop=stop)
    return case_of(f"{count:,} starts of Rosenbrock, 10 numbers, {steps:,} steps at most", call)


def trained(quick: bool) -> Case:
    """A network in mini-batches."""
    x, label = digits()
    data = gd.Batches((jnp.asarray(x), jnp.asarray(label)), 64, jax.random.key(0))
    layers, epochs = network((64, 32, 10)), 1 if quick else 3_000
    call = functools.partial(gd.minimize, loss, layers, gd.Adam(1e-3), data=data, epochs=epochs)
    return case_of(f"a 64-32-10 network on digits, batches of 64, {epochs:,} epochs", call)


CHECKPOINTS: dict[str, Callable[[bool], Case]] = {
    "checkpoints-small": small,
    "checkpoints-large": large,
    "checkpoints-many": many,
    "checkpoints-batches": trained,
}
