"""A schedule written as text, such as `Warmup(CosineDecay(0.1, steps=1000), steps=10)`."""

import ast
import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from jaxgd.canonical import canonical
from jaxgd.pytree import is_pytree
from jaxgd.schedules import SCHEDULES


def read_schedule(text: str, name: str = "schedule") -> Any:
    """The schedule that `text` describes.

    The text is read, never evaluated: it may hold the schedules' names, numbers, lists, True and
    False, and keyword arguments, nested as one likes.

    Args:
      text: an expression as one would write it in Python.
      name: how error messages call it.

    Returns:
      A schedule with the numbers as they were written.

    Raises:
      ValueError, TypeError: it is no such expression, or a number in it is out of its range.

    Example:
      >>> read_schedule("CosineDecay(0.1, steps=1000)")
      CosineDecay(init=0.1, steps=1000, alpha=0.0)
    """
    try:
        schedule = _value(ast.parse(text.strip(), mode="eval").body, name)
    except SyntaxError as error:
        raise ValueError(f"{name} {text!r} cannot be read: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is nested too deeply to be read") from error
    if not is_pytree(schedule):
        raise ValueError(f"{name} must be a schedule like CosineDecay(0.1, steps=1000): {text!r}")
    try:
        canonical(schedule, name)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number that is too large: {text!r}") from error
    return schedule


def _value(node: ast.expr, name: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, name) for item in items]
        case ast.Call():
            return _made(node, name)
    written = ast.unparse(node)
    if written in SCHEDULES:
        raise ValueError(f"{name}: {written} lacks its numbers: write {signature(written)}")
    raise ValueError(
        f"{name} may hold schedules, numbers, lists and keyword arguments only, not {written!r}"
    )


def _made(call: ast.Call, name: str) -> Any:
    kind = ast.unparse(call.func)
    if kind not in SCHEDULES:
        raise ValueError(f"{name}: {unknown('schedule', kind, SCHEDULES)}")
    positional = [_value(argument, name) for argument in call.args]
    named = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError(f"{name}: ** is not understood; write {signature(kind)}")
        named[keyword.arg] = _value(keyword.value, name)
    try:
        bound = inspect.signature(SCHEDULES[kind]).bind(*positional, **named)
    except TypeError as error:
        raise ValueError(f"{name}: {kind}: {error}; write {signature(kind)}") from error
    return SCHEDULES[kind](*bound.args, **bound.kwargs)


def signature(kind: str) -> str:
    """How to write a schedule.

    Example:
      >>> signature("CosineDecay")
      'CosineDecay(init, steps, alpha=0.0)'
    """
    return f"{kind}({numbers_of(SCHEDULES[kind])})"


def numbers_of(cls: type) -> str:
    """The fields of a rule or schedule with their defaults, as one would write them."""
    parameters = inspect.signature(cls).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return ", ".join(map(str, bare))


def unknown(kind: str, given: str, names: Iterable[str]) -> str:
    """What to say about a name that is none of `names`: what was probably meant, and all of them.

    Example:
      >>> unknown("fruit", "aple", ["apple", "pear"])
      "there is no fruit 'aple'; did you mean apple? there are apple, pear"
    """
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(given.lower(), by_lower, n=1)
    meant = f"; did you mean {by_lower[close[0]]}?" if close else ":"
    return f"there is no {kind} {given!r}{meant} there are {', '.join(by_lower.values())}"
