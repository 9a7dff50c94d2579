"""The work of many runs of one problem: what every contender is given."""

import dataclasses
import functools

import numpy as np

from benchmarks.problems import Problem
from benchmarks.settings import Setting


@dataclasses.dataclass(frozen=True)
class Work:
    """So many runs of a problem, each so many steps of a rule."""

    problem: Problem
    setting: Setting
    runs: int
    steps: int
    history: bool = False
    """Whether the loss of every step is wanted."""

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.problem.rates[self.setting.name]

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """float32, (runs, 10)."""
        return self.problem.starts(self.runs)

    def __str__(self) -> str:
        words = f"{self.problem.name}, {self.runs:,} starts x {self.starts.shape[1]} parameters x "
        words += f"{self.steps:,} steps of {self.setting.words}"
        return words + (", the loss of every step kept" if self.history else "")
