"""The minimisation loop in plain NumPy on one array: the oracle, and the account, of its meaning.

Row t of a run is the iterate x_t with its loss and gradient. In order, a row is evaluated,
recorded, tested (`_why_stop`), and, if the run goes on, left for the next iterate by

    u, state = rule.update(g, state, x);   x = clip(x + u, bounds)

The step direction is the rule's business (see numpy_rules.py); the gradient norm that is tested
is, with bounds, that of the projected gradient (Bertsekas, "On the Goldstein-Levitin-Polyak
gradient projection method", IEEE Trans. Automatic Control 21, 1976).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

NON_FINITE = "NON_FINITE"
TARGET_REACHED = "TARGET_REACHED"
CONVERGED_GRADIENT = "CONVERGED_GRADIENT"
CONVERGED_LOSS = "CONVERGED_LOSS"
CONVERGED_PARAMS = "CONVERGED_PARAMS"
MAX_STEPS = "MAX_STEPS"

# The tests in the order in which they are asked; where several end a run, the first names it.
TESTS = {
    "target": TARGET_REACHED,
    "gtol": CONVERGED_GRADIENT,
    "ftol": CONVERGED_LOSS,
    "frtol": CONVERGED_LOSS,
    "xtol": CONVERGED_PARAMS,
}


@dataclass(frozen=True)
class Stop:
    """Tolerances (None: not tested) and the number of consecutive rows that must meet one."""

    ftol: float | None = None
    frtol: float | None = None
    xtol: float | None = None
    gtol: float | None = None
    target: float | None = None
    patience: int = 1


@dataclass(frozen=True)
class Row:
    """One evaluated iterate; `finite` is about its loss and its raw gradient."""

    x: np.ndarray
    loss: float
    grad_norm: float
    finite: bool


@dataclass(frozen=True)
class Outcome:
    """x, loss, grad_norm and at_step are of the returned iterate; the rest is of the run."""

    x: np.ndarray
    loss: float
    grad_norm: float
    at_step: int
    steps: int
    status: str
    evaluations: int
    loss_history: np.ndarray
    grad_norm_history: np.ndarray
    x_history: np.ndarray


def reference(
    loss, grad, rule, x, max_steps, *, stop=None, bounds=None, keep="best", stochastic=False
):
    """Minimise `loss(x, t)` from `x` by `rule` with the gradient `grad(x, t)`.

    A deterministic run of `steps` steps has steps + 1 rows: the last iterate is evaluated too.
    A stochastic run that takes all its `max_steps` steps has max_steps rows: iterate max_steps
    is reached and returned but not evaluated, and its loss is reported as the last row's.
    """
    stop = _as_stop(stop)
    _check(stop, keep, stochastic)
    x = np.array(x, dtype=np.float64)
    state = rule.init(x)
    rows, counts = [], dict.fromkeys(TESTS, 0)
    t = 0
    while True:
        if stochastic and t == max_steps:
            status = MAX_STEPS
            break
        g = np.asarray(grad(x, t), dtype=np.float64)
        rows.append(_row(x, float(loss(x, t)), g, bounds))
        status = _why_stop(rows, counts, stop)
        if status is None and t == max_steps:
            status = MAX_STEPS
        if status is not None:
            break
        u, state = rule.update(g, state, x)
        x = _clip(x + u, bounds)
        t += 1
    return _outcome(rows, x, t, status, keep)


def _as_stop(stop):
    """A Stop from None, a mapping, or any object with its fields as attributes."""
    if stop is None:
        return Stop()
    if isinstance(stop, Mapping):
        return Stop(**stop)
    return Stop(**{name: getattr(stop, name) for name in Stop.__dataclass_fields__})


def _check(stop, keep, stochastic):
    """Losses on different samples cannot be compared, so nothing may depend on comparing them."""
    if keep not in ("best", "last"):
        raise ValueError(f"keep must be 'best' or 'last', not {keep!r}")
    if stochastic and keep == "best":
        raise ValueError("a stochastic run cannot keep the best iterate")
    if stochastic and (stop.ftol is not None or stop.frtol is not None):
        raise ValueError("a stochastic run cannot test ftol or frtol")


def _clip(x, bounds):
    return x if bounds is None else np.clip(x, *bounds)


def _row(x, f, g, bounds):
    """The gradient norm is the max-norm: of g, or of the projected gradient clip(x - g) - x."""
    finite = bool(np.isfinite(f) and np.all(np.isfinite(g)))
    projected = g if bounds is None else _clip(x - g, bounds) - x
    return Row(x, f, float(np.max(np.abs(projected), initial=0.0)), finite)


def _hits(rows, stop):
    """Which tests the newest row meets; the last three compare with the row before it."""
    now = rows[-1]
    measured = {"target": (now.loss, stop.target), "gtol": (now.grad_norm, stop.gtol)}
    if len(rows) > 1:
        before = rows[-2]
        change = abs(now.loss - before.loss)
        scale = max(abs(now.loss), np.finfo(np.float64).tiny)
        frtol = None if stop.frtol is None else stop.frtol * scale
        move = np.max(np.abs(now.x - before.x) / (1 + np.abs(now.x)), initial=0.0)
        measured |= {"ftol": (change, stop.ftol), "frtol": (change, frtol)}
        measured["xtol"] = (move, stop.xtol)
    return {name for name, (value, tol) in measured.items() if tol is not None and value <= tol}


def _why_stop(rows, counts, stop):
    """The status that ends the run at the newest row, or None.

    Each test counts its own consecutive hits, at every row and whatever the others do; a miss
    sets its count to 0. The first test in the order of TESTS whose count is `patience` ends the
    run. A row that is not finite ends it before any test.
    """
    if not rows[-1].finite:
        return NON_FINITE
    hits = _hits(rows, stop)
    for name in TESTS:
        counts[name] = counts[name] + 1 if name in hits else 0
    return next((TESTS[name] for name in TESTS if counts[name] >= stop.patience), None)


def _returned(rows, x, t, status, keep):
    """The iterate to return and its step, and the row (None: no row) that gives its numbers.

    best: the first of the lowest losses among the finite rows. last: the final iterate, but
    after NON_FINITE the last finite row. With no finite row at all: the start.
    """
    finite = [i for i, row in enumerate(rows) if row.finite]
    if keep == "last" and status != NON_FINITE:
        return x, t, (rows[-1] if rows else None)
    if not finite:
        return rows[0].x, 0, rows[0]
    i = min(finite, key=lambda i: rows[i].loss) if keep == "best" else finite[-1]
    return rows[i].x, i, rows[i]


def _outcome(rows, x, t, status, keep):
    chosen, at_step, row = _returned(rows, x, t, status, keep)
    return Outcome(
        x=chosen,
        loss=row.loss if row else float("nan"),
        grad_norm=row.grad_norm if row else float("nan"),
        at_step=at_step,
        steps=t,
        status=status,
        evaluations=len(rows),
        loss_history=np.array([r.loss for r in rows], dtype=np.float64),
        grad_norm_history=np.array([r.grad_norm for r in rows], dtype=np.float64),
        x_history=np.array([r.x for r in rows], dtype=np.float64).reshape(-1, *x.shape),
    )
