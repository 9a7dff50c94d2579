"""jaxgd: gradient descent on any differentiable JAX loss, from one call."""

from typing import TYPE_CHECKING, Any

from jaxgd import engines, landscapes, starts
from jaxgd.averaged import averaged
from jaxgd.axes import Axes
from jaxgd.cache import cache_programs
from jaxgd.checkpoint import Checkpoint
from jaxgd.data import Batches
from jaxgd.descend import descend
from jaxgd.evaluate import EarlyStop, Evaluate
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
    Freeze,
    GradientDescent,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSProp,
    WeightDecay,
    Yogi,
    accumulate,
    average,
    chain,
    partition,
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

if TYPE_CHECKING:
    from jaxgd import plot as plot

__version__ = "0.1.0"

__all__ = [
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Axes",
    "Batches",
    "Checkpoint",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Comparison",
    "Constant",
    "CosineDecay",
    "CosineRestarts",
    "EarlyStop",
    "Evaluate",
    "ExponentialDecay",
    "Finding",
    "Freeze",
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
    "accumulate",
    "average",
    "averaged",
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
    "partition",
    "product",
    "pytree",
    "starts",
    "static",
    "sweep",
]


def __getattr__(name: str) -> Any:
    # Not in __all__: `from jaxgd import *` must work without Matplotlib, and not import it.
    if name == "plot":
        import importlib

        return importlib.import_module("jaxgd.plot")
    raise AttributeError(f"module 'jaxgd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "plot"]
