"""What to say about functions and values that JAX, or we, cannot take."""

import os
import re
import traceback
from pathlib import Path
from typing import Any

import jax
import numpy as np

_ADVICE = (
    (
        jax.errors.TracerBoolConversionError,
        "`if`, `while`, `and`, `in`, max() or sorted() on a value: use jnp.where, jnp.maximum, "
        "lax.cond or lax.while_loop",
    ),
    (
        jax.errors.TracerArrayConversionError,
        "a NumPy function of a traced value: use the one of jax.numpy",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "a traced value as an index or a length of Python: use jnp indexing, or lax.fori_loop",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "a boolean index, whose result has no fixed shape: use jnp.where with three arguments",
    ),
    (
        jax.errors.ConcretizationTypeError,
        "float(), int() or a function of math on a traced value, or a shape that depends on one: "
        "use jax.numpy, and shapes that are known beforehand",
    ),
)

_OURS = tuple(str(Path(file).parent) + os.sep for file in (jax.__file__, __file__))
_STANDARD = str(Path(traceback.__file__).parent) + os.sep
_OF_A_TRACER = re.compile(r"(unhashable type: '|format string passed to |convert type ')\w*Tracer")


def untraceable(error: Exception, what: str) -> str | None:
    """What to say if `error` means that JAX cannot trace `what`: which line, and what to do."""
    frames = traceback.extract_tb(error.__traceback__)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
    if advice is None and _is_of_numpy(error):
        advice = "a traced value stored in a NumPy array: use jnp.stack or x.at[i].set(value)"
    if advice is None:
        by_jax = "Tracer" in str(error) and frames[-1].filename.startswith(_OURS)
        if not by_jax and not _OF_A_TRACER.search(str(error)):
            return None
        advice = f"a traced value where its number is needed: {str(error).splitlines()[0]}"
    outside = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    own = [frame for frame in outside if not _is_library(frame.filename)] or outside
    line = f': "{own[-1].line}"' if own and own[-1].line else ""
    place = f"{own[-1].filename}, line {own[-1].lineno}{line}" if own else "an unknown place"
    return f"{what} must be traceable by JAX, but is not at {place} — {advice}"


def _is_of_numpy(error: Exception) -> bool:
    """Whether NumPy was given a tracer to store, which it answers with an error of its own."""
    by_tracer = isinstance(error.__cause__, jax.errors.JAXTypeError)
    return by_tracer and str(error).startswith("setting an array element")


def _is_library(file: str) -> bool:
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(installed) or file.startswith(_STANDARD)


def refuse_tracers(what: str, tree: Any) -> None:
    """Raise a ValueError if `tree` holds a tracer of the user's own jit, vmap or grad.

    The error names the place in the tree, if that is a dictionary of arguments.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves_of(tree)):
        if isinstance(tree, dict):
            paths = jax.tree_util.tree_leaves_with_path(tree)
            path = next(path for path, leaf in paths if isinstance(leaf, jax.core.Tracer))
            what = f"{path[0].key}{jax.tree_util.keystr(path[1:])}"
        raise ValueError(f"{what} {USE_DESCEND}")


def leaves_of(given: Any) -> list[Any]:
    """The leaves of a pytree; of a dictionary of arguments, with an error that names the one."""
    if not isinstance(given, dict):
        return jax.tree.leaves(given)
    leaves = []
    for name, value in given.items():
        try:
            leaves += jax.tree.leaves(value)
        except (ValueError, SystemError, RecursionError) as error:
            raise ValueError(
                f"{name} must be a pytree, got {described(value)} that JAX cannot take apart: the "
                "keys of a dict must have an order, and nothing may hold itself"
            ) from error
    return leaves


USE_DESCEND = (
    "holds traced values: this is a host function, which cannot run inside jit, vmap or grad; use "
    "gd.descend there, which can"
)


MOST_SHOWN = 500
"""Characters of a value in an error message."""


def in_a_line(text: str) -> str:
    """What a value prints, as one line that is not too long."""
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]}…"


def shown(value: Any) -> str:
    """A value as Python writes it, for error messages; a large array in words."""
    if getattr(value, "dtype", None) is not None and np.size(value) > 8:
        return described(value)
    return in_a_line(repr(value))


def described(value: Any) -> str:
    """A value in a few words, for error messages."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if getattr(value, "dtype", None) is not None and not isinstance(value, np.generic):
        return f"an array of {value.dtype} and shape {np.shape(value)}"
    is_short = value is None or isinstance(value, str | bool | int | float | complex | np.generic)
    return in_a_line(repr(value)) if is_short else type(value).__name__
