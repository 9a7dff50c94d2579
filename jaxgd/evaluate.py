"""What is measured on held-out data while a run goes on, and when that is reason to stop."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.canonical import as_count, is_number
from jaxgd.loss import called
from jaxgd.refusal import described, shown
from jaxgd.tree import PyTree, is_key


@dataclasses.dataclass(frozen=True)
class EarlyStop:
    """Stop when a metric has not improved for so many evaluations in a row.

    The iterate that is returned is the one with the best value, whatever ended the run, and
    `result.at_step` its step; with `keep="last"` it is the last one.

    Args:
      metric: the name of a metric that the `Evaluate` computes.
      patience: evaluations without a better value that end the run, >= 1.
      rises: whether a larger value is better, as of an accuracy; else a smaller one.

    Reference: Prechelt (1998), Early stopping - but when?, doi:10.1007/3-540-49430-8_3.

    Example:
      >>> import jaxgd as gd
      >>> gd.EarlyStop("accuracy", patience=5, rises=True)
      EarlyStop(metric='accuracy', patience=5, rises=True)
    """

    metric: str
    patience: int
    rises: bool = False

    def checked(self) -> "EarlyStop":
        """The same with checked fields; raises a TypeError or ValueError that names one."""
        if not isinstance(self.metric, str):
            raise TypeError(f"metric must be the name of a metric, got {described(self.metric)}")
        if not isinstance(self.rises, bool):
            raise TypeError(f"rises must be True or False, got {shown(self.rises)}")
        patience = as_count(self.patience, "patience", at_least=1)
        return dataclasses.replace(self, patience=patience)

    def better(self, value: Any, best: Any) -> Any:
        """Whether values are better than the best ones so far; NaN never is."""
        value, best = np.asarray(value, np.float64), np.asarray(best, np.float64)
        return value > best if self.rises else value < best

    @property
    def worst(self) -> float:
        """What every value is better than."""
        return -np.inf if self.rises else np.inf


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluate:
    """Metrics of the params at set steps, such as the accuracy on held-out data.

    They are computed on the device, between two calls of the compiled steps, at step 0 and every
    multiple of `every`, and are in the history: `history.metrics["accuracy"]`, at the steps
    `history.metric_step`.

    Args:
      fn: `fn(params, data) -> {name: scalar}`, any JAX-traceable function.
      data: pytree of arrays, the same at every evaluation; without it `fn(params)` is called.
      every: steps from one evaluation to the next, >= 1.
      stop: an `EarlyStop` on one of the metrics.

    Example:
      >>> import jax, jax.numpy as jnp, jaxgd as gd
      >>> x = jnp.linspace(-1.0, 1.0, 20)
      >>> held_out = gd.Evaluate(lambda slope, x: {"error": jnp.mean((slope * x - 2 * x) ** 2)},
      ...                        jnp.array([1.5, 2.0]), every=20)
      >>> def loss(slope, x):
      ...     return jnp.mean((slope * x - 2 * x) ** 2)
      >>> result = gd.minimize(loss, 0.0, gd.GradientDescent(0.5), 60,
      ...                      data=gd.Batches(x, 4, jax.random.key(0)),
      ...                      record=gd.Record(evaluate=held_out))
      >>> result.history.metric_step.tolist(), bool(result.history.metrics["error"][-1] < 1e-4)
      ([0, 20, 40, 60], True)
    """

    fn: Callable[..., Any]
    data: PyTree = None
    every: int = 100
    stop: EarlyStop | None = None

    def checked(self) -> "Evaluate":
        """The same with checked fields; raises a TypeError or ValueError that names one."""
        if isinstance(self.fn, type) or not callable(self.fn):
            raise TypeError(f"fn must be a function of the params, got {described(self.fn)}")
        if not isinstance(self.stop, EarlyStop | None):
            raise TypeError(f"stop must be a gd.EarlyStop or None, got {described(self.stop)}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.data):
            if not is_number(leaf) and not is_key(leaf):
                place = "data" + jax.tree_util.keystr(path)
                raise TypeError(f"{place} must be an array of numbers, got {described(leaf)}")
        stop = None if self.stop is None else self.stop.checked()
        every = as_count(self.every, "every", at_least=1)
        return dataclasses.replace(self, every=every, stop=stop)

    def due(self, step: int) -> int:
        """The step of the next evaluation after `step`."""
        return step - step % self.every + self.every

    def called(self, params: PyTree, data: PyTree) -> Any:
        """The metrics of the params."""
        given = {"params": params} if self.data is None else {"params": params, "data": data}
        values = called(self.fn, tuple(given.values()), {}, tuple(given), "fn")
        if not isinstance(values, dict) or not values:
            raise TypeError(f"fn must return metrics by name, a dict, got {described(values)}")
        for name, value in values.items():
            if not is_number(value) or np.shape(value) or not isinstance(name, str):
                raise TypeError(
                    f"fn must return scalars by name, got {described(value)} of {shown(name)}"
                )
        return values
