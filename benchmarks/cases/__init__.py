"""The registry of the cases: a function each, which is told whether to be quick."""

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.cases.calls import CALLS
from benchmarks.cases.checkpoints import CHECKPOINTS
from benchmarks.cases.ending import ENDINGS
from benchmarks.cases.large import LARGE
from benchmarks.cases.many import MANY
from benchmarks.cases.million import MILLION
from benchmarks.cases.one import ONE
from benchmarks.cases.training import TRAINING

CASES: dict[str, Callable[[bool], Case]] = {
    **MANY, **ONE, **ENDINGS, **LARGE, **TRAINING, **CALLS, **MILLION, **CHECKPOINTS,
}  # fmt: skip

GROUPS = {"train": tuple(TRAINING), "checkpoints": tuple(CHECKPOINTS)}
"""Names for several cases."""
