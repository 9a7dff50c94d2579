"""What many runs return: data only."""

import dataclasses
import functools
import math
import operator
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import is_quantity
from jaxgd.minima import Minimum, cluster
from jaxgd.pytree import pytree, static
from jaxgd.record import History
from jaxgd.refusal import shown
from jaxgd.result import Result, html_table, page_of, table
from jaxgd.status import Status
from jaxgd.tree import PyTree, brief

RTOL = 1e-3
"""How near two runs are that ended in one minimum, relative to typical sizes."""


@pytree
class Scale:
    """Typical sizes, against which two ends of runs are near or far."""

    loss: Any
    """float: of the loss, and of how far the runs lowered it."""
    ends: Any
    """float: of the loss where the runs ended, and of how far apart it is there."""
    params: Any
    """float64, (d,): of each optimised number, and of how far the runs moved it."""


@pytree
class Mapped:
    """What was mapped, each leaf with a leading axis of runs; None where nothing was."""

    params: PyTree
    """The starts."""
    rule: Any
    """The rule, whose mapped numbers are arrays and the others one number."""
    args: Any
    """The arguments of the loss, None in the place of those that all runs share."""
    key: Any
    """The random keys."""


@pytree
class Runs:
    """The outcome of many runs: the fields of a `Result`, with a leading axis of runs, in NumPy.

    `runs[i]` is one of them as a `Result`.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> starts = gd.starts.uniform(jnp.zeros(2), (-4.0, 4.0), 100)
      >>> runs = gd.multistart(gd.landscapes.Himmelblau(), starts, gd.Adam(0.1), max_steps=1000)
      >>> runs.loss.shape, runs.params.shape, len(runs.minima())
      ((100,), (100, 2), 4)
    """

    params: PyTree
    """The iterates that are returned, (runs, ...)."""
    loss: Any
    """float, (runs,): the losses there; NaN for a run that made no step."""
    grad_norm: Any
    """float, (runs,): the largest gradient entries there."""
    aux: Any
    """What a loss with has_aux returns there, (runs, ...), else None."""
    at_step: Any
    """int, (runs,): the number of updates that led there."""
    steps: Any
    """int, (runs,): the updates that each run made."""
    status: Any
    """int, (runs,): a `Status` each."""
    evaluations: Any
    """int, (runs,): evaluations of the loss and its gradient."""
    history: History | None
    """The rows that were recorded, (runs, rows, ...), NaN after the end of a run."""
    inputs: Mapped
    """Each run's mapped values."""
    scale: Scale
    """Typical sizes, by which `minima` tells ends apart."""
    averaged: PyTree = None
    """The averages of the iterates, (runs, ...), under a rule made by `average`, else None."""
    compile_seconds: float | None = None
    """Seconds spent tracing and compiling."""
    run_seconds: float | None = None
    """Seconds spent running."""
    shape: tuple[int, ...] = static(default=())
    """That of the grid: `runs.loss.reshape(runs.shape)`; (runs,) where there is none."""
    engine: str = static(default="")
    """Which engine ran, on how many lanes, threads and devices."""
    log: tuple[str, ...] = static(default=())
    """What pruning did, and why the job ended before all starts were used."""
    diagnoses: tuple[tuple[int, str], ...] = static(default=())
    """With `debug`, of the first runs that are NON_FINITE the index, and what was so first."""

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, index: int) -> Result:
        at = range(len(self))[operator.index(index)]
        pick = functools.partial(jax.tree.map, lambda leaf: _entry(leaf, at))
        history = pick(self.history)
        if history is not None and len(history.step):
            every = int(history.step[1] - history.step[0]) if len(history.step) > 1 else 1
            rows = -(-int(self.evaluations[at]) // every)
            metrics = {"metrics": history.metrics, "metric_step": history.metric_step}
            history = jax.tree.map(lambda leaf: leaf[:rows], history)
            history = dataclasses.replace(history, **metrics)  # they have rows of their own
        names = ("loss", "grad_norm", "aux", "at_step", "steps", "status", "evaluations")
        values = {name: pick(getattr(self, name)) for name in names}
        return Result(
            params=pick(self.params),
            **values,
            history=history,
            state=None,
            engine=self.engine,
            diagnosis=dict(self.diagnoses).get(at, ""),
        )

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    @property
    def succeeded(self) -> Any:
        """bool, (runs,): whether the run gave a result of its own, with a finite loss."""
        return succeeded(self.status, self.loss)

    @property
    def converged(self) -> Any:
        """bool, (runs,): whether a test in `stop` ended the run."""
        return np.isin(self.status, [status for status in Status if status.converged])

    @property
    def best(self) -> Result:
        """The run with the lowest loss of those that did not fail, or of all if all did."""
        fine = self.succeeded
        loss = np.where(fine if fine.any() else np.isfinite(self.loss), self.loss, np.inf)
        return self[int(np.argmin(loss))]

    @property
    def success_rate(self) -> float:
        """The share of all runs whose loss is the best one, within 1e-3 of its typical size."""
        fine = self.succeeded
        if not fine.any():
            return 0.0
        near = self.loss <= np.min(self.loss[fine]) + RTOL * self.scale.ends
        return float(np.mean(near & fine))

    def minima(self, rtol: float = RTOL, atol: float = 0.0) -> list[Minimum]:
        """The distinct minima, lowest first: ends whose loss and params are both near.

        Args:
          rtol: how near, relative to typical sizes: of a parameter, its value and how far the runs
            moved it; of the loss, the same.
          atol: how near besides, absolute, in every parameter and the loss.

        Returns:
          For each minimum its best run's params, loss and gradient norm, and the indices of its
          runs. Runs that failed belong to none.

        Raises:
          ValueError: rtol or atol is no number >= 0.
        """
        for name, value in (("rtol", rtol), ("atol", atol)):
            if not is_quantity(value) or np.ndim(value) or not value >= 0:
                raise ValueError(f"{name} must be a number >= 0, got {shown(value)}")
        rows = np.flatnonzero(self.succeeded)
        ends = points(self.params, rows)
        losses = self.loss[rows].astype(np.float64)
        sizes = (float(self.scale.loss), np.asarray(self.scale.params))
        found = []
        for indices in cluster(losses, ends, *sizes, rtol, atol) if len(rows) else []:
            best = int(rows[indices[0]])
            params = jax.tree.map(lambda leaf: _entry(leaf, best), self.params)  # noqa: B023
            loss, norm = float(self.loss[best]), float(self.grad_norm[best])
            found.append(Minimum(params, loss, norm, rows[indices]))
        return found

    @property
    def message(self) -> str:
        """How often what happened, in words, and what `debug` found."""
        return "\n".join([self._counted, *self._found])

    @property
    def _found(self) -> list[str]:
        return [f"run {run:,}: {told}" for run, told in self.diagnoses]

    @property
    def _counted(self) -> str:
        names, counts = np.unique(self.status, return_counts=True)
        counted = ", ".join(f"{n:,} {Status(s).name}" for s, n in zip(names, counts, strict=True))
        return ". ".join([counted, *self.log])

    def to_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Columns by name, each with a leading axis of runs: for a data frame or `numpy.savez`.

        Example:
          >>> import jaxgd as gd
          >>> rules = gd.grid(gd.Adam, learning_rate=[0.01, 0.1])
          >>> runs = gd.sweep(lambda x: x ** 2, 1.0, rules, max_steps=10)
          >>> sorted(runs.to_dict())[4:]
          ['params', 'rule.learning_rate', 'status', 'steps']
        """
        names = ("loss", "grad_norm", "status", "steps", "at_step", "evaluations")
        columns = {name: np.asarray(getattr(self, name)) for name in names}
        inputs = {"start": self.inputs.params, "rule": self.inputs.rule, "args": self.inputs.args}
        for name, part in {"params": self.params, "aux": self.aux, **inputs}.items():
            for path, leaf in jax.tree_util.tree_leaves_with_path(part):
                if _has_axis(leaf, len(self)):
                    columns[name + jax.tree_util.keystr(path)] = np.asarray(leaf)
        return columns

    def rows(self) -> list[tuple[str, str]]:
        """What `print` shows: names and values."""
        steps = (int(f(self.steps)) for f in (np.min, np.median, np.max))
        best, minima = self.best, self.minima()
        grid = " x ".join(map(str, self.shape))
        found = [
            f"loss {m.loss:.6g}, {m.count:,} run{'s' * (m.count > 1)}, {brief(m.params)}"
            for m in minima[:5]
        ]
        shown = [
            ("runs", f"{len(self):,}" + (f" ({grid})" if len(self.shape) > 1 else "")),
            ("status", self._counted),
            ("best loss", f"{best.loss:.9g}"),
            ("success rate", f"{self.success_rate:.1%} within {RTOL:g} of the best loss"),
            ("steps", "min {:,}, median {:,}, max {:,}".format(*steps)),
            (f"minima ({len(minima):,})", "\n".join(found) or "none: every run failed"),
        ]
        if self.diagnoses:
            shown.insert(2, ("non-finite", "\n".join(self._found)))
        if self.run_seconds is not None and self.compile_seconds is not None:
            shown.append(("compile time", f"{self.compile_seconds:.3f} s"))
            shown.append(("run time", f"{self.run_seconds:.3f} s"))
        return [*shown, ("engine", self.engine)]

    def plot(self, loss: Any = None, args: Any = ()) -> Any:
        """A page of pictures: losses and params of the minima; convergence and basins if known.

        Args:
          loss: what was minimised, for contours below basins of two parameters; None draws none.
          args: its further arguments, a tuple.

        Returns:
          A Matplotlib `Figure`, which a notebook shows.

        Raises:
          ImportError: Matplotlib is not installed.
        """
        return page_of(self, loss, args)

    def __repr__(self) -> str:
        return table(self.rows()) if isinstance(self.status, np.ndarray) else "Runs(...)"

    def _repr_html_(self) -> str:
        return html_table(self.rows())


def succeeded(status: Any, loss: Any) -> Any:
    """Which runs gave a result of their own."""
    ended = [s for s in Status if not s.failed and s != Status.RUNNING]
    return np.isin(status, ended) & np.isfinite(loss)


def points(params: PyTree, rows: Any) -> np.ndarray[Any, Any]:
    """The optimised numbers of some runs, (rows, d) in float64."""
    parts = []
    for leaf in jax.tree.leaves(params):
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact):
            flat = np.asarray(leaf)[rows].reshape(len(rows), math.prod(leaf.shape[1:]))
            both = [flat.real, flat.imag] if np.iscomplexobj(flat) else [flat]
            parts += [part.astype(np.float64) for part in both]
    return np.concatenate(parts, axis=1)


def _has_axis(leaf: Any, length: int) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.ndim > 0 and len(leaf) == length


def _entry(leaf: Any, at: int) -> Any:
    """One run's part of a leaf; what is no array is the same for all."""
    return leaf[at] if hasattr(leaf, "shape") else leaf
