"""A rule with another learning rate in the place of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgd.pytree import is_pytree, number, pytree
from jaxgd.refusal import described
from jaxgd.rules import canonical_rule, name_of, rates_from
from jaxgd.rules.base import Chain
from jaxgd.schedules import rate_at
from jaxgd.schedules.base import real


@pytree
class Scaled:
    """Another schedule, multiplied by a factor: rate(t) = factor * schedule(t).

    Example:
      >>> import jaxgd as gd
      >>> float(Scaled(gd.Constant(0.5), factor=3.0)(7))
      1.5
    """

    schedule: Any = number(doc="what is multiplied: a schedule", schedule=True, at_least=0)
    factor: Any = number(doc="by what", at_least=0)

    def __call__(self, step: Any) -> jax.Array:
        """The rate at `step`."""
        return real(self.factor) * rate_at(self.schedule, step)


def tunable(rule: Any, steps: int) -> Callable[[Any], Any]:
    """A function `rate -> rule` that makes the same rule with another learning rate.

    A schedule keeps its form: scaled so that the highest of its first `steps` rates is `rate`.

    Raises:
      TypeError: the rule has no learning rate that could be replaced.
      ValueError: its schedule is zero throughout, or not finite somewhere.
    """
    canonical_rule(rule)
    inner = rule
    while _is_around(inner):
        inner = inner.rule
    if "learning_rate" not in _fields(inner):
        raise TypeError(
            "rule must have a field learning_rate whose number is traced, as the rules of jaxgd "
            f"and your own that gd.pytree makes can have; a {described(inner)} has none"
        )
    if not callable(inner.learning_rate):
        return lambda rate: _with(rule, rate)
    peak = float(np.max(np.asarray(rates_from(canonical_rule(inner), 0, max(1, steps)))))
    if not (np.isfinite(peak) and peak > 0):
        raise ValueError(
            f"the schedule of {name_of(rule)} must have a finite rate above 0 within the first "
            f"{steps:,} steps, to be scaled; its highest is {peak}"
        )
    schedule = inner.learning_rate  # as it was written
    return lambda rate: _with(rule, Scaled(schedule, rate / peak))


def _fields(rule: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(rule)} if is_pytree(rule) else set()


def _is_around(rule: Any) -> bool:
    """Whether a rule goes around another one, as a chain, an average or an accumulation."""
    return isinstance(rule, Chain) or "rule" in _fields(rule)


def _with(rule: Any, learning_rate: Any) -> Any:
    if _is_around(rule):
        return dataclasses.replace(rule, rule=_with(rule.rule, learning_rate))
    return dataclasses.replace(rule, learning_rate=learning_rate)
