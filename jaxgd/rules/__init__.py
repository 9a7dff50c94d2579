"""Update rules: how gradients become updates. One row in a registry is all that a new one needs."""

from jaxgd.rules.adabelief import AdaBelief
from jaxgd.rules.adadelta import AdaDelta
from jaxgd.rules.adagrad import AdaGrad
from jaxgd.rules.adam import Adam, AdamW, NAdam, RAdam
from jaxgd.rules.adamax import AdaMax
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
    rates_from,
)
from jaxgd.rules.gradient import GradientDescent
from jaxgd.rules.lion import Lion
from jaxgd.rules.momentum import Momentum
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
    parts = (*rule.transforms, rule.rule) if isinstance(rule, Chain) else (rule,)
    return all(type(part) in _OF_ENTRIES for part in parts)


_OF_ENTRIES = {*RULES.values(), *TRANSFORMS.values()}

__all__ = [
    "RULES",
    "TRANSFORMS",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Chain",
    "ClipByGlobalNorm",
    "ClipByValue",
    "GradientDescent",
    "Lion",
    "Momentum",
    "NAdam",
    "RAdam",
    "RMSProp",
    "Rule",
    "WeightDecay",
    "Yogi",
    "canonical_rule",
    "chain",
    "extras",
    "is_foreign",
    "keeps_nonfinite",
    "learning_rate_of",
    "name_of",
    "rates_from",
    "treats_entries_alike",
]
