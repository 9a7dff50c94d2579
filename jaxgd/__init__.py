"""jaxgd: gradient descent on any differentiable JAX loss, from one call."""

from jaxgd import engines, landscapes
from jaxgd.descend import descend
from jaxgd.minimize import minimize
from jaxgd.pytree import number, pytree, static
from jaxgd.record import History, Record
from jaxgd.result import Result
from jaxgd.rules import (
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    ClipByGlobalNorm,
    ClipByValue,
    GradientDescent,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSProp,
    WeightDecay,
    Yogi,
    chain,
)
from jaxgd.schedules import (
    Constant,
    CosineDecay,
    CosineRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    Join,
    OneCycle,
    PiecewiseConstant,
    PolynomialDecay,
    Warmup,
)
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop

__version__ = "0.1.0"

__all__ = [
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Constant",
    "CosineDecay",
    "CosineRestarts",
    "ExponentialDecay",
    "GradientDescent",
    "History",
    "InverseTimeDecay",
    "Join",
    "Lion",
    "Momentum",
    "NAdam",
    "OneCycle",
    "PiecewiseConstant",
    "PolynomialDecay",
    "RAdam",
    "RMSProp",
    "Record",
    "Result",
    "RunFailed",
    "Status",
    "Stop",
    "Warmup",
    "WeightDecay",
    "Yogi",
    "__version__",
    "chain",
    "descend",
    "engines",
    "landscapes",
    "minimize",
    "number",
    "pytree",
    "static",
]
