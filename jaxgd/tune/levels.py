"""What a history of losses says, where a single loss may be low by chance."""

import warnings
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def final_losses(rows: Array, succeeded: Any) -> Array:
    """The median of the last tenth of each run's rows, (runs,); NaN for runs that failed.

    Args:
      rows: losses, (runs, rows), NaN after the end of a run.
      succeeded: bool, (runs,).
    """
    known = np.sum(~np.isnan(rows), axis=1)[:, None]
    at: Array = np.arange(rows.shape[1])
    last = (at < known) & (at >= known - np.maximum(1, known // 10)) & succeeded[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runs of NaN alone
        medians: Array = np.nanmedian(np.where(last, rows, np.nan).astype(np.float64), axis=1)
    return medians


def trailing_means(rows: Array, window: int) -> Array:
    """The means of the last `window` rows at each row; (runs, rows).

    NaN where there are not so many yet, and where one of them is not finite.
    """
    fine = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    means: Array = np.full(fine.shape, np.nan)
    if fine.shape[1] >= window:
        windows = np.lib.stride_tricks.sliding_window_view(fine, window, axis=1)
        means[:, window - 1 :] = windows.mean(axis=-1)
    return means


def first_at(rows: Array, goal: Any) -> Array:
    """The first row at or below the goal, (runs,); inf where there is none."""
    hit = rows <= np.asarray(goal)[..., None]
    found: Array = np.where(hit.any(axis=1), hit.argmax(axis=1), np.inf)
    return found


def settled_at(rows: Array, goal: float) -> Array:
    """The row from which on all are at or below the goal, (runs,); the length if none is."""
    above = ~(rows <= goal)
    last: Array = rows.shape[1] - np.argmax(above[:, ::-1], axis=1)
    return np.where(above.any(axis=1), last, 0)
