"""The user's loss: how it is called, and what it must return."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import is_number
from jaxgd.jaxprs import bound, evaluated, jitted
from jaxgd.refusal import described, untraceable
from jaxgd.tree import is_key


def called(
    loss: Callable[..., Any],
    args: tuple[Any, ...],
    named: dict[str, Any],
    first: tuple[str, ...] = ("params",),
    what: str = "loss",
) -> Any:
    """What the loss returns; if it cannot be called so, or not be traced, an error that says it.

    Args:
      loss: the user's function.
      args: the params, the batch if there is one, and the user's args.
      named: what it is given by keyword.
      first: the names of the first of args.
      what: how error messages call the function.
    """
    try:
        return loss(*args, **named)
    except Exception as error:
        told = untraceable(error, what)
        inside = error.__traceback__ is None or error.__traceback__.tb_next is not None
        if told is None and isinstance(error, TypeError) and not inside:
            given = [*first, *(f"args[{i}]" for i in range(len(args) - len(first)))]
            given += [f"{name}={name}" for name in named]
            told = f"{what} is called as {what}({', '.join(given)}): {error}"
        if told is None:
            raise
        raise TypeError(told) from error


def with_aux(out: Any) -> tuple[jax.Array, Any]:
    """The loss and aux of what a loss with has_aux returned."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"with has_aux=True loss must return (loss, aux), got {described(out)}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(out[1]):
        if not _is_value(leaf) and not isinstance(leaf, jax.Array):
            where = "aux" + jax.tree_util.keystr(path)
            raise TypeError(f"aux of loss must hold arrays, got {described(leaf)} at {where}")
    return scalar(out[0]), out[1]


def hoisted(closed: Any) -> Any:
    """A jaxpr with what the jitted functions in it refer to among its own constants."""
    if not any(map(_refers, closed.jaxpr.eqns)):
        return closed

    def flat(*args: Any) -> list[Any]:
        return evaluated(closed.jaxpr, closed.consts, args, _inlined)

    form: Any = jax.ShapeDtypeStruct
    return jax.make_jaxpr(flat)(
        *(form(a.shape, a.dtype, weak_type=getattr(a, "weak_type", False)) for a in closed.in_avals)
    )


def _refers(eqn: Any) -> bool:
    inner = jitted(eqn)
    return inner is not None and (bool(inner.consts) or any(map(_refers, inner.jaxpr.eqns)))


def _inlined(eqn: Any, values: list[Any]) -> list[Any]:
    if not _refers(eqn):
        return bound(eqn, values)
    inner = jitted(eqn)
    return evaluated(inner.jaxpr, inner.consts, values, _inlined)


def scalar(out: Any) -> jax.Array:
    """What a loss returned, if it is a scalar float."""
    expected = f"loss must return a scalar float, got {described(out)}"
    if out is None:
        raise TypeError(f"{expected}; does it lack a return statement?")
    if isinstance(out, tuple):
        raise TypeError(f"{expected}; for a loss that returns (loss, aux) give has_aux=True")
    if not _is_value(out):
        raise TypeError(expected)
    if jnp.shape(out) != ():
        raise TypeError(f"{expected}; take its sum or mean")
    if jnp.iscomplexobj(out):
        raise TypeError(f"{expected}; take the real part or the magnitude")
    if not jnp.issubdtype(jnp.result_type(out), np.floating):
        raise TypeError(f"{expected}; convert it with astype(float)")
    return jnp.asarray(out)


def _is_value(out: Any) -> bool:
    """Whether JAX has an array for it: a number, but no Fraction or Decimal."""
    return is_number(out) and (isinstance(out, int | float | complex) or hasattr(out, "dtype"))


def checked_key(key: Any) -> Any:
    """One random key, or None."""
    if key is None:
        return None
    dtype, shape = getattr(key, "dtype", None), np.shape(key) if hasattr(key, "shape") else None
    typed = is_key(key) and shape == ()
    raw = dtype == np.uint32 and shape == _raw_key_shape(
        getattr(jax.config, "jax_default_prng_impl", None)
    )
    if not typed and not raw:
        made = "as jax.random.key(0) makes"
        hint = "; for a key for each run axes=gd.Axes(key=0)" if is_key(key) else ""
        raise TypeError(f"key must be one JAX random key, {made}, got {described(key)}{hint}")
    return key


@functools.cache
def _raw_key_shape(kind: str) -> tuple[int, ...]:
    del kind
    shape: tuple[int, ...] = jax.eval_shape(jax.random.PRNGKey, 0).shape
    return shape
