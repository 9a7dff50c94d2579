"""`compare`: rules side by side, from the same starts."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import numpy as np

from jaxgd.axes import Axes
from jaxgd.canonical import as_count, is_quantity
from jaxgd.data import Batches, steps_of
from jaxgd.grid import Grid, product
from jaxgd.many import sweep
from jaxgd.record import Record
from jaxgd.refusal import described, shown
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.stop import Stop
from jaxgd.tree import PyTree
from jaxgd.tune.comparison import Comparison, ordered
from jaxgd.tune.levels import final_losses, first_at, trailing_means

SMOOTHED = 50
"""Of a stochastic loss the mean over 1 / SMOOTHED of all steps is looked at, but of `FEWEST`."""
FEWEST = 10


def compare(
    loss: Callable[..., Any],
    params: PyTree,
    rules: Mapping[str, Any],
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
    target: float | None = None,
    tolerance: float = 1e-4,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: bool = False,
) -> Comparison:
    """Minimise a loss by several rules from the same start, or from the same starts.

    What counts is how many steps a rule needs to reach a target, as in benchmarks of optimisers:
    a loss of your own, or one near the lowest that any of the rules has found,

        target = lowest + tolerance (initial - lowest)

    with the median of the initial losses, if there are many starts. Where `axes` maps args, each
    run has a problem, and so a target, of its own. A run that failed has not reached it, whatever
    it passed before.

    Of a stochastic loss (with `key` or `data`) a single value may be low by chance. There the mean
    over 2 % of the steps must reach the target, and what a run ends with is the median of its last
    tenth, the lowest of these among them.

    Args:
      loss: as for `minimize`.
      params: one start, or starts with a leading axis where `axes` says so.
      rules: a mapping from names to update rules.
      max_steps: the step at which a run ends at the latest.
      axes: what has a leading axis of runs, as for `minimize_many`; run i of each rule has the same
        start, args and key.
      args: this and the next five are as for `minimize_many`.
      bounds: the same.
      stop: the same; without it all runs make max_steps steps, past the target.
      has_aux: the same.
      key: the same.
      data: the same.
      epochs: passes over the data, in the place of max_steps.
      target: the loss to reach; by default the one above.
      tolerance: of the default target, between 0 and 1: 1e-4 leaves that part of what could be
        gained.
      lanes: this and the next two are as for `minimize_many`.
      devices: the same.
      progress: the same, one bar for each rule.

    Returns:
      A `Comparison`; `print(comparison)` shows it as a table, best rule first.

    Raises:
      TypeError, ValueError: as `minimize_many`, or `rules`, `target` or `tolerance` is none.
      KeyboardInterrupt: after Ctrl-C.

    Reference: Moré and Wild (2009), Benchmarking derivative-free optimization algorithms,
    doi:10.1137/080724083, for the default target.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rules = {"gradient descent": gd.GradientDescent(1e-3), "Adam": gd.Adam(0.1)}
      >>> starts = gd.starts.uniform(jnp.zeros(2), (-2.0, 2.0), 16)
      >>> comparison = gd.compare(gd.landscapes.Rosenbrock(), starts, rules, 2000,
      ...                         axes=gd.Axes(params=0), target=0.1)
      >>> comparison.names[0], float(comparison.success_rate[0])
      ('Adam', 1.0)
    """
    _check(rules, axes, target, tolerance)
    max_steps = as_count(steps_of(max_steps, epochs, data, default=1000), "max_steps", at_least=1)
    runs = {}
    for name, rule in rules.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the table says which rules failed
            runs[name] = sweep(
                loss, params, product(rule), max_steps, axes=axes, args=args, bounds=bounds,
                stop=stop, has_aux=has_aux, key=key, record=Record(grad_norm=False), lanes=lanes,
                devices=devices, progress=progress, data=data,
            )  # fmt: skip
        if np.any(runs[name].status == Status.INTERRUPTED):
            raise KeyboardInterrupt
    in_batches = data is not None and (data.is_source or data.batch_size is not None)
    stochastic = key is not None or in_batches
    window = 1
    if stochastic:
        window = min(max(-(-max_steps // SMOOTHED), FEWEST), max(1, max_steps // 4))
    return _compared(runs, window, axes.args is not None, target, tolerance)


def _check(rules: Any, axes: Any, target: Any, tolerance: Any) -> None:
    if not isinstance(rules, Mapping) or not rules:
        raise TypeError(
            'rules must be a mapping from names to update rules, such as {"Adam": gd.Adam(0.1)}, '
            f"got {described(rules)}"
        )
    for name, rule in rules.items():
        if not isinstance(name, str):
            raise TypeError(f"the names of rules must be strings, got {shown(name)}")
        if isinstance(rule, Grid):
            raise TypeError(f"rules[{name!r}] must be one update rule, got a Grid: use gd.sweep")
        try:
            product(rule)
        except (TypeError, ValueError) as error:
            raise type(error)(f"rules[{name!r}]: {error}") from error
    if isinstance(axes, Axes) and axes.rule is not None:
        raise ValueError("axes.rule must be None: each rule is one of the mapping")
    if target is not None and (not is_quantity(target) or np.ndim(target) or np.isnan(target)):
        raise ValueError(f"target must be a number or None, got {described(target)}")
    if not is_quantity(tolerance) or np.ndim(tolerance) or not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be a number between 0 and 1, got {described(tolerance)}")


def _compared(
    runs: dict[str, Runs], window: int, own_targets: bool, target: Any, tolerance: float
) -> Comparison:
    rows = [some.history.loss for some in runs.values() if some.history]
    fine = [some.succeeded for some in runs.values()]
    curves = [
        np.where(f[:, None], trailing_means(r, window), np.nan)
        for r, f in zip(rows, fine, strict=True)
    ]
    if window > 1:
        ends = lowest = np.stack([final_losses(r, f) for r, f in zip(rows, fine, strict=True)])
    else:
        ends = np.stack([some.loss.astype(np.float64) for some in runs.values()])
        lowest = np.stack([_least(curve, axis=1) for curve in curves])
    if target is None:
        at = min(window, curves[0].shape[1]) - 1
        firsts = np.stack([curve[:, at] for curve in curves])
        target = _default_target(lowest, firsts, own_targets, tolerance)
    goal = np.broadcast_to(np.asarray(target, np.float64), len(curves[0]))
    return ordered(
        Comparison(
            target=np.asarray(target, np.float64),
            steps_to_target=np.stack([first_at(curve, goal) for curve in curves]),
            steps=np.stack([some.steps for some in runs.values()]),
            losses=np.where(np.stack(fine), ends, np.inf),
            compile_seconds=np.array([some.compile_seconds for some in runs.values()]),
            run_seconds=np.array([some.run_seconds for some in runs.values()]),
            runs=runs,
            names=tuple(runs),
        )
    )


def _default_target(lowest: Any, firsts: Any, own_targets: bool, tolerance: float) -> Any:
    """One target for all runs, or one for each, (runs,), of (rules, runs); NaN if all failed."""
    axis = 0 if own_targets else None
    low = _least(lowest, axis=axis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN alone
        first = np.nanmedian(firsts, axis=axis)
    return low + tolerance * (first - low)


def _least(values: Any, axis: int | None) -> Any:
    """The minimum of what is not NaN; NaN if all is."""
    least = np.min(values, axis=axis, where=~np.isnan(values), initial=np.inf)
    return np.where(np.isinf(least), np.nan, least)
