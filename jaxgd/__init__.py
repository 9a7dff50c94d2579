"""jaxgd: gradient descent on any differentiable JAX loss, from one call."""

from jaxgd import engines, landscapes, starts
from jaxgd.axes import Axes
from jaxgd.cache import cache_programs
from jaxgd.descend import descend
from jaxgd.grid import Grid, grid, product
from jaxgd.many import minimize_many, multistart, sweep
from jaxgd.minima import Minimum
from jaxgd.minimize import minimize
from jaxgd.pytree import number, pytree, static
from jaxgd.races import Halving, Rediscovered
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
from jaxgd.runs import Runs
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
from jaxgd.tune import Comparison, Finding, compare, find_learning_rate

__version__ = "0.1.0"

__all__ = [
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Axes",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Comparison",
    "Constant",
    "CosineDecay",
    "CosineRestarts",
    "ExponentialDecay",
    "Finding",
    "GradientDescent",
    "Grid",
    "Halving",
    "History",
    "InverseTimeDecay",
    "Join",
    "Lion",
    "Minimum",
    "Momentum",
    "NAdam",
    "OneCycle",
    "PiecewiseConstant",
    "PolynomialDecay",
    "RAdam",
    "RMSProp",
    "Record",
    "Rediscovered",
    "Result",
    "RunFailed",
    "Runs",
    "Status",
    "Stop",
    "Warmup",
    "WeightDecay",
    "Yogi",
    "__version__",
    "cache_programs",
    "chain",
    "compare",
    "descend",
    "engines",
    "find_learning_rate",
    "grid",
    "landscapes",
    "minimize",
    "minimize_many",
    "multistart",
    "number",
    "product",
    "pytree",
    "starts",
    "static",
    "sweep",
]
