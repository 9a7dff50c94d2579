"""Frozen dataclasses that are pytrees: numbers are leaves, choices of code path are static."""

import dataclasses
import math
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")
_MADE_HERE: set[type] = set()


def static(*, default: Any = dataclasses.MISSING, doc: str = "") -> Any:
    """Declare a field that selects a code path: never traced, compared by value.

    Args:
      default: the value when the user gives none.
      doc: one line for documentation and the command line.

    Example:
      >>> import jax, jaxgd as gd
      >>> @gd.pytree
      ... class Descent:
      ...     rate: float = gd.number(at_least=0)
      ...     upwards: bool = gd.static(default=False)
      >>> jax.tree.leaves(Descent(0.1, upwards=True))
      [0.1]
    """
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

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> @gd.pytree
      ... class Descent:
      ...     rate: float = gd.number(at_least=0)
      ...     def init(self, params):
      ...         return ()
      ...     def update(self, grads, state, params=None):
      ...         return -self.rate * grads, state
      >>> gd.minimize(lambda x: x ** 2, 1.0, Descent(-0.1))
      Traceback (most recent call last):
      ...
      ValueError: rule.rate must be a number >= 0, got -0.1
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
    if not isinstance(cls, type):
        raise TypeError(f"pytree is for classes, written above one as @gd.pytree; got {cls!r}")
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
    """A user's own schedule in a rule: no numbers to trace, one leaf that is static."""

    function: Any

    def __call__(self, step: Any) -> Any:
        """The rate at `step`."""
        return self.function(step)


def is_pytree(value: Any) -> bool:
    """Whether `value` is an instance of a class made by `pytree`."""
    return is_pytree_class(type(value))


def is_pytree_class(cls: type) -> bool:
    """Whether `cls` was made by `pytree`."""
    return cls in _MADE_HERE
