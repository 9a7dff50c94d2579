"""Frozen dataclasses that are pytrees: numbers are leaves, choices of code path are static."""

import dataclasses
import math
import numbers
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax import dtypes
from jax import numpy as jnp

T = TypeVar("T")
_MADE_HERE: set[type] = set()


def static(*, default: Any = dataclasses.MISSING, doc: str = "") -> Any:
    """Declare a field that selects a code path: never traced, compared by value."""
    return dataclasses.field(default=default, metadata={"static": True, "doc": doc})


@dataclasses.dataclass(frozen=True)
class Number:
    """What a numeric field accepts; `None` ends are open to infinity."""

    rank: int = 0
    whole: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def expected(self) -> str:
        """The accepted numbers in words."""
        ends = [
            f"{word} {end:g}"
            for word, end in (
                (">=", self.at_least),
                (">", self.above),
                ("<=", self.at_most),
                ("<", self.below),
            )
            if end is not None
        ]
        kind = "whole number" if self.whole else "number"
        kind = f"a list of {kind}s" if self.rank else f"a {kind}"
        return " ".join([kind, " and ".join(ends)]).strip()

    def admits(self, value: float) -> bool:
        """Whether one number lies in the range (NaN never does)."""
        return (
            value == value  # noqa: PLR0124  (NaN is not equal to itself)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (not self.whole or (math.isfinite(value) and value == int(value)))
        )


def number(
    *,
    default: Any = dataclasses.MISSING,
    doc: str = "",
    rank: int = 0,
    whole: bool = False,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    schedule: bool = False,
) -> Any:
    """Declare a numeric field: a leaf that is traced, swept and differentiated.

    Args:
      default: the value when the user gives none.
      doc: one line for documentation and the command line.
      rank: 0 for a number, 1 for a list of numbers.
      whole: the field counts something; it is traced as int32, all others as the default float.
      at_least: the lowest accepted value; the range is checked at the boundary.
      above: the same, exclusive.
      at_most: the highest accepted value.
      below: the same, exclusive.
      schedule: a schedule (any callable `step -> rate`) may stand in the number's place.
    """
    accepts = Number(rank, whole, at_least, above, at_most, below)
    metadata = {"number": accepts, "doc": doc, "schedule": schedule}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(
    frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field, static, number)
)
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass that is a pytree: every field a child, but the `static` ones.

    Instances are compared and hashed by identity: with array leaves `==` has no one answer.

    Example:
      >>> import jax, jaxgd as gd
      >>> @gd.pytree
      ... class Scale:
      ...     factor: float = 2.0
      >>> jax.tree.leaves(Scale())
      [2.0]
    """
    made = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(made)  # type: ignore[arg-type]
    _MADE_HERE.add(made)
    return jax.tree_util.register_dataclass(
        made,
        [f.name for f in fields if not f.metadata.get("static")],
        [f.name for f in fields if f.metadata.get("static")],
    )


class Same:
    """A static value as part of a type: equal by value if it is hashable, by identity if not."""

    __slots__ = ("_by_value", "_hash", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        try:
            self._hash, self._by_value = hash(value), True
        except TypeError:
            self._hash, self._by_value = id(value), False

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or self._hash != other._hash:
            return False
        if self.value is other.value:
            return True
        by_value = self._by_value and type(self.value) is type(other.value)
        return by_value and bool(self.value == other.value)


@pytree
class Function:
    """A user's own schedule in a rule: no numbers to trace, static as a whole."""

    function: Same = static()

    def __call__(self, step: Any) -> Any:
        """The rate at `step`."""
        return self.function.value(step)


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
            raise TypeError(f"{name}.{field.name} must be True or False, got {value!r}")
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
    if accepts.rank and isinstance(value, list | tuple):
        one = dataclasses.replace(accepts, rank=0)
        return tuple(_canonical_rate(v, one, f"{path}[{i}]") for i, v in enumerate(value))
    if callable(value) and not isinstance(value, type):
        return canonical(value, path) if is_pytree(value) else Function(Same(value))
    return canonical_number(value, accepts, path, schedule=True)


def _canonical_untyped(value: Any, path: str) -> Any:
    if is_pytree(value):
        return canonical(value, path)
    if type(value) in (list, tuple):
        return tuple(_canonical_untyped(item, f"{path}[{i}]") for i, item in enumerate(value))
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return np.asarray(value, canonical_float())
    return value


def is_pytree(value: Any) -> bool:
    """Whether `value` is an instance of a class made by `pytree`."""
    return type(value) in _MADE_HERE


def canonical_number(value: Any, accepts: Number, path: str, *, schedule: bool = False) -> Any:
    """`value` as an array of the one dtype its field is traced with; a clear error if it is none.

    Traced values are only checked for their rank.
    """
    if type(value) is float and accepts.rank == 0 and not accepts.whole and accepts.admits(value):
        return np.asarray(value, canonical_float())  # most calls: no need for the words below
    expected = accepts.expected() + (" or a schedule" if schedule else "")
    listed = isinstance(value, list | tuple) and accepts.rank == 1
    if listed and all(is_quantity(item) and not np.ndim(item) for item in value):
        value = np.asarray(value) if not _any_traced(value) else jax.numpy.stack(value)
    if isinstance(value, type):
        hint = f": write {value.__name__}(...)" if schedule and value in _MADE_HERE else ""
        raise TypeError(f"{path} must be {expected}, got the class {value.__name__}{hint}")
    if not is_quantity(value):
        raise TypeError(f"{path} must be {expected}, got {value!r}")
    if np.ndim(value) != accepts.rank:
        hint = "; to sweep several values at once, jax.vmap over gd.descend"
        raise ValueError(
            f"{path} must be {expected}, got an array of shape {np.shape(value)}"
            + ("" if accepts.rank else hint)
        )
    dtype = np.dtype(np.int32) if accepts.whole else canonical_float()
    if isinstance(value, jax.core.Tracer):
        return jax.lax.convert_element_type(value, dtype)
    array = np.asarray(value)
    if not all(map(accepts.admits, entries := _entries(array))):
        raise ValueError(f"{path} must be {expected}, got {value}")
    if accepts.whole and any(abs(entry) > np.iinfo(np.int32).max for entry in entries):
        raise ValueError(f"{path} must be below 2**31, got {value}")
    return array.astype(dtype)


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
        raise TypeError(f"{expected}{' and not traced' * traced}, got {value!r}")
    (entry,) = _entries(np.asarray(value))
    if not (math.isfinite(entry) and entry.is_integer() and at_least <= entry < 2**31):
        raise ValueError(f"{expected} and below 2**31, got {value!r}")
    return int(value)
