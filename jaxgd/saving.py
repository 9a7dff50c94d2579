"""A run on the disk: what a checkpoint has of it, and how it goes on from there."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgd.archive import Contents
from jaxgd.checkpoint import Checkpoint, Vault, opened, tell, understanding
from jaxgd.data import Batches
from jaxgd.fingerprint import check
from jaxgd.journal import Journal, Seen
from jaxgd.loop import Carry
from jaxgd.metrics import Readings
from jaxgd.named import fitting, named, unnamed, whole
from jaxgd.state import Best
from jaxgd.tree import PyTree


@dataclasses.dataclass
class Saver:
    """Has checkpoints of a run written, and reads the one from which it goes on."""

    vault: Vault
    found: Contents | None
    """What was in the directory."""
    fingerprint: dict[str, Any] = dataclasses.field(default_factory=dict)
    first_step: int = 0
    """From which the run counts its evaluations: not 0 if a state began it."""
    before: Best | None = None
    """The best iterate from before the run went on, as far as it still is the best."""

    @property
    def step(self) -> int | None:
        """Where the run goes on; None if it begins."""
        with understanding(self.vault.path):
            return None if self.found is None else whole(self.found[0]["step"])

    def check(self, fingerprint: dict[str, Any], max_steps: int) -> None:
        """Refuse to go on with another run, or beyond its end."""
        self.fingerprint = fingerprint
        if self.found is None:
            return
        with understanding(self.vault.path):
            check(self.found[0]["fingerprint"], fingerprint, self.vault.path)
            self.first_step, step = (whole(self.found[0][name]) for name in ("first_step", "step"))
        if step > max_steps:
            raise ValueError(
                f"max_steps must be at least {step}, where the run in {self.vault.path} is, got "
                f"{max_steps}"
            )
        tell.get()(step)

    def take_over(self, first_step: int, step: int, before: Best | None) -> None:
        """Say where the run began, where it is, and which is its best iterate from before."""
        self.first_step, self.before = first_step, before
        self.vault.begin_at(step)

    def end_at(self, step: int, until: int) -> int:
        """How far a call may go from a step, of how far it would."""
        due = self.vault.next_step
        return until if due is None else min(until, max(due, step + 1))

    def restored(self, fresh: Carry) -> "Restored":
        """The run as it was when its checkpoint was made; `fresh` has the shapes of a carry."""
        assert self.found is not None
        says, arrays = self.found
        best = says["best"]
        seen = None if best is None else _seen(best, arrays, "best")
        last = None if says["last"] is None else _seen(says["last"], arrays, "last")
        rows = {
            name: [arrays[f"rows.{name}.{i}"] for i in range(whole(count))]
            for name, count in says["rows"].items()
        }
        return Restored(
            carry=unnamed(arrays, "carry", fresh),
            seen=seen,
            last=last,
            x=unnamed(arrays, "best.x", fresh.x) if says["located"] else None,
            source=unnamed(arrays, "source", fresh) if says["source"] else None,
            rows=rows,
        )

    def take_up(self, readings: Readings, fresh: Carry) -> None:
        """Let a run's metrics be as they were."""
        assert self.found is not None
        says, arrays = self.found
        told = says["metrics"]
        readings.steps = list(map(whole, told["steps"]))
        readings.since, readings.counted = map(whole, told["counts"])
        columns = {name: arrays[f"metrics.{name}"] for name in told["names"]}
        readings.values = [
            {name: column[i] for name, column in columns.items()} for i in range(len(told["steps"]))
        ]
        if "metrics_best" in arrays:
            readings.best = fitting(arrays, "metrics_best", ())
        if told["kept"]:
            readings.kept = unnamed(arrays, "kept", fresh)
        if "kept_row.loss" in arrays:
            row = (fitting(arrays, f"kept_row.{name}", ())[()] for name in ("loss", "norm"))
            readings.row = tuple(row)

    def save(
        self, carry: Carry, best: Best | Carry | None, journal: Journal, readings: Readings | None,
        spent: float = 0.0,
    ) -> None:  # fmt: skip
        """Have a checkpoint written.

        Args:
          carry: where the run is; nobody else changes it.
          best: its best iterate, or where the chunk begins that has it, if one is to be returned.
          journal: its rows, which may be more than those before `carry`.
          readings: its metrics.
          spent: seconds for which the run has waited for this.
        """
        step = int(carry.step)
        readings = None if readings is None else readings.copy()
        held = journal.copy()
        self.vault.save(step, lambda: self._contents(carry, best, held, readings), spent)

    def _contents(
        self, carry: Carry, best: Best | Carry | None, journal: Journal, readings: Readings | None
    ) -> Contents:
        step, seen = int(carry.step), journal.best
        last = journal.row(step - 1)
        arrays = named("carry", carry)
        if isinstance(best, Best):
            arrays |= named("best.x", best.x)
        elif best is not None:
            arrays |= named("source", best)
        for name, row in (("best", seen), ("last", last)):
            if row is not None:
                arrays |= {f"{name}.loss": row.loss}
                arrays |= {} if row.grad_norm is None else {f"{name}.norm": row.grad_norm}
        says: dict[str, Any] = {
            "kind": "run",
            "step": step,
            "first_step": self.first_step,
            "best": None if seen is None or best is None else seen.step,
            "last": None if last is None else last.step,
            "located": isinstance(best, Best),
            "source": isinstance(best, Carry),
            "fingerprint": self.fingerprint,
        }
        rows = journal.before(step)
        says["rows"] = {name: len(leaves) for name, leaves in rows.items()}
        for name, leaves in rows.items():
            arrays |= {f"rows.{name}.{i}": leaf for i, leaf in enumerate(leaves)}
        if readings is not None:
            says["metrics"], more = _metrics(readings, step)
            arrays |= more
        return says, arrays


@contextlib.contextmanager
def saving(checkpoint: Checkpoint | None, data: Any) -> Iterator[Saver | None]:
    """The saver of a run with a checkpoint, which has looked what there is; None without one."""
    if checkpoint is not None and isinstance(data, Batches) and hasattr(data.arrays, "__next__"):
        raise ValueError(
            "checkpoint needs data that can be read from its beginning again: in the place of an "
            "iterator give a function that makes one"
        )
    with opened(checkpoint) as vault:
        yield None if vault is None else Saver(vault, vault.newest())


@dataclasses.dataclass
class Restored:
    """A run as a checkpoint has it."""

    carry: Carry
    seen: Seen | None
    """The row of its best iterate."""
    last: Seen | None
    """Its last row."""
    x: PyTree
    """Its best iterate; None if it is to be found from `source`."""
    source: Carry | None
    """Where the chunk with the best iterate began."""
    rows: dict[str, list[Any]]

    def fill(self, journal: Journal) -> None:
        """Let a journal have the rows."""
        journal.best = self.seen
        if self.last is not None:
            norm = self.last.grad_norm
            norms = None if norm is None else np.asarray(norm)[None]
            journal.recent = [(self.last.step, np.asarray(self.last.loss)[None], norms)]
        journal.earlier = self.rows


def _metrics(readings: Readings, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of a run at a step; those after it are evaluated again, but not counted again."""
    table, _ = readings.table()
    steps = [int(at) for at in readings.steps if at <= step]
    arrays = {f"metrics.{name}": column[: len(steps)] for name, column in (table or {}).items()}
    if readings.best is not None:
        arrays["metrics_best"] = readings.best
    if readings.kept is not None:
        arrays |= named("kept", readings.kept)
    if readings.row is not None:
        arrays |= dict(zip(("kept_row.loss", "kept_row.norm"), readings.row, strict=True))
    counts = [int(readings.since), int(readings.counted)]
    told = {"steps": steps, "names": list(table or {})}
    return {**told, "counts": counts, "kept": readings.kept is not None}, arrays


def _seen(step: int, arrays: dict[str, Any], name: str) -> Seen:
    place = f"{name}.norm"
    norm = fitting(arrays, place, ())[()] if place in arrays else None
    return Seen(whole(step), fitting(arrays, f"{name}.loss", ())[()], norm)
