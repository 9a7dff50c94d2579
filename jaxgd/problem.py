"""One call for every form of loss, and the checks that come before any work."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgd.bounds import checked_bounds
from jaxgd.feed import Feed, Plan
from jaxgd.loss import called, checked_key, hoisted, scalar, with_aux
from jaxgd.packing import Packing
from jaxgd.pytree import pytree
from jaxgd.refusal import described, in_a_line, refuse_tracers
from jaxgd.tree import (
    NO_LEAVES,
    Layout,
    PyTree,
    divide,
    is_concrete,
    is_key,
    leaf_kind,
    path_of,
    strong,
    traced_or_static,
)

if TYPE_CHECKING:
    from jax.extend import core


@pytree
class Inputs:
    """What a loss is called with besides the optimised leaves; all of it is traced."""

    held: list[Any]
    args: list[Any]
    key: Any
    lower: Any
    upper: Any
    data: Any
    """A `Feed`; where the loss is called, what is `Given` of it; None without data in batches."""
    captured: Any = None
    """The arrays that the loss refers to, where they are handed in; else None."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A loss and the form in which it is called; everything here is static."""

    call: Callable[[PyTree, Inputs, Any], tuple[jax.Array, Any]]
    """The loss and aux at the optimised leaves; the step selects the key and the batch."""
    params: Layout
    args: Layout
    has_aux: bool
    stochastic: bool
    """Whether the loss is another one at each step: it has a key, or data in batches."""
    bounded: bool
    plan: Plan | None = None
    """How batches are made of data."""
    packing: Packing | None = None
    """How `x` is packed; None if it is as the user has it."""
    loss_dtype: Any = None
    """None before the loss has been traced."""
    apart: bool = False
    """Whether the loss is computed apart from its gradient."""

    def value(self, x: PyTree, inputs: Inputs, step: Any) -> jax.Array:
        """The loss at the optimised leaves `x`."""
        return self.call(self.unpacked(x), self.given(inputs, step), step)[0]

    def aux(self, x: PyTree, inputs: Inputs, step: Any) -> Any:
        """What the loss returns besides, or None."""
        if not self.has_aux:
            return None
        return self.call(self.unpacked(x), self.given(inputs, step), step)[1]

    def evaluate(self, x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, PyTree]:
        """The loss and its direction of steepest ascent, which is conj(jax.grad) if complex."""
        given = self.given(inputs, step)

        def value(whole: PyTree) -> jax.Array:
            return self.call(whole, given, step)[0]

        whole = self.unpacked(x)
        if self.apart:
            again: PyTree = lax.optimization_barrier(whole)  # type: ignore[no-untyped-call]
            loss, grads = value(again), jax.grad(value)(whole)
        else:
            loss, grads = jax.value_and_grad(value)(whole)
        grads = jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)
        return loss, self.packed(grads)

    def given(self, inputs: Inputs, step: Any) -> Inputs:
        """The inputs with the batch of a step."""
        if self.plan is None:
            return inputs
        return dataclasses.replace(
            inputs, data=self.plan.given(inputs.data, jnp.asarray(step, jnp.int32))
        )

    def packed(self, x: PyTree) -> PyTree:
        """The optimised leaves as runs have them."""
        return x if self.packing is None else self.packing.pack(x)

    def packed_rows(self, x: PyTree) -> PyTree:
        """The same of many iterates on the host, with a leading axis."""
        return x if self.packing is None else self.packing.pack_rows(x)

    def with_bounds_packed(self, inputs: Inputs) -> Inputs:
        """The inputs with their bounds in the form of `x`."""
        if self.packing is None or not self.bounded:
            return inputs
        lower, upper = map(self.packing.pack_numbers, (inputs.lower, inputs.upper))
        return dataclasses.replace(inputs, lower=lower, upper=upper)

    def unpacked(self, x: PyTree) -> PyTree:
        """The optimised leaves as the user has them."""
        return x if self.packing is None else self.packing.unpack(x)

    def clip(self, x: PyTree, inputs: Inputs) -> PyTree:
        """`x` inside the bounds."""
        if not self.bounded:
            return x
        return jax.tree.map(jnp.clip, x, inputs.lower, inputs.upper)

    def outside(self, x: PyTree, inputs: Inputs) -> bool:
        """Whether `x`, of concrete arrays, breaks the bounds."""
        inside = jax.tree.map(np.array_equal, x, self.clip(x, inputs))
        return not all(jax.tree.leaves(inside))

    def projected(self, x: PyTree, grads: PyTree, inputs: Inputs) -> PyTree:
        """The gradient that counts for convergence: clip(x - g) - x under bounds, g without."""
        if not self.bounded:
            return grads

        # x is subtracted first: x - g would round a gradient that is small against x to nothing.
        def one(x: jax.Array, g: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
            return jnp.clip(-g, lower - x, upper - x)

        return jax.tree.map(one, x, grads, inputs.lower, inputs.upper)

    def traced(self, x: PyTree, inputs: Inputs) -> "tuple[Problem, core.ClosedJaxpr]":
        """The same with the user's function replaced by its jaxpr, and that: it is called once.

        It keeps nothing of the user's alive: neither the function nor static leaves. What the
        function refers to, `consts` of the jaxpr, is compiled in, unless the inputs have it.

        Raises:
          TypeError: the function cannot be traced, or returns something else than a scalar loss.
          ValueError: it closes over tracers of an outer transformation.
        """
        from jax.extend import core  # slow to import: it brings Pallas

        step = np.int32(0)
        given = inputs
        if self.plan is not None:  # which examples are in the batch is no part of the loss
            data = jax.eval_shape(self.given, inputs, step).data
            given = dataclasses.replace(inputs, data=data)
        closed, shapes = jax.make_jaxpr(self.call, return_shape=True)(self.unpacked(x), given, step)
        refuse_tracers("the loss, by its closure,", closed.consts)
        closed, treedef = hoisted(closed), jax.tree.structure(shapes)

        def call(x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, Any]:
            captured = closed.consts if inputs.captured is None else inputs.captured
            whole = core.ClosedJaxpr(closed.jaxpr, captured)
            inputs = dataclasses.replace(inputs, captured=None)
            outs = core.jaxpr_as_fun(whole)(*jax.tree.leaves((x, inputs, step)))
            value, aux = jax.tree.unflatten(treedef, outs)
            return jnp.asarray(value), aux  # a constant loss comes back as a number

        known = {"loss_dtype": closed.out_avals[0].dtype, "params": NO_LEAVES, "args": NO_LEAVES}
        return dataclasses.replace(self, call=call, **known), closed


def captured_by(closed: "core.ClosedJaxpr") -> list[Any]:
    """What a loss refers to, to be handed in: no kernel can have a large constant inside."""
    return [const if is_key(const) else jnp.asarray(const) for const in closed.consts]


def pose(
    loss: Callable[..., Any],
    params: PyTree,
    *,
    args: tuple[Any, ...] = (),
    bounds: Any = None,
    has_aux: bool = False,
    key: Any = None,
    data: tuple[Plan | None, Feed | None] = (None, None),
) -> tuple[Problem, PyTree, Inputs]:
    """Check a loss with all it is called with, and bring it to the one form; `data` is checked.

    Returns:
      The problem, the tree of optimised leaves (None where others are), and the other inputs.

    Raises:
      TypeError, ValueError: what was given, what was expected and what to do.
    """
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss must be a function of the params, got {described(loss)}")
    if not isinstance(args, tuple):
        raise TypeError(
            f"args must be a tuple of the loss's further arguments, got {described(args)}; "
            "write args=(value,) for one"
        )
    if not isinstance(has_aux, bool):
        raise TypeError(f"has_aux must be True or False, got {described(has_aux)}")
    moving, held, layout = divide(params, lambda leaf: leaf_kind(leaf, params))
    if not moving:
        kinds = "; ".join(sorted(set(map(described, jax.tree.leaves(params)))))
        raise ValueError(
            "params has no leaf to optimise: expected a pytree with float arrays or Python "
            f"floats, got {in_a_line(kinds) or 'no leaf at all'}"
        )
    x = layout.moving_tree(map(strong, moving))
    _, held_args, args_layout = divide(args, lambda leaf: _kind_of_arg(leaf, args))
    lower, upper = (None, None) if bounds is None else checked_bounds(bounds, params, x)
    plan, feed = data
    inputs = Inputs(held, held_args, checked_key(key), lower, upper, feed)
    call = _direct(loss, (layout, args_layout), has_aux, plan)
    stochastic = key is not None or (plan is not None and plan.batch_size is not None)
    form = (layout, args_layout, has_aux, stochastic, bounds is not None, plan)
    return Problem(call, *form), x, inputs


def _kind_of_arg(leaf: Any, args: Any) -> str:
    """Numbers and arrays are traced; other leaves are static, and must not change in place."""
    if is_concrete(leaf):
        kind = traced_or_static(leaf)
        if kind == "held" or _is_hashable(leaf):
            return kind
    raise TypeError(
        f"args{path_of(args, leaf)} is a {type(leaf).__name__}: expected arrays, numbers, pytrees "
        "of them, or a hashable object such as a function, a string or a frozen dataclass"
    )


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _direct(
    loss: Callable[..., Any], layouts: tuple[Layout, Layout], has_aux: bool, plan: Plan | None
) -> Callable[[PyTree, Inputs, Any], tuple[jax.Array, Any]]:
    params, args = layouts

    def call(x: PyTree, inputs: Inputs, step: Any) -> tuple[jax.Array, Any]:
        given, named = [params.merge(jax.tree.leaves(x), inputs.held)], {}
        if inputs.key is not None:
            named["key"] = jax.random.fold_in(inputs.key, step)
        if plan is not None:
            given.append(inputs.data.batch)
            named |= {} if inputs.data.weights is None else {"weights": inputs.data.weights}
        given += args.merge((), inputs.args)
        first = ("params",) if plan is None else ("params", "batch")
        out = called(loss, tuple(given), named, first)
        return with_aux(out) if has_aux else (scalar(out), None)

    return call
