"""What a learning-rate finder found: data only."""

import html
import importlib
from typing import Any

import numpy as np

from jaxgd.pytree import pytree, static
from jaxgd.result import html_table, table
from jaxgd.status import Status


@pytree
class Finding:
    """The losses after short runs at many learning rates, and the rate that they suggest.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> finding = gd.find_learning_rate(lambda x: jnp.sum(x ** 2), jnp.ones(2),
      ...                                 gd.GradientDescent(0.1))
      >>> finding.found, 0.3 < finding.suggestion < 0.7, round(float(finding.stable[1]), 1)
      (True, True, 0.7)
    """

    rates: Any
    """float, (n,): the learning rates that were tried, rising; of a schedule, its highest."""
    losses: Any
    """float, (n,): the median loss in the last tenth of each run; NaN where it diverged."""
    status: Any
    """int, (n,): a `Status` for each run, NON_FINITE where it diverged."""
    initial_loss: Any
    """float scalar: the loss at the start; of a stochastic loss, the median."""
    suggestion: Any
    """float scalar: the rate with the lowest loss; NaN if no rate is stable."""
    stable: tuple[Any, Any]
    """Two floats: the lowest and the highest rate of those around the suggestion whose runs stayed
    finite and ended below the start; NaN if there are none."""
    rule: Any
    """The rule with the suggestion in it, for the real run; None if no rate is stable."""
    compile_seconds: Any
    """Seconds spent tracing and compiling."""
    run_seconds: Any
    """Seconds spent running."""
    steps: int = static(default=0)
    """The steps of each run, unless it diverged."""

    @property
    def found(self) -> bool:
        """Whether a rate is suggested."""
        return bool(np.isfinite(self.suggestion))

    @property
    def message(self) -> str:
        """Why this rate, or what to try if there is none."""
        low, high = self.rates[0], self.rates[-1]
        if not np.isfinite(self.initial_loss):
            return "The loss or its gradient is not finite at the start: try another one."
        if not self.found:
            return (
                f"No rate from {low:.3g} to {high:.3g} lowered the loss: try a lower one, such as "
                f"low={low / 1e4:.1g}, more steps, or see whether the start is a minimum already."
            )
        at = int(np.argmin(np.abs(self.rates - self.suggestion)))
        said = (
            f"At the rate {self.suggestion:.3g} the loss fell lowest in {self.steps:,} steps, from "
            f"{self.initial_loss:.6g} to {self.losses[at]:.6g}."
        )
        if at == len(self.rates) - 1:
            return f"{said} It is the highest that was tried: try high={high * 100:.1g} as well."
        if at == 0:
            return f"{said} It is the lowest that was tried: try low={low / 100:.1g} as well."
        if self.rates[at] == self.stable[1]:
            went = "diverges" if np.isnan(self.losses[at + 1]) else "ends above the start"
            return f"{said} The next rate tried, {self.rates[at + 1]:.3g}, {went}."
        return said

    def rows(self) -> list[tuple[str, str]]:
        """What `print` shows: names and values."""
        diverged = int(np.sum(self.status == Status.NON_FINITE))
        low, high = self.stable
        return [
            ("suggestion", f"{self.suggestion:.3g}" if self.found else "none: no rate is stable"),
            ("stable rates", f"{low:.3g} to {high:.3g}" if self.found else "none"),
            ("initial loss", f"{self.initial_loss:.9g}"),
            ("lowest loss", f"{_lowest(self.losses):.9g}"),
            (
                "rates",
                f"{len(self.rates):,} from {self.rates[0]:.3g} to {self.rates[-1]:.3g}, of which "
                f"{diverged:,} diverged",
            ),
            ("steps", f"{self.steps:,} at each rate"),
            ("compile time", f"{self.compile_seconds:.3f} s"),
            ("run time", f"{self.run_seconds:.3f} s"),
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses by rate, the suggestion and the stable range, on Matplotlib Axes.

        Args:
          ax: where to draw; None makes new ones.

        Returns:
          The Axes.

        Raises:
          ImportError: Matplotlib is not installed.
        """
        return importlib.import_module("jaxgd.plot").finder(self, ax)

    def __repr__(self) -> str:
        if not isinstance(self.losses, np.ndarray):
            return "Finding(...)"
        return f"{table(self.rows())}\n{self.message}"

    def _repr_html_(self) -> str:
        return f"{html_table(self.rows())}<p>{html.escape(self.message)}</p>"


def _lowest(losses: Any) -> float:
    finite = losses[np.isfinite(losses)]
    return float(np.min(finite)) if len(finite) else np.nan
