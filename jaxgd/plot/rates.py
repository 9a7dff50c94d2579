"""Learning rates: a schedule over the steps, and what a learning-rate finder saw."""

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jaxgd.canonical import as_count
from jaxgd.plot import canvas
from jaxgd.plot.outcome import Array
from jaxgd.refusal import described
from jaxgd.schedules import Schedule, rate_at

POINTS = 5000


def learning_rate(
    schedule: float | Schedule | Mapping[str, float | Schedule],
    steps: int,
    ax: Axes | None = None,
) -> Axes:
    """Draw the learning rate of each step; logarithmically where the rates span two decades.

    Args:
      schedule: a schedule, any callable `step -> rate`, a number, or a mapping from labels to them.
      steps: how many steps to show, 1 or more.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError, ValueError: `steps` is no such number, or `ax` is something else.

    Example:
      >>> import jaxgd as gd
      >>> ax = gd.plot.learning_rate(gd.Warmup(gd.CosineDecay(0.1, steps=900), steps=100), 1000)
      >>> ax.get_xlabel(), round(float(ax.lines[0].get_ydata()[100]), 6)
      ('step', 0.1)
    """
    count = as_count(steps, "steps", at_least=1)
    listed = schedule.items() if isinstance(schedule, Mapping) else [("", schedule)]
    ax = canvas.axes(ax)
    ax.set(xlabel="step", ylabel="learning rate")
    at = np.unique(np.linspace(0, count - 1, POINTS).astype(np.int32))
    drawn = []
    for style, (label, one) in enumerate(listed):
        drawn.append(np.asarray(jax.vmap(functools.partial(rate_at, one))(jnp.asarray(at))))
        canvas.line(ax, at, drawn[-1], style, str(label), width=1.8)
    if drawn and np.min(drawn) > 0 and canvas.is_wide(drawn):
        ax.set_yscale("log")
    canvas.legend(ax)
    return ax


class Finding(Protocol):
    """What a learning-rate finder found."""

    @property
    def rates(self) -> Any:
        """The learning rates that were tried, float (n,)."""

    @property
    def losses(self) -> Any:
        """The loss after a short run at each, float (n,); not finite where it diverged."""

    @property
    def initial_loss(self) -> Any:
        """The loss before, a float."""

    @property
    def suggestion(self) -> Any:
        """A learning rate to use; NaN if there is none."""

    @property
    def stable(self) -> Any:
        """A pair of floats: the range of rates that lower the loss; NaN if there is none."""


def finder(finding: Finding, ax: Axes | None = None) -> Axes:
    """Draw the losses that a learning-rate finder saw, its suggestion and the stable range.

    Rates at which the run diverged are marked at the top, and so are losses far above the initial
    one, which would make all others look alike.

    Args:
      finding: what the finder returned.
      ax: Matplotlib Axes to draw on; None makes new ones.

    Returns:
      The Axes.

    Raises:
      TypeError: `finding` or `ax` is something else.

    Example:
      >>> import types, jaxgd as gd
      >>> ax = gd.plot.finder(types.SimpleNamespace(
      ...     rates=[0.01, 0.1, 1.0], losses=[3.0, 1.0, float("nan")],
      ...     initial_loss=4.0, suggestion=0.1, stable=(0.01, 0.1)))
      >>> ax.get_xscale()
      'log'
    """
    if not hasattr(finding, "suggestion"):
        raise TypeError(
            "finder draws what gd.find_learning_rate returned, a gd.Finding, got "
            + described(finding)
        )
    ax = canvas.axes(ax)
    rates = np.asarray(finding.rates, np.float64)
    losses = np.asarray(finding.losses, np.float64)
    initial, suggestion = float(finding.initial_loss), float(finding.suggestion)
    ax.set(xlabel="learning rate", ylabel="loss after a short run", xscale="log")
    low, high = map(float, finding.stable)
    if np.isfinite([low, high]).all():
        words = f"stable: {low:.3g} to {high:.3g}"
        ax.axvspan(low, high, color=canvas.SKY, alpha=0.2, linewidth=0, label=words)
    if np.isfinite(initial):
        words = f"initial loss {initial:.4g}"
        ax.axhline(initial, color=canvas.GREY, linestyle="--", linewidth=1.2, label=words)
    top, finite = _top(losses, initial), np.isfinite(losses)
    shown = finite & (losses <= top)
    ax.plot(rates, np.where(shown, losses, np.nan), color=canvas.BLUE, marker="o", ms=4)
    if canvas.is_wide(np.append(losses[shown], initial if np.isfinite(initial) else [])):
        ax.set_yscale("log")
    for chosen, shape, words in (
        (~finite, "X", "diverged"),
        (finite & ~shown, "^", f"above {top:.3g}"),
    ):
        if chosen.any():
            red, x = canvas.RED, rates[chosen]
            canvas.dots(ax, x, np.ones(len(x)), shape, red, label=words, size=7.0, at_edge=True)
    if np.isfinite(suggestion):
        words = f"suggestion {suggestion:.3g}"
        ax.axvline(suggestion, color=canvas.BLACK, linewidth=1.6, label=words)
    canvas.legend(ax)
    return ax


def _top(losses: Array, initial: float) -> float:
    """The highest loss that is drawn in its place."""
    finite = losses[np.isfinite(losses)]
    if not len(finite) or not np.isfinite(initial):
        return np.inf
    low = float(np.min(finite))
    return max(initial + 2 * abs(initial - low), low)
