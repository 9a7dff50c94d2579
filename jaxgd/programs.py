"""Compiled programs by loss: kept as long as their loss lives, and not a moment longer."""

import contextlib
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxgd.pytree import Same
from jaxgd.tree import Layout

PROGRAMS_PER_LOSS = 64


class _Weakly:
    """A static value in a key: compared as `Same` does, but not kept alive; once dead, like none.

    A program's key may lead to its loss, by a schedule or a rule that is a method of the same
    object: held strongly, it would keep both alive for ever.
    """

    __slots__ = ("_hash", "_ref", "_value")

    def __init__(self, value: Any) -> None:
        self._hash = hash(Same(value))
        self._ref: Callable[[], Any] | None = None
        self._value = None
        try:
            is_method = isinstance(value, types.MethodType)
            self._ref = weakref.WeakMethod(value) if is_method else weakref.ref(value)
        except TypeError:
            self._value = value  # a number, a string, None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Weakly) or self._hash != other._hash:
            return False
        ours, theirs = self._get(), other._get()
        return ours is not None and theirs is not None and ours == theirs

    def _get(self) -> Same | None:
        value = self._value if self._ref is None else self._ref()
        return None if self._ref is not None and value is None else Same(value)


def weakly(value: Any) -> Any:
    """A static value for a key, which it does not keep alive; tuples, item by item."""
    if isinstance(value, tuple):
        return type(value), *map(weakly, value)
    return _Weakly(value)


def key_of(layout: Layout) -> Any:
    """What a program depends on in a layout, without keeping its static leaves alive."""
    return layout.treedef, layout.kinds, tuple(weakly(same.value) for same in layout.statics)


class Shelf:
    """The programs of one loss, the one used last at the end."""

    def __init__(self) -> None:
        self.programs: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any) -> Any:
        """The program with that key, or None."""
        with _lock:
            if key in self.programs:
                self.programs.move_to_end(key)
            return self.programs.get(key)

    def put(self, key: Any, program: Any) -> None:
        """Keep a program, in the place of the one that was not used for longest."""
        with _lock:
            self.programs[key] = program
            while len(self.programs) > PROGRAMS_PER_LOSS:
                self.programs.popitem(last=False)


_lock = threading.RLock()
_shelves: dict[int, tuple[Any, Shelf]] = {}


def shelf_of(loss: Any) -> tuple[Shelf, Any]:
    """The programs of a loss, and what tells its methods apart in their keys.

    A bound method is a new object at each access, so its programs belong to its instance. A loss
    that cannot be referred to weakly has a shelf that is empty at each call.
    """
    # The very type: what merely forwards a method's attributes is another loss.
    is_method = type(loss) is types.MethodType
    owner, method = (loss.__self__, loss.__func__) if is_method else (loss, None)
    name = id(owner)
    with _lock:
        if name in _shelves and _shelves[name][0]() is owner:
            return _shelves[name][1], weakly(method)
        shelf = Shelf()
        with contextlib.suppress(TypeError):
            _shelves[name] = (weakref.ref(owner, _forget(name)), shelf)
        return shelf, weakly(method)


def _forget(name: int, shelves: dict[int, Any] = _shelves) -> Callable[[Any], None]:
    """What to do when the loss dies; bound to the dict, since at exit the module goes before it."""

    def forget(ref: Any) -> None:
        if name in shelves and shelves[name][0] is ref:
            del shelves[name]

    return forget


_OPTIONS = (
    "jax_enable_x64",
    "jax_disable_jit",
    "jax_default_device",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
)
"""JAX's options that change what a function compiles to."""


def option(name: str) -> Any:
    """The value of one of JAX's options; None in a release that lacks it."""
    return getattr(jax.config, name, None)


def kinds_of(leaves: list[Any]) -> Any:
    """What a compiled program depends on in what it is called with, and in JAX's options."""
    return tuple(map(_kind, leaves)), tuple(map(option, _OPTIONS))


def _kind(leaf: Any) -> Any:
    """What a compiled program depends on in an argument."""
    if not hasattr(leaf, "dtype"):
        return type(leaf)
    placed = is_placed(leaf) and leaf.sharding
    return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False), placed


def is_placed(leaf: Any) -> bool:
    """Whether the user has said on which devices the array lies."""
    return bool(getattr(leaf, "committed", False))


def shardings_over(devices: tuple[Any, ...]) -> tuple[Any, Any]:
    """Where lanes lie, and where what they share does."""
    if len(devices) == 1:
        return (SingleDeviceSharding(devices[0]),) * 2
    mesh = Mesh(np.array(devices), ("lanes",))
    split, same = (PartitionSpec(*axes) for axes in (["lanes"], []))  # type: ignore[no-untyped-call]
    return NamedSharding(mesh, split), NamedSharding(mesh, same)
