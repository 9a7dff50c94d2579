"""The rows of a run on the host: its history, its latest rows and its best one."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxgd.canonical import canonical_float
from jaxgd.engines import SUSPECT, Output
from jaxgd.record import NOTHING, History, Record
from jaxgd.status import Status


@dataclasses.dataclass(frozen=True)
class Report:
    """Where a run is, as of the last call that was read."""

    status: int
    steps: int
    first: int
    count: int
    carry_step: int
    before_step: int
    best_step: int

    @classmethod
    def of(cls, output: Output) -> "Report":
        """What a call reports; waits for the device."""
        return cls(*np.asarray(output.report).tolist())

    @property
    def ended(self) -> bool:
        """Whether the device ended the run."""
        return self.status not in (Status.RUNNING, SUSPECT)


@dataclasses.dataclass(frozen=True)
class Seen:
    """The row of one iterate on the host."""

    step: int
    loss: Any
    grad_norm: Any


@dataclasses.dataclass
class Journal:
    """The rows of a run on the host: what the history needs, the latest, and the best."""

    record: Record
    keep: str
    rate: Any
    """The rule's learning rate: one number, a schedule, or None."""
    best: Seen | None = None
    parts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    recent: list[tuple[int, Any, Any]] = dataclasses.field(default_factory=list)
    earlier: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    """The rows from before a run went on, leaf by leaf."""

    def copy(self) -> "Journal":
        """One that may go its own way."""
        return dataclasses.replace(self, parts=list(self.parts), recent=list(self.recent))

    def absorb(self, output: Output, *, bad: bool = False) -> Report:
        """Take in the rows of one call; if `bad`, the gradient of the last one is not finite."""
        report = Report.of(output)
        if bad:
            report = dataclasses.replace(report, status=int(Status.NON_FINITE))
        count, first = report.count, report.first
        loss = np.asarray(output.rows.loss)[:count]
        norm = None
        if output.rows.grad_norm is not None:
            norm = np.asarray(output.rows.grad_norm)[:count]
        if count:
            self.recent = [*self.recent[-1:], (first, loss, norm)]
            self._look_for_best(report, loss, norm)
        if self.record != NOTHING and (count or not self.parts):
            self.parts.append(self._recorded(first, count, loss, norm, output))
        return report

    def _look_for_best(self, report: Report, loss: Any, norm: Any) -> None:
        if self.keep != "best":
            return
        fine = loss[: len(loss) - (report.status == Status.NON_FINITE)].astype(np.float64)
        at = int(np.argmin(fine)) if len(fine) else 0
        if len(fine) and (self.best is None or fine[at] < self.best.loss):
            self.best = Seen(report.first + at, loss[at], None if norm is None else norm[at])

    def _recorded(
        self, first: int, count: int, loss: Any, norm: Any, output: Output
    ) -> dict[str, Any]:
        every = self.record.every
        steps = np.arange(first + -first % every, first + count, every)
        # Copies: a view would hold the whole room of the call.
        rows: dict[str, Any] = {"step": steps}
        if self.record.loss:
            rows["loss"] = loss[steps - first].copy()
        if self.record.grad_norm:
            rows["grad_norm"] = norm[steps - first].copy()
        if output.rates is not None:
            rows["learning_rate"] = np.asarray(output.rates)[steps - first].copy()
        elif self.rate is not None:
            rows["learning_rate"] = np.full(len(steps), self.rate, canonical_float())
        if self.record.params or self.record.aux:
            rows["params"], rows["aux"] = jax.tree.map(
                lambda leaf: np.asarray(leaf)[: len(steps)].copy(), output.snapshots
            )
        return rows

    def row(self, step: int) -> Seen | None:
        """The row at `step`, if it is the best or among the latest."""
        for first, loss, norm in reversed(self.recent):
            if first <= step < first + len(loss):
                at = step - first
                return Seen(step, loss[at], None if norm is None else norm[at])
        return self.best if self.best is not None and self.best.step == step else None

    def history(self) -> History | None:
        """All that was recorded."""
        if self.record == NOTHING:
            return None
        series = {name: self._column(name) for name in self.parts[0]}
        return History(**dict.fromkeys(("loss", "grad_norm", "learning_rate", "params")) | series)

    def before(self, step: int) -> dict[str, list[Any]]:
        """The recorded rows before a step, leaf by leaf."""
        if not self.parts:
            return self.earlier
        series = {name: jax.tree.leaves(self._column(name)) for name in self.parts[0]}
        count = np.searchsorted(series["step"][0], step)
        return {name: [leaf[:count] for leaf in leaves] for name, leaves in series.items()}

    def _column(self, name: str) -> Any:
        parts = [part[name] for part in self.parts]
        if self.earlier:
            leaves, form = jax.tree.flatten(parts[0])
            before = self.earlier.get(name, [])
            if _forms(before) != _forms(leaves):
                raise ValueError(f"checkpoint: the rows of {name} in it are not those of this run")
            parts = [jax.tree.unflatten(form, before), *parts]
        return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def _forms(leaves: list[Any]) -> list[Any]:
    return [(leaf.shape[1:], leaf.dtype) for leaf in leaves]
