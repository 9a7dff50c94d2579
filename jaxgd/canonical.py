"""Numbers at the boundary: checked, and brought to the one form in which they are traced."""

import dataclasses
import math
import numbers
from typing import Any

import jax
import numpy as np
from jax import dtypes
from jax import numpy as jnp

from jaxgd.pytree import Function, Number, is_pytree, is_pytree_class
from jaxgd.refusal import described, in_a_line, shown, untraceable


def is_number(value: Any) -> bool:
    """Whether `value` is numeric: a Python number or an array of numbers, traced or not."""
    if isinstance(value, numbers.Number):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype is not None and (
        jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)
    )


def is_quantity(value: Any) -> bool:
    """Whether `value` is numeric, real and no truth value: so that it can measure or count."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return isinstance(value, numbers.Number) and not isinstance(value, bool | complex)
    return is_number(value) and np.dtype(dtype).kind not in "bc"


def canonical_float() -> np.dtype[Any]:
    """The float dtype of numbers: float64 under x64, float32 otherwise."""
    return np.dtype(dtypes.canonicalize_dtype(np.float64))


def canonical(node: Any, name: str) -> Any:
    """Check the numbers of a pytree dataclass and give each the one form that is traced.

    Whatever the user wrote (`1`, `1.0`, `np.float64(1)`, `jnp.float32(1)`) becomes an array of the
    default float dtype, or int32 for counts, so that equal programs are compiled once.

    Args:
      node: an instance of a `pytree` class; nested ones and tuples of them are checked too.
      name: how error messages call it, e.g. `"rule"`.

    Returns:
      The same dataclass with canonical numbers.

    A class whose fields must fit each other has a method `check(name)`, called last.

    Raises:
      ValueError: a number is out of range or has another rank than its field declares.
      TypeError: a field holds something else than a number (or a schedule, where one may stand).
    """
    changes = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if not field.metadata.get("static"):
            changes[field.name] = _canonical_field(field, value, f"{name}.{field.name}")
        elif isinstance(field.default, bool) and not isinstance(value, bool):
            raise TypeError(f"{name}.{field.name} must be True or False, got {shown(value)}")
    made = dataclasses.replace(node, **changes)
    check = getattr(made, "check", None)
    if check is not None:
        check(name)
    return made


def _canonical_field(field: dataclasses.Field[Any], value: Any, path: str) -> Any:
    accepts: Number | None = field.metadata.get("number")
    if accepts is None:
        return _canonical_untyped(value, path)
    if value is None and field.default is None:
        return None
    checked = _canonical_rate if field.metadata["schedule"] else canonical_number
    return checked(value, accepts, path)


def _canonical_rate(value: Any, accepts: Number, path: str) -> Any:
    """A number or a schedule; or, where a list is accepted, a list of both."""
    if accepts.rank:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{path} must be a list of schedules and numbers, got {shown(value)}")
        one = dataclasses.replace(accepts, rank=0)
        return tuple(_canonical_rate(v, one, f"{path}[{i}]") for i, v in enumerate(value))
    if callable(value) and not isinstance(value, type):
        return canonical(value, path) if is_pytree(value) else _canonical_function(value, path)
    return canonical_number(value, accepts, path, schedule=True)


def _canonical_function(function: Any, path: str) -> Function:
    """A user's own schedule, if it can be traced and returns one real number."""
    if isinstance(function, Function):
        return function

    def probe(step: Any) -> Any:
        rate = function(step)
        if not is_quantity(rate) or np.ndim(rate):
            raise TypeError(
                f"{path} must be a schedule that returns one real number, got {described(rate)}"
            )
        return rate

    try:
        jax.eval_shape(probe, np.int32(0))
    except Exception as error:
        told = untraceable(error, f"the schedule {path}")
        if told is None:
            raise
        raise TypeError(told) from error
    return Function(function)


def _canonical_untyped(value: Any, path: str) -> Any:
    if is_pytree(value):
        return canonical(value, path)
    if type(value) in (list, tuple):
        return tuple(_canonical_untyped(item, f"{path}[{i}]") for i, item in enumerate(value))
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return np.asarray(value, canonical_float())
    return value


def canonical_number(value: Any, accepts: Number, path: str, *, schedule: bool = False) -> Any:
    """`value` as an array of the one dtype its field is traced with; a clear error if it is none.

    Traced values are only checked for their rank.
    """
    plain = type(value) is float and abs(value) < 1e38  # most calls: no need for the words below
    if plain and accepts.rank == 0 and not accepts.whole and accepts.admits(value):
        return np.asarray(value, canonical_float())
    expected = accepts.expected() + (" or a schedule" if schedule else "")
    listed = isinstance(value, list | tuple) and accepts.rank == 1
    if listed and all(is_quantity(item) and not np.ndim(item) for item in value):
        value = np.asarray(value) if not _any_traced(value) else jax.numpy.stack(value)
    if isinstance(value, type):
        hint = f": write {value.__name__}(...)" if schedule and is_pytree_class(value) else ""
        raise TypeError(f"{path} must be {expected}, got the class {value.__name__}{hint}")
    if not is_quantity(value):
        raise TypeError(f"{path} must be {expected}, got {shown(value)}")
    if np.ndim(value) != accepts.rank:
        hint = "; for several values gd.sweep over a gd.grid, or gd.minimize_many"
        raise ValueError(
            f"{path} must be {expected}, got an array of shape {np.shape(value)}"
            + ("" if accepts.rank else hint)
        )
    dtype = np.dtype(np.int32) if accepts.whole else canonical_float()
    if isinstance(value, jax.core.Tracer):
        return jax.lax.convert_element_type(value, dtype)
    array = np.asarray(value)
    if not all(map(accepts.admits, entries := _entries(array))):
        raise ValueError(f"{path} must be {expected}, got {in_a_line(str(value))}")
    if accepts.whole and any(abs(entry) > np.iinfo(np.int32).max for entry in entries):
        raise ValueError(f"{path} must be below 2**31, got {in_a_line(str(value))}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if np.any(np.isinf(cast) & np.isfinite(array)):
        raise ValueError(
            f"{path} must be a {dtype}, got {in_a_line(str(value))}, which is too large for it"
        )
    return cast


def _any_traced(values: Any) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)


def _entries(array: Any) -> list[float]:
    """All entries as floats; NaN if one is beyond all floats."""
    try:
        return list(array.astype(np.float64).ravel().tolist())
    except OverflowError:
        return [math.nan]


def as_count(value: Any, name: str, *, at_least: int) -> int:
    """`value` as a Python int: whole numbers of any type, `1e4` included."""
    if type(value) is int and at_least <= value < 2**31:
        return value
    expected = f"{name} must be a whole number >= {at_least}"
    traced = isinstance(value, jax.core.Tracer)
    if traced or not is_quantity(value) or np.ndim(value):
        raise TypeError(f"{expected}{' and not traced' * traced}, got {shown(value)}")
    (entry,) = _entries(np.asarray(value))
    if not (math.isfinite(entry) and entry.is_integer() and entry >= at_least):
        raise ValueError(f"{expected}, got {shown(value)}")
    if entry >= 2**31:
        raise ValueError(f"{name} must be below 2**31, got {shown(value)}")
    return int(value)
