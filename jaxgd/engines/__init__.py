"""Engines: how a run advances on the device. All that is known of XLA's insides lives here."""

from jaxgd.engines.base import SUSPECT, Cost, Engine, Goal, Ongoing, Output, Sizes, ongoing_from
from jaxgd.engines.choose import with_engine
from jaxgd.engines.cost import is_streamed, work_of
from jaxgd.engines.cpu import Cpu
from jaxgd.engines.layout import gains
from jaxgd.engines.march import LaneSizes, Load, Pieces, march
from jaxgd.engines.plain import Plain
from jaxgd.engines.stride import stride

__all__ = [
    "SUSPECT",
    "Cost",
    "Cpu",
    "Engine",
    "Goal",
    "LaneSizes",
    "Load",
    "Ongoing",
    "Output",
    "Pieces",
    "Plain",
    "Sizes",
    "gains",
    "is_streamed",
    "march",
    "ongoing_from",
    "stride",
    "with_engine",
    "work_of",
]
