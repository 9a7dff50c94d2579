"""`find_learning_rate`: short runs at many rates, all at once."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import chex
import numpy as np

from jaxgd.canonical import as_count, canonical_float, is_quantity
from jaxgd.data import Batches, steps_of
from jaxgd.grid import grid
from jaxgd.many import sweep
from jaxgd.record import Record
from jaxgd.refusal import described
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.tree import PyTree
from jaxgd.tune.finding import Finding
from jaxgd.tune.levels import final_losses, settled_at
from jaxgd.tune.rates import tunable

ROWS = 1000
"""Rows of the history of a run, about, however many steps it makes."""
EQUAL = 1e-6
"""Losses are equal if they differ by less, relative to their size: float32 says no more."""


def find_learning_rate(
    loss: Callable[..., Any],
    params: PyTree,
    rule: Any,
    low: float = 1e-6,
    high: float = 10.0,
    *,
    count: int = 43,
    max_steps: int = 100,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    has_aux: bool = False,
    key: chex.PRNGKey | None = None,
    data: Batches | None = None,
    epochs: int | None = None,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: bool = False,
) -> Finding:
    """Suggest a learning rate: that which lowers the loss most in a number of steps.

    For each of `count` rates from low to high, evenly spaced in logarithm, a run is made from the
    start with the rule as it is, but for the rate; all runs are lanes of one program. So each loss
    is that of real steps at one rate, momentum and all, and a rate that diverges spoils no other.
    What is compared is the median loss in the last tenth of each run, since a single loss may be
    low by chance; of rates that are equally good, to rounding, the one that was there first.

    The best rate depends on how many steps it has: that of gradient descent and momentum little,
    that of Adam and its like falls with them. So give the `max_steps` of the real run if it can be
    afforded; the default is for a first look. Runs of fewer steps that pick out rates for longer
    ones were no reliable guide.

    A schedule keeps its form and is scaled: `rates` and `suggestion` are its highest rate within
    max_steps, that is the `init`, `value` or `peak` of those here (and `Scaled` multiplies it in
    `finding.rule`). A schedule that decays over some number of steps wants that `max_steps`.

    Args:
      loss: as for `minimize`.
      params: the start.
      rule: an update rule with a learning rate, or a chain with one; its own rate is not looked at.
      low: the lowest rate to try, above 0.
      high: the highest rate to try.
      count: how many rates, 3 or more; the default is six per decade from 1e-6 to 10.
      max_steps: the steps of each run.
      args: as for `minimize`.
      bounds: as for `minimize`.
      has_aux: as for `minimize`.
      key: of a stochastic loss; run i uses fold_in(key, i).
      data: as for `sweep`.
      epochs: passes over the data, in the place of max_steps.
      lanes: as for `sweep`.
      devices: as for `sweep`.
      progress: show a live bar (tqdm).

    Returns:
      A `Finding`; `print(finding)` shows it, `finding.plot()` draws it, and `finding.rule` is the
      rule with the suggestion in it.

    Raises:
      TypeError: the rule has no learning rate that is traced, as rules of other libraries.
      TypeError, ValueError: as `minimize`, naming the argument.
      KeyboardInterrupt: after Ctrl-C.

    Example:
      >>> import jaxgd as gd
      >>> valley = gd.landscapes.Rosenbrock()
      >>> finding = gd.find_learning_rate(valley, valley.start, gd.Momentum(1.0), max_steps=1000)
      >>> result = gd.minimize(valley, valley.start, finding.rule)
      >>> 1e-3 < finding.suggestion < 1e-2, bool(result.loss < 1e-6)
      (True, True)
    """
    steps = as_count(steps_of(max_steps, epochs, data, default=100), "max_steps", at_least=1)
    rates = _rates(low, high, as_count(count, "count", at_least=3))
    make = tunable(rule, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the message says it
        runs = sweep(
            loss, params, grid(make, rate=rates), steps, args=args, bounds=bounds,
            has_aux=has_aux, key=key, record=Record(every=-(-steps // ROWS), grad_norm=False),
            keep="last", lanes=lanes, devices=devices, progress=progress, data=data,
        )  # fmt: skip
    if np.any(runs.status == Status.INTERRUPTED):
        raise KeyboardInterrupt
    return _finding(rates, runs, make, steps)


def _rates(low: Any, high: Any, count: int) -> np.ndarray[Any, Any]:
    for name, value in (("low", low), ("high", high)):
        if not is_quantity(value) or np.ndim(value) or not 0 < value < np.inf:
            raise ValueError(f"{name} must be a finite learning rate > 0, got {described(value)}")
    rates: np.ndarray[Any, Any] = np.geomspace(float(low), float(high), count)
    if not np.all(np.diff(rates.astype(canonical_float())) > 0):
        raise ValueError(f"high must be so far above low that {count} rates differ: {low}, {high}")
    return rates


def _finding(
    rates: np.ndarray[Any, Any], runs: Runs, make: Callable[[Any], Any], steps: int
) -> Finding:
    assert runs.history is not None
    rows = runs.history.loss.astype(np.float64)
    losses = final_losses(rows, runs.succeeded)
    first = rows[np.isfinite(rows[:, 0]), 0]
    initial = float(np.median(first)) if len(first) else np.nan
    fine = np.nan_to_num(losses, nan=np.inf) < initial
    suggestion, stable, rule = np.nan, (np.nan, np.nan), None
    if fine.any():
        best = _best(np.where(fine, losses, np.inf), rows)
        stable = _around(best, fine, rates)
        suggestion, rule = float(rates[best]), make(float(rates[best]))
    return Finding(
        rates=rates,
        losses=losses,
        status=runs.status,
        initial_loss=initial,
        suggestion=suggestion,
        stable=stable,
        rule=rule,
        compile_seconds=runs.compile_seconds,
        run_seconds=runs.run_seconds,
        steps=steps,
    )


def _best(losses: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> int:
    """The run with the lowest loss; of equal ones that whose loss came there first to stay."""
    lowest = np.min(losses)
    goal = lowest + EQUAL * abs(lowest)
    equal = np.flatnonzero(losses <= goal)
    return int(equal[np.argmin(settled_at(rows[equal], goal))])


def _around(best: int, fine: Any, rates: Any) -> tuple[float, float]:
    """The range of rates around the best that are all fine."""
    bad = np.flatnonzero(~fine)
    below, above = bad[bad < best], bad[bad > best]
    first = below[-1] + 1 if len(below) else 0
    last = above[0] - 1 if len(above) else len(rates) - 1
    return float(rates[first]), float(rates[last])
