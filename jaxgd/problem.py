"""One call for every form of loss, and the checks that come before any work."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jax.extend import core

from jaxgd.pytree import is_number, pytree
from jaxgd.refusal import UNTRACEABLE, refuse_tracers, untraceable
from jaxgd.tree import Layout, PyTree, divide, path_of, strong, traced_or_static


@pytree
class Inputs:
    """What a loss is called with besides the optimised leaves; all of it is traced."""

    held: list[Any]
    args: list[Any]
    key: Any
    lower: Any
    upper: Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """A loss and the form in which it is called; everything here is static."""

    call: Callable[[PyTree, Inputs, Any], tuple[jax.Array, Any]]
    """The loss and aux at the optimised leaves; the step selects a stochastic loss's key."""
    params: Layout
    args: Layout
    has_aux: bool
    stochastic: bool
    bounded: bool

    @property
    def form(self) -> tuple[Any, ...]:
        """All but the loss: what a compiled program depends on, hashable."""
        return self.params, self.args, self.has_aux, self.stochastic, self.bounded

    def value(self, x: PyTree, inputs: Inputs, step: Any) -> jax.Array:
        """The loss at the optimised leaves `x`."""
        return self.call(x, inputs, step)[0]

    def evaluate(self, x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, PyTree]:
        """The loss and its direction of steepest ascent, which is conj(jax.grad) if complex."""
        value, grads = jax.value_and_grad(self.value)(x, inputs, step)
        return value, jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)

    def clip(self, x: PyTree, inputs: Inputs) -> PyTree:
        """`x` inside the bounds."""
        if not self.bounded:
            return x
        return jax.tree.map(jnp.clip, x, inputs.lower, inputs.upper)

    def projected(self, x: PyTree, grads: PyTree, inputs: Inputs) -> PyTree:
        """The gradient that counts for convergence: clip(x - g) - x under bounds, g without."""
        if not self.bounded:
            return grads
        moved = self.clip(jax.tree.map(jnp.subtract, x, grads), inputs)
        return jax.tree.map(jnp.subtract, moved, x)

    def traced(self, x: PyTree, inputs: Inputs) -> tuple["Problem", core.ClosedJaxpr]:
        """The same with the user's function replaced by its jaxpr, and that: it is called once.

        Raises:
          TypeError: the function cannot be traced, or returns something else than a scalar loss.
          ValueError: it closes over tracers of an outer transformation.
        """
        step = np.int32(0)
        try:
            closed, shapes = jax.make_jaxpr(self.call, return_shape=True)(x, inputs, step)
        except UNTRACEABLE as error:
            raise TypeError(untraceable(error)) from error
        refuse_tracers("the loss, by its closure,", closed.consts)
        function, treedef = core.jaxpr_as_fun(closed), jax.tree.structure(shapes)

        def call(x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, Any]:
            outs = function(*jax.tree.leaves((x, inputs, step)))
            made: tuple[jax.Array, Any] = jax.tree.unflatten(treedef, outs)
            return made

        return dataclasses.replace(self, call=call), closed


def pose(
    loss: Callable[..., Any],
    params: PyTree,
    *,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    has_aux: bool = False,
    key: Any = None,
) -> tuple[Problem, PyTree, Inputs]:
    """Check a loss with all it is called with, and bring it to the one form.

    Returns:
      The problem, the tree of optimised leaves (None where others are), and the other inputs.

    Raises:
      TypeError, ValueError: what was given, what was expected and what to do.
    """
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss must be a function of the params, got {loss!r}")
    if not isinstance(args, tuple):
        raise TypeError(
            f"args must be a tuple of the loss's further arguments, got {type(args).__name__}; "
            "write args=(value,) for one"
        )
    moving, held, layout = divide(params, lambda leaf: _kind(leaf, params))
    if not moving:
        kinds = sorted({type(leaf).__name__ for leaf in jax.tree.leaves(params)})
        raise ValueError(
            "params has no leaf to optimise: expected a pytree with float arrays or Python "
            f"floats, got {'leaves of type ' + ', '.join(kinds) if kinds else 'no leaf at all'}"
        )
    x = layout.moving_tree(map(strong, moving))
    _, held_args, args_layout = divide(args, traced_or_static)
    lower, upper = (None, None) if bounds is None else _bounds(bounds, params, x)
    inputs = Inputs(held, held_args, _checked_key(key), lower, upper)
    call = _direct(loss, layout, args_layout, has_aux, key is not None)
    form = (layout, args_layout, has_aux, key is not None, bounds is not None)
    return Problem(call, *form), x, inputs


def _direct(
    loss: Callable[..., Any], params: Layout, args: Layout, has_aux: bool, stochastic: bool
) -> Callable[[PyTree, Inputs, Any], tuple[jax.Array, Any]]:
    def call(x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, Any]:
        whole = params.merge(jax.tree.leaves(x), inputs.held)
        keyed = {"key": jax.random.fold_in(inputs.key, step)} if stochastic else {}
        out = loss(whole, *args.merge((), inputs.args), **keyed)
        if not has_aux:
            return _scalar(out), None
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"with has_aux=True loss must return (loss, aux), got {_what(out)}")
        return _scalar(out[0]), out[1]

    return call


def _scalar(out: Any) -> jax.Array:
    expected = "loss must return a scalar float"
    if out is None:
        raise TypeError(f"{expected}, got None; does it lack a return statement?")
    if isinstance(out, tuple):
        raise TypeError(
            f"{expected}, got {_what(out)}; for a loss that returns (loss, aux) give has_aux=True"
        )
    if not is_number(out):
        raise TypeError(f"{expected}, got {_what(out)}")
    if jnp.shape(out) != ():
        raise TypeError(
            f"{expected}, got an array of shape {jnp.shape(out)}; take its sum or mean"
        )
    if not dtypes.issubdtype(jnp.result_type(out), np.floating):
        raise TypeError(
            f"{expected}, got {jnp.result_type(out)}; "
            "take the real part or the magnitude, or convert it with astype(float)"
        )
    return jnp.asarray(out)


def _what(out: Any) -> str:
    return f"a tuple of {len(out)}" if isinstance(out, tuple) else f"{type(out).__name__}"


def _kind(leaf: Any, params: PyTree) -> str:
    """How a leaf of params is treated: inexact ones move, other arrays are held."""
    if isinstance(leaf, bool) or (not is_number(leaf) and not hasattr(leaf, "dtype")):
        return "static"
    if isinstance(leaf, int) and not isinstance(leaf, np.generic):
        raise TypeError(
            f"params{path_of(params, leaf)} is the Python int {leaf}: write {leaf}.0 to optimise "
            f"it, jnp.int32({leaf}) to hold it fixed"
        )
    if isinstance(leaf, float | complex):
        return "moving"
    dtype = getattr(leaf, "dtype", None)
    return "moving" if dtypes.issubdtype(dtype, np.inexact) else traced_or_static(leaf)


def _checked_key(key: Any) -> Any:
    if key is None:
        return None
    dtype, shape = getattr(key, "dtype", None), np.shape(key) if hasattr(key, "shape") else None
    typed = dtype is not None and dtypes.issubdtype(dtype, dtypes.prng_key) and shape == ()
    raw = dtype == np.uint32 and shape is not None and len(shape) == 1
    if not typed and not raw:
        got = repr(key) if dtype is None else f"an array of {dtype} and shape {shape}"
        raise TypeError(f"key must be one JAX random key, as jax.random.key(0) makes, got {got}")
    return key


def _bounds(bounds: Any, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(
            "bounds must be a pair (lower, upper) of numbers or pytrees that are prefixes of "
            f"params, got {_what(bounds)}"
        )
    lower = _side("bounds[0]", bounds[0], params, x, -np.inf)
    upper = _side("bounds[1]", bounds[1], params, x, np.inf)
    for leaf, low, high in zip(*map(jax.tree.leaves, (x, lower, upper)), strict=True):
        if any(isinstance(value, jax.core.Tracer) for value in (leaf, low, high)):
            continue
        name = path_of(x, leaf)
        if not np.all(np.asarray(low) <= np.asarray(high)):
            raise ValueError(
                f"bounds of params{name} must have lower <= upper, got {low} and {high}"
            )
        if not np.all((np.asarray(low) <= np.asarray(leaf)) & (leaf <= np.asarray(high))):
            raise ValueError(
                f"params{name} starts outside its bounds: {leaf} is not in [{low}, {high}]"
            )
    return lower, upper


def _side(name: str, prefix: Any, params: PyTree, x: PyTree, open_end: float) -> PyTree:
    """One side of the bounds as a tree like `x`, each leaf a scalar or shaped like its leaf."""

    def is_none(leaf: Any) -> bool:
        return leaf is None

    try:
        whole = jax.tree.map(
            lambda bound, part: jax.tree.map(lambda _: bound, part),
            prefix,
            params,
            is_leaf=is_none,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must be a number or a pytree that is a prefix of params: {error}"
        ) from error
    per_leaf = jax.tree.leaves(whole, is_leaf=is_none)
    kinds = [_kind(leaf, params) for leaf in jax.tree.leaves(params)]
    chosen = [bound for bound, kind in zip(per_leaf, kinds, strict=True) if kind == "moving"]
    leaves, treedef = jax.tree.flatten(x)
    made = [
        _one_bound(name + path_of(x, leaf), open_end if bound is None else bound, leaf)
        for bound, leaf in zip(chosen, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, made)


def _one_bound(name: str, bound: Any, leaf: Any) -> Any:
    if not is_number(bound) or isinstance(bound, bool):
        raise TypeError(f"{name} must be a number or an array, got {bound!r}")
    if jnp.iscomplexobj(leaf):
        raise TypeError(f"{name}: complex params have no order and cannot be bounded")
    if np.ndim(bound) and np.shape(bound) != np.shape(leaf):
        try:
            bound = jnp.broadcast_to(bound, np.shape(leaf))
        except ValueError as error:
            raise ValueError(
                f"{name} must have the shape {np.shape(leaf)} of its leaf or be a number, "
                f"got shape {np.shape(bound)}"
            ) from error
    if isinstance(bound, jax.core.Tracer):
        return bound.astype(leaf.dtype)
    if np.any(np.isnan(np.asarray(bound, np.float64))):
        raise ValueError(f"{name} must not be NaN")
    return np.asarray(bound).astype(leaf.dtype)
