"""How much work a function is, estimated from its jaxpr: the same for the same program."""

import math
from typing import Any


def work_of(jaxpr: Any) -> int:
    """Elementary operations of a jaxpr: the entries that its equations make, times loop lengths.

    A matrix product counts its multiplications. Loops of unknown length count once.
    """
    return sum(map(_work_of_equation, jaxpr.eqns))


def primitives(jaxpr: Any) -> set[str]:
    """The names of all primitives, those in loops and calls too."""
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    return names.union(*(primitives(inner) for eqn in jaxpr.eqns for inner in _inner(eqn)))


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs that an equation calls or loops over."""
    from jax.extend import core  # slow to import: it brings Pallas

    return [
        value
        for param in eqn.params.values()
        for value in (param if isinstance(param, list | tuple) else [param])
        if isinstance(value, core.ClosedJaxpr | core.Jaxpr)
    ]


def _work_of_equation(eqn: Any) -> int:
    inner = _inner(eqn)
    if inner:
        return int(eqn.params.get("length", 1)) * sum(map(work_of, inner))
    made = sum(getattr(var.aval, "size", 1) for var in eqn.outvars)
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        made *= math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    return made
