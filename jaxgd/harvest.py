"""From the outcomes on the host to what is returned."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.axes import Spread, restored
from jaxgd.blocks import ManyJob
from jaxgd.ledger import Ledger
from jaxgd.panel import Panel
from jaxgd.record import NOTHING, History
from jaxgd.rules import is_foreign, learning_rate_of, rates_from
from jaxgd.runs import Mapped, Runs, Scale, points, succeeded
from jaxgd.status import Status
from jaxgd.tree import PyTree, is_key

SAMPLE = 1024
"""Runs from which typical sizes are taken."""


def gather(spread: Spread, job: ManyJob, ledger: Ledger, panel: Panel | None, **told: Any) -> Runs:
    """The outcomes of all runs; `told` are the fields that say how the job went."""
    runs, outcomes = np.arange(math.prod(spread.shape)), ledger.outcomes
    whole, held = job.problem.params.merge, _held(spread, job, runs)
    average = outcomes.averaged
    return Runs(
        params=whole(_ends(job, ledger, outcomes.x), held),
        loss=outcomes.loss,
        grad_norm=outcomes.grad_norm,
        aux=outcomes.aux,
        at_step=outcomes.at_step,
        steps=outcomes.steps,
        status=outcomes.status,
        evaluations=outcomes.evaluations,
        history=_with_metrics(_history(spread, job, ledger), panel, len(runs)),
        inputs=Mapped(*(_mapped(spread, name, runs) for name in ("params", "rule", "args", "key"))),
        scale=scale_of(job, ledger),
        averaged=None if average is None else whole(_ends(job, ledger, average), held),
        shape=spread.shape,
        **told,
    )


def starts_of(job: ManyJob, runs: Any) -> list[np.ndarray[Any, Any]]:
    """The optimised leaves of the starts of some runs."""
    leaves = jax.tree.leaves(job.x)
    columns = job.columns[: len(leaves)]
    return [
        np.broadcast_to(leaf, (len(runs), *np.shape(leaf))) if column is None else column.take(runs)
        for leaf, column in zip(leaves, columns, strict=True)
    ]


def _ends(job: ManyJob, ledger: Ledger, outcomes: PyTree) -> list[np.ndarray[Any, Any]]:
    """Where the runs ended, or their averages; those that have not begun are at their starts."""
    ends = jax.tree.leaves(outcomes)
    waiting = np.flatnonzero(np.isin(ledger.outcomes.status, (Status.NOT_STARTED, Status.RUNNING)))
    for end, start in zip(ends, starts_of(job, waiting), strict=True):
        end[waiting] = start
    return ends


def _held(spread: Spread, job: ManyJob, runs: Any) -> list[Any]:
    """The leaves of the params that were held fixed, with an axis of runs."""
    columns, leaves = spread.columns.get("params", {}), []
    places = jax.tree_util.tree_leaves_with_path(spread.params)
    for (path, leaf), kind in zip(places, job.problem.params.kinds, strict=True):
        column = columns.get(jax.tree_util.keystr(path))
        if kind == "held" and column is not None:
            leaves.append(restored(column.take(runs), leaf))
        elif kind == "held":
            broadcast = jnp.broadcast_to if is_key(leaf) else np.broadcast_to
            leaves.append(broadcast(leaf, (len(runs), *np.shape(leaf))))
    return leaves


def _mapped(spread: Spread, name: str, runs: Any) -> PyTree:
    """The mapped values of all runs, in the form in which one of them is given."""
    columns = spread.columns.get(name)
    if not columns:
        return None

    def one(path: Any, leaf: Any) -> Any:
        column = columns.get(jax.tree_util.keystr(path))
        if column is None:
            return leaf if name == "rule" else None
        return restored(column.take(runs), leaf)

    return jax.tree_util.tree_map_with_path(one, getattr(spread, name), is_leaf=is_foreign)


def scale_of(job: ManyJob, ledger: Ledger) -> Scale:
    """Typical sizes of the params and the loss, from the runs that have ended."""
    outcomes = ledger.outcomes
    rows = np.flatnonzero(succeeded(outcomes.status, outcomes.loss))
    rows = rows[:: -(-len(rows) // SAMPLE) or 1]
    if not len(rows):
        return Scale(0.0, 0.0, np.zeros(sum(leaf.size for leaf in jax.tree.leaves(job.x))))
    ends, starts = points(outcomes.x, rows), points(starts_of(job, rows), np.arange(len(rows)))
    sizes = np.maximum(np.median(np.abs(ends), axis=0), np.median(np.abs(ends - starts), axis=0))
    loss, first = (np.asarray(a[rows], np.float64) for a in (outcomes.loss, outcomes.first))
    best, gain = float(np.min(loss)), float(np.median(np.abs(first - loss)))
    apart = max(abs(best), float(np.median(loss)) - best, 1e-4 * gain)
    return Scale(max(apart, gain), apart, sizes)


def _history(spread: Spread, job: ManyJob, ledger: Ledger) -> History | None:
    record, film = job.record, ledger.history()
    if record == NOTHING or film is None:
        return None
    count, length = jax.tree.leaves(film)[0].shape[:2]
    steps, rates = np.arange(length) * record.every, _rates(spread, length * record.every)
    return History(
        np.broadcast_to(steps, (count, length)),
        film.loss,
        film.grad_norm,
        None if rates is None else np.broadcast_to(rates[..., :: record.every], (count, length)),
        None if film.params is None else job.problem.unpacked(film.params),
        film.aux,
    )


def _with_metrics(history: History | None, panel: Panel | None, count: int) -> History | None:
    if panel is None:
        return history
    metrics, steps = panel.table()
    if history is None:
        history = History(np.zeros((count, 0), int), *[None] * 4)
    if steps is not None:
        steps = np.broadcast_to(steps, (count, len(steps)))
    return dataclasses.replace(history, metrics=metrics, metric_step=steps)


def _rates(spread: Spread, length: int) -> Any:
    """The learning rates of the first steps, of all runs or of each; None for a foreign rule."""
    columns, runs = spread.columns.get("rule", {}), np.arange(math.prod(spread.shape))
    leaves, form = jax.tree.flatten(spread.rule, is_leaf=is_foreign)
    places = jax.tree_util.tree_leaves_with_path(spread.rule, is_leaf=is_foreign)
    paths = [jax.tree_util.keystr(path) for path, _ in places]

    def rates(mapped: dict[str, Any]) -> Any:
        rule = jax.tree.unflatten(form, map(mapped.get, paths, leaves))
        rate = learning_rate_of(rule)
        return rates_from(rule, 0, length) if callable(rate) else jnp.full(length, rate)

    if learning_rate_of(spread.rule) is None:
        return None
    mapped = {path: column.take(runs) for path, column in columns.items()}
    return np.asarray(jax.vmap(rates)(mapped) if mapped else rates({}))
