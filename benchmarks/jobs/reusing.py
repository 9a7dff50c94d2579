"""Jobs with losses that all rounds share: after the first round none of them compiles."""

import functools
import importlib.util
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxgd as gd
from benchmarks.jobs.base import BATCH, EXAMPLES, Given, Job, expected, joins
from benchmarks.problems import rastrigin, rosenbrock

REUSING: list[Job] = []


def _line(w: Any, batch: Any) -> Any:
    """The mean square of what a straight line misses."""
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def _missed(w: Any, batch: Any) -> Any:
    """A metric."""
    return {"missed": _line(w, batch)}


def _noisy(x: Any, *, key: Any) -> Any:
    """A bowl with noise on its slope."""
    return jnp.sum(x**2) + jnp.sum(x * jax.random.normal(key, x.shape))


def _stretched(x: Any, scale: Any) -> Any:
    """A bowl of a given steepness."""
    return jnp.sum(scale * (x - 1) ** 2)


@joins(REUSING)
def other_numbers(given: Given) -> Any:
    """Start, rate and steps."""
    steps = int(given.draw.integers(1, 3000))
    return gd.minimize(rosenbrock, given.point(10), given.rule(), steps)


@joins(REUSING)
def params_of_every_step(given: Given) -> Any:
    """In the history."""
    record = gd.Record(params=True)
    return gd.minimize(rosenbrock, given.point(10), given.rule(), 500, record=record)


@joins(REUSING)
def tests_and_bounds(given: Given) -> Any:
    """Ended by one of them."""
    stop = gd.Stop(gtol=float(given.draw.uniform(1e-3, 1e-1)), frtol=1e-6, patience=3)
    return gd.minimize(rosenbrock, given.point(10), given.rule(), bounds=(-1, 1), stop=stop)


@joins(REUSING)
def continued(given: Given) -> Any:
    """A run in two parts."""
    first = gd.minimize(rosenbrock, given.point(10), gd.Adam(0.01), 100)
    return gd.minimize(rosenbrock, first.params, gd.Adam(0.01), 200, state=first.state)


@joins(REUSING)
def checkpoints(given: Given) -> None:
    """A run in two parts, and many runs that are found to be done."""
    rule, starts = given.rule(), given.point(64, 10)
    for call, start, end in ((gd.minimize, starts[0], 200), (gd.multistart, starts, 100)):
        with tempfile.TemporaryDirectory(dir=given.directory) as directory:
            for steps in (100, end):
                kept = gd.Checkpoint(directory, every=20)
                call(rosenbrock, start, rule, steps, checkpoint=kept)


@joins(REUSING)
def batches(given: Given) -> Any:
    """In memory, with metrics and early stopping."""
    held_out = jax.tree.map(lambda leaf: leaf[:64], given.arrays)
    stop = gd.EarlyStop("missed", patience=int(given.draw.integers(1, 4)))
    record = gd.Record(evaluate=gd.Evaluate(_missed, held_out, every=16, stop=stop))
    data = gd.Batches(given.arrays, BATCH, jax.random.key(int(given.draw.integers(1000))))
    return gd.minimize(_line, given.point(), given.rule(), data=data, epochs=5, record=record)


@joins(REUSING)
def batches_from_the_disk(given: Given) -> Any:
    """From a memory map, read ahead."""
    data = gd.Batches(given.mapped(), BATCH, jax.random.key(int(given.draw.integers(1000))))
    return gd.minimize(_line, given.point(), given.rule(), data=data, epochs=3)


@joins(REUSING)
def a_source_that_fails(given: Given) -> None:
    """After some batches, whose reader must go home."""

    def source() -> Iterator[Any]:
        for at in range(0, EXAMPLES, BATCH):
            yield jax.tree.map(lambda leaf: leaf[at : at + BATCH], given.arrays)  # noqa: B023
        raise OSError("the disk is gone")

    with expected(gd.RunFailed):
        gd.minimize(_line, given.point(), given.rule(), 10_000, data=gd.Batches(source()))


@joins(REUSING)
def noise(given: Given) -> Any:
    """A stochastic loss."""
    key = jax.random.key(int(given.draw.integers(1000)))
    return gd.minimize(_noisy, given.point(), given.rule(), 200, key=key)


@joins(REUSING)
def callbacks(given: Given) -> None:
    """One that stops, one that raises, and Ctrl-C."""
    call = functools.partial(gd.minimize, rosenbrock, given.point(10), given.rule(), 1_000_000)
    call(callback=lambda result: result.steps >= 100)
    call(callback=lambda _: signal.raise_signal(signal.SIGINT))
    with expected(ZeroDivisionError):
        call(callback=lambda _: 1 / 0)


@joins(REUSING)
def a_time_limit(given: Given) -> None:
    """Of one run and of many."""
    many = given.point(2000, 10)
    for call, start in ((gd.minimize, many[0]), (gd.multistart, many)):
        call(rosenbrock, start, given.rule(), 10_000_000, time_limit=0.02)


@joins(REUSING)
def thousands_of_starts(given: Given) -> None:
    """By both engines, with their minima; and with a callback that raises."""
    starts = given.point(int(given.draw.integers(2000, 5000)), 10)
    for engine in (gd.engines.Plain(), gd.engines.Cpu()):
        gd.multistart(rastrigin, starts, given.rule(), 50, engine=engine).minima()
    with expected(ZeroDivisionError):
        gd.multistart(rastrigin, starts, given.rule(), 50, callback=lambda _: 1 / 0)


@joins(REUSING)
def a_sweep(given: Given) -> Any:
    """Rates and betas, with histories."""
    rates = [float(rate) for rate in given.draw.uniform(0.01, 0.1, 8)]
    grid = gd.grid(gd.Adam, learning_rate=rates, b1=[0.8, 0.9])
    args = (float(given.draw.uniform(1, 2)),)
    return gd.sweep(_stretched, given.point(), grid, 50, args=args, record=gd.Record())


@joins(REUSING)
def races(given: Given) -> None:
    """Halving, and until the best minimum was found again."""
    starts = given.point(512, 10)
    gd.multistart(rastrigin, starts, given.rule(), 60, prune=gd.Halving(0.5, every=20))
    gd.multistart(rastrigin, starts, given.rule(), 60, enough=gd.Rediscovered(3, every=64))


@functools.partial(jax.jit, static_argnums=2)
def _descended(start: Any, rate: Any, steps: int) -> Any:
    return gd.descend(rosenbrock, start, gd.Adam(rate), steps)


@joins(REUSING)
def descend_again(given: Given) -> Any:
    """A function of the user's that is compiled already."""
    return jax.block_until_ready(_descended(given.point(10), given.draw.uniform(0.01, 0.1), 100))


@joins(REUSING)
def pictures(given: Given) -> None:
    """A page of one run."""
    if importlib.util.find_spec("matplotlib"):
        result = gd.minimize(rosenbrock, given.point(10), given.rule(), 100)
        result.plot().savefig(given.directory / "page.png")
