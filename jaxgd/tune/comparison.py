"""Rules side by side: data only."""

import html
import importlib
from typing import Any

import jax
import numpy as np

from jaxgd.pytree import pytree, static
from jaxgd.runs import Runs

COLUMNS = ("rule", "success", "steps", "median loss", "best loss", "failed", "run", "compile")


@pytree
class Comparison:
    """What several rules made of the same starts, best rule first, in NumPy.

    Rules are ordered by `expected_steps`, and those that never reached the target by their median
    loss.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> comparison = gd.compare(lambda x: jnp.sum(x ** 2), jnp.ones(2), {
      ...     "slow": gd.GradientDescent(0.01), "fast": gd.GradientDescent(0.3)}, target=1e-3)
      >>> comparison.names, comparison.steps_to_target.tolist()
      (('fast', 'slow'), [[5.0], [189.0]])
    """

    target: Any
    """float: the loss to reach; (runs,) where each run has a problem of its own."""
    steps_to_target: Any
    """float, (rules, runs): updates before the first loss at or below the target; inf if none."""
    steps: Any
    """int, (rules, runs): updates that each run made."""
    losses: Any
    """float, (rules, runs): what each run returned; inf where it failed."""
    compile_seconds: Any
    """float, (rules,): seconds spent tracing and compiling."""
    run_seconds: Any
    """float, (rules,): seconds spent running."""
    runs: dict[str, Runs]
    """The runs of each rule, with the loss of every step in their histories."""
    names: tuple[str, ...] = static(default=())
    """The names of the rules, best first: the order of all that has an axis of rules."""

    @property
    def success_rate(self) -> Any:
        """float, (rules,): the share of runs that reached the target."""
        return np.mean(np.isfinite(self.steps_to_target), axis=1)

    @property
    def expected_steps(self) -> Any:
        """float, (rules,): steps until the target if one begins anew whenever a run misses it.

        All steps made, those after the target not counted, over the number of runs that reached it;
        inf if none did.

        Reference: Hansen et al. (2021), COCO, doi:10.1080/10556788.2020.1808977, section 4: the
        expected running time.
        """
        return expected(self.steps_to_target, self.steps)

    @property
    def median_loss(self) -> Any:
        """float, (rules,): the median of what the runs returned; inf if half of them failed."""
        return np.quantile(self.losses, 0.5, axis=1, method="lower")

    @property
    def best_loss(self) -> Any:
        """float, (rules,): the lowest that a run returned; inf if all failed."""
        return np.min(self.losses, axis=1)

    def solved_within(self, steps: Any) -> Any:
        """The data profile: the share of runs that have reached the target within some steps.

        Args:
          steps: one number of steps or several, (k,).

        Returns:
          float, (rules,) or (rules, k).

        Reference: Moré and Wild (2009), doi:10.1137/080724083.
        """
        budget = np.asarray(steps)
        reached = self.steps_to_target[..., None] <= budget.reshape(-1)
        return np.mean(reached, axis=1).reshape(-1, *budget.shape)

    @property
    def message(self) -> str:
        """Which rule is best, and by what."""
        target = np.asarray(self.target)
        if np.isnan(target).all():
            return "No rule gave a finite loss: try lower learning rates, or another start."
        named = f"the loss {target:.6g}" if not target.ndim else "the target losses"
        name, share, steps = self.names[0], self.success_rate[0], self.expected_steps[0]
        if not share:
            return (
                f"No rule reached {named}; {name} ended lowest. Give more steps, a higher target, "
                "or learning rates from gd.find_learning_rate."
            )
        often = "" if share == 1 else f" in {share:.1%} of the runs,"
        return f"{name} is best: it reached {named}{often} after {steps:,.0f} steps on average."

    def rows(self) -> list[tuple[str, ...]]:
        """What `print` shows: a row for each rule, under `COLUMNS`."""
        shown: list[tuple[str, ...]] = []
        for i, name in enumerate(self.names):
            steps, failed = self.expected_steps[i], int(np.sum(~self.runs[name].succeeded))
            shown.append((
                name,
                f"{self.success_rate[i]:.1%}",
                f"{steps:,.0f}" if np.isfinite(steps) else "never",
                f"{self.median_loss[i]:.6g}",
                f"{self.best_loss[i]:.6g}",
                f"{failed:,}",
                f"{self.run_seconds[i]:.3f} s",
                f"{self.compile_seconds[i]:.3f} s",
            ))  # fmt: skip
        return shown

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses of all rules against the step, on Matplotlib Axes or new ones.

        Raises:
          ImportError: Matplotlib is not installed.
        """
        labelled = {name: self.runs[name] for name in self.names}
        return importlib.import_module("jaxgd.plot").convergence(labelled, ax)

    def __repr__(self) -> str:
        if not isinstance(self.steps_to_target, np.ndarray):
            return "Comparison(...)"
        lines = [COLUMNS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*text, self.message])

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            style = " style='text-align:left'"
            return f"<tr>{''.join(f'<{tag}{style}>{html.escape(c)}</{tag}>' for c in cells)}</tr>"

        body = "".join(line(row, "td") for row in self.rows())
        return f"<table>{line(COLUMNS, 'th')}{body}</table><p>{html.escape(self.message)}</p>"


def expected(steps_to_target: Any, steps: Any) -> Any:
    """Expected running times, (rules,), of (rules, runs)."""
    hits = np.sum(np.isfinite(steps_to_target), axis=1)
    spent = np.sum(np.minimum(steps_to_target, steps), axis=1)
    return np.where(hits > 0, spent / np.maximum(hits, 1), np.inf)


def ordered(comparison: Comparison) -> Comparison:
    """The same with the best rule first."""
    keys = (comparison.median_loss, comparison.expected_steps)
    order = np.lexsort(keys)
    parts = {
        name: jax.tree.map(lambda leaf: leaf[order], getattr(comparison, name))
        for name in ("steps_to_target", "steps", "losses", "compile_seconds", "run_seconds")
    }
    names = tuple(comparison.names[i] for i in order)
    return Comparison(comparison.target, **parts, runs=comparison.runs, names=names)
