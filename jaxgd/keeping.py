"""Many runs on the disk: what a checkpoint has of them, and how they go on from there."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgd.archive import Contents
from jaxgd.checkpoint import Checkpoint, Vault, opened, tell, understanding, warn
from jaxgd.crew import Crew
from jaxgd.fingerprint import check
from jaxgd.ledger import Ledger
from jaxgd.named import named, unnamed, whole
from jaxgd.panel import Panel


@dataclasses.dataclass(frozen=True)
class Place:
    """How far a job has come."""

    first: int
    """The first run of the group that is under way."""
    station: int
    """The leg, counted from 0."""
    runs: np.ndarray[Any, Any]
    """The runs that go it."""
    resumed: bool
    """Whether they have been paused before."""
    done: bool = False
    """Whether all is done."""


@dataclasses.dataclass
class Keeper:
    """Has checkpoints of a job written, and reads the one from which it goes on."""

    vault: Vault
    found: Contents | None
    """What was in the directory."""
    crew: Crew
    ledger: Ledger
    panel: Panel | None
    fingerprint: dict[str, Any]
    log: list[str]

    def take_up(self) -> Place | None:
        """Let all be as it was; the place where the job goes on, None if it begins.

        Raises:
          ValueError: the checkpoint is of another job.
        """
        if self.found is None:
            self.vault.begin_at(0)
            return None
        with understanding(self.vault.path):
            return self._taken_up(*self.found)

    def _taken_up(self, says: dict[str, Any], arrays: dict[str, Any]) -> Place:
        check(says["fingerprint"], self.fingerprint, self.vault.path)
        tell.get()(whole(says["step"]))
        self.ledger.restore(says["ledger"], arrays)
        if self.panel is not None:
            self.panel.restore(says["panel"], arrays, self.ledger.outcomes.saved.carry.x)
        self.log.extend(map(str, says["log"]))
        first, station, resumed, done = says["place"]
        runs = arrays["runs"]
        if runs.ndim != 1 or not ((runs >= 0) & (runs < self.ledger.count)).all():
            raise ValueError("checkpoint: it is of other runs")
        place = Place(whole(first), whole(station), runs.astype(int), bool(resumed), bool(done))
        if not place.done:
            self._take_up_lanes(says["crew"], arrays)
        self.vault.begin_at(self.crew.steps)
        return place

    def _take_up_lanes(self, told: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.crew.steps_before = whole(told["steps"])
        if told["form"] != self.crew.form:
            warn(
                f"made by {told['form']}, goes on with {self.crew.form}: runs that were under way "
                "begin again"
            )
            self.crew.begins_again = True
            return
        taken = [np.array(list(map(whole, some)), int) for some in told["taken"]]
        lanes = [unnamed(arrays, f"lanes{i}", self.crew.idle) for i in range(len(taken))]
        self.crew.restore(lanes, taken)

    def save(self, place: Place) -> None:
        """Have a checkpoint written; nobody is at work meanwhile."""
        began = time.perf_counter()
        crew, (lanes, taken) = self.crew, self.crew.state()
        told, arrays = self.ledger.state()
        says: dict[str, Any] = {
            "kind": "many runs",
            "step": crew.steps,
            "place": [place.first, place.station, place.resumed, place.done],
            "crew": {"form": crew.form, "steps": crew.steps, "taken": taken},
            "ledger": told,
            "log": list(self.log),
            "fingerprint": self.fingerprint,
        }
        if self.panel is not None:
            says["panel"], more = self.panel.state()
            arrays |= more
        arrays["runs"] = place.runs

        def make() -> Contents:
            for i, block in enumerate(lanes):
                arrays.update(named(f"lanes{i}", block))
            return says, arrays

        self.vault.save(crew.steps, make, time.perf_counter() - began)


@contextlib.contextmanager
def found_in(checkpoint: Checkpoint | None) -> Iterator[tuple[Vault, Contents | None] | None]:
    """The vault of a job with a checkpoint, and what is there; None without one."""
    with opened(checkpoint) as vault:
        yield None if vault is None else (vault, vault.newest())
