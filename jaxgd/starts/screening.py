"""A screen of starting points: the best of many, spread out."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import numpy as np

from jaxgd.canonical import as_count
from jaxgd.many import multistart
from jaxgd.rules import GradientDescent
from jaxgd.runs import points, succeeded
from jaxgd.tree import PyTree

POOL = 8
"""Candidates for each one that is kept, among which the spread is sought."""


def screen(
    loss: Callable[..., Any],
    candidates: PyTree,
    keep: int,
    *,
    args: tuple[Any, ...] = (),
    key: chex.PRNGKey | None = None,
    lanes: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: bool = False,
) -> PyTree:
    """Evaluate many candidates and keep the best of them, spread out.

    The candidates are evaluated as `multistart` evaluates its starts, in memory that does not grow
    with their number on the device. Of the best eight for each one to keep, they are taken by
    ascending loss, but none that is nearer to one taken already than a distance, which is as large
    as still leaves enough. The best is always kept.

    Args:
      loss: as for `minimize`.
      candidates: pytree in which every array has a leading axis, such as the samplers draw.
      keep: how many to keep.
      args: further arguments of the loss.
      key: of a stochastic loss; candidate i uses fold_in(key, i).
      lanes: as for `minimize_many`.
      devices: as for `minimize_many`.
      progress: show a live bar (tqdm).

    Returns:
      A pytree like candidates, with a leading axis of `keep`, by ascending loss.

    Raises:
      TypeError, ValueError: as `minimize_many`; or fewer candidates than `keep` have a finite loss
        and gradient.

    Reference: Törn and Žilinskas (1989), Global optimization, doi:10.1007/3-540-50871-6.

    Example:
      >>> import numpy as np, jaxgd as gd
      >>> loss = gd.landscapes.Rastrigin()
      >>> candidates = gd.starts.sobol(np.zeros(2), (-5.12, 5.12), 4096)
      >>> best = gd.starts.screen(loss, candidates, keep=16)
      >>> best.shape, bool(max(map(loss, best)) < 25)
      ((16, 2), True)
    """
    keep = as_count(keep, "keep", at_least=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what it says is said below
        runs = multistart(
            loss, candidates, GradientDescent(0.0), 0, args=args, key=key, lanes=lanes,
            devices=devices, progress=progress, keep="last",
        )  # fmt: skip
    fine = np.flatnonzero(succeeded(runs.status, runs.loss))
    if len(fine) < keep:
        raise ValueError(
            f"keep must be at most the number of candidates with a finite loss and gradient, "
            f"{len(fine):,} of {len(runs):,}; got {keep:,}"
        )
    by_loss = fine[np.argsort(runs.loss[fine], kind="stable")]
    chosen = by_loss[_spread(points(runs.params, by_loss[: POOL * keep]), keep)]
    return jax.tree.map(lambda leaf: leaf[chosen] if hasattr(leaf, "shape") else leaf, runs.params)


def _spread(pool: np.ndarray[Any, Any], keep: int) -> np.ndarray[Any, Any]:
    """Which of the pool to keep: as far apart as leaves enough, the first ones first."""
    sides = np.ptp(pool, axis=0)
    pool = pool / np.where(sides > 0, sides, 1)
    low, high, chosen = 0.0, 1.0, np.arange(keep)
    for _ in range(12):
        distance = (low + high) / 2
        taken = _taken(pool, distance, keep)
        if len(taken) == keep:
            low, chosen = distance, taken
        else:
            high = distance
    return chosen


def _taken(pool: np.ndarray[Any, Any], distance: float, keep: int) -> np.ndarray[Any, Any]:
    """The first of the pool that are at least a distance apart."""
    taken: list[int] = []
    free = np.ones(len(pool), bool)
    while len(taken) < keep and free.any():
        taken.append(int(np.argmax(free)))
        free &= np.abs(pool - pool[taken[-1]]).max(axis=1) >= distance
        free[taken[-1]] = False
    return np.array(taken)
