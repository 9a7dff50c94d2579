"""`minimize_many`, `multistart` and `sweep`: many runs in lanes."""

from collections.abc import Callable, Sequence
from typing import Any

import chex

from jaxgd.asked import Options
from jaxgd.axes import Axes
from jaxgd.checkpoint import Checkpoint
from jaxgd.data import Batches
from jaxgd.engines import Engine
from jaxgd.grid import Grid
from jaxgd.job import run_many
from jaxgd.races import Halving, Rediscovered
from jaxgd.record import Record
from jaxgd.refusal import described
from jaxgd.runs import Runs
from jaxgd.stop import Stop
from jaxgd.tree import PyTree


def minimize_many(
    loss: Callable[..., Any],
    params: PyTree,
    rule: Any,
    max_steps: int = 1000,
    *,
    axes: Axes = Axes(),  # noqa: B008  (frozen)
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    stop: Stop | None = None,
    has_aux: bool = False,
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    epochs: int | None = None,
    record: Record | None = None,
    keep: str | None = None,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    prune: Halving | None = None,
    enough: Rediscovered | None = None,
    progress: bool = False,
    callback: Callable[[Runs], Any] | None = None,
    time_limit: float | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    debug: bool = False,
    throw: bool = False,
) -> Runs:
    """Minimise a loss by many runs that differ in starts, numbers of the rule, args or keys.

    Each run is one of `minimize`, and gives the same result, to rounding, whatever runs beside it.
    A fixed number of lanes works through the runs: when one ends, by a test of its own or because
    it went non-finite, its lane takes the next. So nobody waits for the slowest, one bad start ends
    alone, and memory on the device does not grow with the number of runs; starts and results are on
    the host. Any number of runs, and any numbers in them, use one compiled program.

    Args:
      loss: as for `minimize`.
      params: starts, with a leading axis of runs where `axes` says so.
      rule: an update rule, or a `Grid` of them.
      max_steps: the step at which a run ends at the latest.
      axes: what has a leading axis of runs; all that is mapped goes together.
      args: as for `minimize`; mapped, a problem for each run.
      bounds: as for `minimize`, the same for all runs.
      stop: tests that end a run.
      has_aux: as for `minimize`.
      key: of a stochastic loss; run i uses fold_in(key, i), or its own if keys are mapped. Keys of
        another kind than threefry, JAX's default, draw otherwise for many than for one.
      data: a `Batches` of arrays, which all runs share; each run sees them in an order of its own,
        unless it says `shared=True`.
      epochs: passes over the data, in the place of max_steps.
      record: what the histories hold; by default nothing. They are on the host, (runs, rows).
      keep: as for `minimize`.
      lanes: how many runs are under way together on each device, or on each core of a CPU; by
        default what suits the device and the size of a run. It changes results by rounding at most.
      devices: where to run; by default all local devices of the default backend.
      prune: a `Halving`, which drops the worst runs at set steps.
      enough: a `Rediscovered`, which ends the job when the best minimum was found often enough.
      progress: show a live bar (tqdm).
      callback: called a few times a second with the runs so far, of which those that have not ended
        are RUNNING; a true answer stops all.
      time_limit: seconds after which all is stopped; compilation does not count.
      checkpoint: where the runs are kept on the disk; the same call goes on from there.
      engine: how the steps are made.
      debug: as for `minimize`, of the first eight runs that are NON_FINITE, each of which is made
        again alone; `runs.message` and `runs[i].message` say what was found.
      throw: raise a RunFailed if every run failed.

    Returns:
      A `Runs`; `print(runs)` shows it. After Ctrl-C, a time limit or a callback's answer the runs
      that were under way are INTERRUPTED, TIME_LIMIT or STOPPED, and the others NOT_STARTED.

    Raises:
      TypeError, ValueError: before anything is compiled, naming the argument, what was given and
        what was expected.
      RunFailed: every run failed, and `throw` was asked for.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> def loss(x, power):
      ...     return jnp.sum(jnp.abs(x) ** power)
      >>> runs = gd.minimize_many(loss, jnp.ones((3, 2)), gd.Adam(0.1), 200,
      ...                         args=(jnp.array([2.0, 3.0, 4.0]),), axes=gd.Axes(args=0))
      >>> runs.message
      '3 MAX_STEPS'
    """
    options = Options(
        axes, args, bounds, stop, has_aux, key, data, epochs, record, keep, lanes, devices,
        prune, enough, progress, callback, time_limit, checkpoint, engine, debug, throw,
    )  # fmt: skip
    return run_many(loss, params, rule, max_steps, options, combine=False)


def multistart(
    loss: Callable[..., Any],
    starts: PyTree,
    rule: Any,
    max_steps: int = 1000,
    *,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    stop: Stop | None = None,
    has_aux: bool = False,
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    epochs: int | None = None,
    record: Record | None = None,
    keep: str | None = None,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    prune: Halving | None = None,
    enough: Rediscovered | None = None,
    progress: bool = False,
    callback: Callable[[Runs], Any] | None = None,
    time_limit: float | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    debug: bool = False,
    throw: bool = False,
) -> Runs:
    """Minimise a loss from many starts.

    Args:
      loss: as for `minimize`.
      starts: pytree of params in which every array has a leading axis of runs; `jaxgd.starts`
        draws such.
      rule: an update rule, for all runs.
      max_steps: the step at which a run ends at the latest.
      args: this and all that follow are as for `minimize_many`.

    Returns:
      A `Runs`: `runs.best`, `runs.minima()` and the outcome of each run.

    Raises:
      TypeError, ValueError, RunFailed: as `minimize_many`.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> starts = gd.starts.sobol(jnp.zeros(2), (-5.0, 5.0), 256)
      >>> runs = gd.multistart(gd.landscapes.Himmelblau(), starts, gd.Adam(0.1))
      >>> [round(minimum.loss, 5) for minimum in runs.minima()]
      [0.0, 0.0, 0.0, 0.0]
    """
    if isinstance(rule, Grid):
        raise TypeError(
            "rule must be one update rule, got a Grid: for every combination of rules and starts "
            "use gd.sweep(loss, starts, grid, axes=gd.Axes(params=0))"
        )
    options = Options(
        Axes(params=0), args, bounds, stop, has_aux, key, data, epochs, record, keep, lanes,
        devices, prune, enough, progress, callback, time_limit, checkpoint, engine, debug, throw,
    )  # fmt: skip
    return run_many(loss, starts, rule, max_steps, options, combine=False)


def sweep(
    loss: Callable[..., Any],
    params: PyTree,
    grid: Grid,
    max_steps: int = 1000,
    *,
    axes: Axes = Axes(params=None),  # noqa: B008  (frozen)
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    stop: Stop | None = None,
    has_aux: bool = False,
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    epochs: int | None = None,
    record: Record | None = None,
    keep: str | None = None,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    prune: Halving | None = None,
    enough: Rediscovered | None = None,
    progress: bool = False,
    callback: Callable[[Runs], Any] | None = None,
    time_limit: float | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
    debug: bool = False,
    throw: bool = False,
) -> Runs:
    """Minimise a loss under every rule of a grid, from one start or from many.

    Args:
      loss: as for `minimize`.
      params: one start, or starts with a leading axis if `axes` says so.
      grid: made by `grid`.
      max_steps: the step at which a run ends at the latest.
      axes: what else is mapped; every rule goes through all of it, and the shape of the result has
        that axis last.
      args: this and all that follow are as for `minimize_many`.

    Returns:
      A `Runs`, whose `shape` is that of the grid: `runs.loss.reshape(runs.shape)`.

    Raises:
      TypeError, ValueError, RunFailed: as `minimize_many`.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rules = gd.grid(gd.GradientDescent, learning_rate=[0.01, 0.1, 1.5])
      >>> runs = gd.sweep(lambda x: jnp.sum(x ** 2), jnp.ones(2), rules, max_steps=100)
      >>> print(runs.inputs.rule.learning_rate[runs.loss.argmin()])
      0.1
    """
    if not isinstance(grid, Grid):
        raise TypeError(
            f"grid must be made by gd.grid or gd.product, got {described(grid)}: write "
            "gd.grid(gd.Adam, learning_rate=[0.01, 0.1])"
        )
    options = Options(
        axes, args, bounds, stop, has_aux, key, data, epochs, record, keep, lanes, devices,
        prune, enough, progress, callback, time_limit, checkpoint, engine, debug, throw,
    )  # fmt: skip
    return run_many(loss, params, grid, max_steps, options, combine=True)
