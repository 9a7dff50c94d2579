"""The registry of the cases: a function each, which is told whether to be quick."""

from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.cases.many import MANY
from benchmarks.cases.one import ONE

CASES: dict[str, Callable[[bool], Case]] = {**MANY, **ONE}
