"""Learning-rate schedules: frozen pytrees, called with a step, that return the learning rate."""

from jaxgd.schedules.base import Schedule, rate_at
from jaxgd.schedules.compose import Join, Warmup
from jaxgd.schedules.cosine import CosineDecay, CosineRestarts, OneCycle
from jaxgd.schedules.decay import (
    Constant,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstant,
    PolynomialDecay,
)

SCHEDULES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Constant,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstant,
        PolynomialDecay,
        CosineDecay,
        CosineRestarts,
        Warmup,
        OneCycle,
        Join,
    )
}

__all__ = [
    "SCHEDULES",
    "Constant",
    "CosineDecay",
    "CosineRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "Join",
    "OneCycle",
    "PiecewiseConstant",
    "PolynomialDecay",
    "Schedule",
    "Warmup",
    "rate_at",
]
