"""Jaxprs in words, by which what they compute is told apart."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any


def digest_of(closed: Any) -> str:
    """What a closed jaxpr computes, in 16 digits; the same in every process of one release of JAX.

    Two that differ in what they refer to, `consts`, have the same digits.
    """
    told = hashlib.blake2b(digest_size=8)
    for word in _words(closed.jaxpr):
        told.update(word.encode())
    return told.hexdigest()


def _words(jaxpr: Any) -> Iterator[str]:
    """All equations in order, variables numbered as they come."""
    from jax.extend import core  # slow to import: it brings Pallas

    numbers: dict[Any, int] = {}

    def of(variables: Any) -> str:
        names = [
            repr(v.val) if isinstance(v, core.Literal) else numbers.setdefault(v, len(numbers))
            for v in variables
        ]
        return str([f"{name}:{v.aval}" for name, v in zip(names, variables, strict=True)])

    yield of((*jaxpr.constvars, *jaxpr.invars))
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name + of(eqn.invars) + of(eqn.outvars)
        for name, value in sorted(eqn.params.items()):
            yield name
            yield from _spelt(value)
    yield of(jaxpr.outvars)


def _spelt(value: Any) -> Iterator[str]:
    from jax.extend import core

    if isinstance(value, core.Jaxpr):
        yield from _words(value)
    elif isinstance(value, core.ClosedJaxpr):
        yield from _words(value.jaxpr)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _spelt(part)
    elif isinstance(value, set | frozenset):
        yield str(sorted(map(repr, value)))
    else:  # a function's address differs from process to process
        yield re.sub("0x[0-9a-f]+", "", repr(value))
