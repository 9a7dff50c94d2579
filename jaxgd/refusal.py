"""What to say about functions and values that JAX, or we, cannot take."""

import traceback
from pathlib import Path
from typing import Any

import jax

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)

_ADVICE = (
    (
        jax.errors.TracerBoolConversionError,
        "`if`, `while`, `and` and `assert` on a value: use jnp.where, lax.cond or lax.while_loop",
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
        "float(), int() or a function of math on a traced value: use jax.numpy",
    ),
)

_OURS = (str(Path(jax.__file__).parent), str(Path(__file__).parent))


def untraceable(error: Exception) -> str:
    """The message for a loss that JAX cannot trace: which line, and what to do about it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    place = f'{own[-1].filename}, line {own[-1].lineno}: "{own[-1].line}"' if own else "unknown"
    advice = next(text for kind, text in _ADVICE if isinstance(error, kind))
    return f"loss must be traceable by JAX, but is not at {place} — {advice}"


def refuse_tracers(what: str, tree: Any) -> None:
    """Raise a ValueError if `tree` holds a tracer of the user's own jit, vmap or grad."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise ValueError(
            f"{what} holds traced values: minimize is a host function and cannot run inside jit, "
            "vmap or grad; use gd.descend there, which can"
        )
