"""Update rules: how gradients become updates. One row in a registry is all that a new one needs."""

from jaxgd.rules.accumulate import Accumulate, accumulate
from jaxgd.rules.adabelief import AdaBelief
from jaxgd.rules.adadelta import AdaDelta
from jaxgd.rules.adagrad import AdaGrad
from jaxgd.rules.adam import Adam, AdamW, NAdam, RAdam
from jaxgd.rules.adamax import AdaMax
from jaxgd.rules.average import (
    ExponentialAverage,
    UniformAverage,
    average,
    average_in,
    averages_all,
    averages_in,
)
from jaxgd.rules.base import (
    Chain,
    Rule,
    canonical_rule,
    chain,
    extras,
    is_foreign,
    keeps_nonfinite,
    learning_rate_of,
    name_of,
    parts_of,
    rates_from,
)
from jaxgd.rules.gradient import GradientDescent
from jaxgd.rules.lion import Lion
from jaxgd.rules.momentum import Momentum
from jaxgd.rules.partition import Freeze, Partition, partition
from jaxgd.rules.rmsprop import RMSProp
from jaxgd.rules.transforms import ClipByGlobalNorm, ClipByValue, WeightDecay
from jaxgd.rules.yogi import Yogi

RULES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        GradientDescent,
        Momentum,
        RMSProp,
        Adam,
        AdamW,
        NAdam,
        RAdam,
        AdaMax,
        AdaBelief,
        Yogi,
        AdaGrad,
        AdaDelta,
        Lion,
    )
}

TRANSFORMS: dict[str, type] = {
    cls.__name__: cls for cls in (ClipByGlobalNorm, ClipByValue, WeightDecay)
}


def treats_entries_alike(rule: object) -> bool:
    """Whether a rule does not mind in which arrays the entries of the params are."""
    return type(rule) in _OF_ENTRIES and all(map(treats_entries_alike, parts_of(rule)))


_OF_ENTRIES = {
    *(*RULES.values(), *TRANSFORMS.values(), Freeze),
    *(Chain, Accumulate, ExponentialAverage, UniformAverage),
}

__all__ = [
    "RULES",
    "TRANSFORMS",
    "Accumulate",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Chain",
    "ClipByGlobalNorm",
    "ClipByValue",
    "ExponentialAverage",
    "Freeze",
    "GradientDescent",
    "Lion",
    "Momentum",
    "NAdam",
    "Partition",
    "RAdam",
    "RMSProp",
    "Rule",
    "UniformAverage",
    "WeightDecay",
    "Yogi",
    "accumulate",
    "average",
    "average_in",
    "averages_all",
    "averages_in",
    "canonical_rule",
    "chain",
    "extras",
    "is_foreign",
    "keeps_nonfinite",
    "learning_rate_of",
    "name_of",
    "partition",
    "parts_of",
    "rates_from",
    "treats_entries_alike",
]
