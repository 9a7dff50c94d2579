"""Jaxprs evaluated equation by equation, so that some of them can be written otherwise."""

from collections.abc import Callable
from typing import Any


def evaluated(
    jaxpr: Any, consts: Any, args: Any, outputs_of: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """The outputs of a jaxpr, of which `outputs_of(equation, values)` computes those of each."""
    from jax.extend import core  # slow to import: it brings Pallas

    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, outputs_of(eqn, list(map(read, eqn.invars))), strict=True))
    return [read(var) for var in jaxpr.outvars]


def bound(eqn: Any, values: list[Any]) -> list[Any]:
    """The outputs of an equation as it is."""
    outputs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def jitted(eqn: Any) -> Any:
    """The closed jaxpr that a call of a jitted function has inside; None for anything else."""
    return eqn.params.get("jaxpr") if eqn.primitive.name in ("jit", "pjit") else None
