"""Engines: how a run advances on the device. All that is known of XLA's insides lives here."""

from jaxgd.engines.base import SUSPECT, Engine, Goal, Ongoing, Output, Sizes, ongoing_from
from jaxgd.engines.cost import work_of
from jaxgd.engines.layout import gains
from jaxgd.engines.march import LaneSizes, Load
from jaxgd.engines.plain import Plain

__all__ = [
    "SUSPECT",
    "Engine",
    "Goal",
    "LaneSizes",
    "Load",
    "Ongoing",
    "Output",
    "Plain",
    "Sizes",
    "gains",
    "ongoing_from",
    "work_of",
]
