"""The update-rule protocol, and the leaf-wise arithmetic that every rule here is written in."""

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxgd.canonical import canonical, canonical_float, is_quantity
from jaxgd.pytree import is_pytree, pytree
from jaxgd.refusal import shown
from jaxgd.schedules import rate_at
from jaxgd.tree import PyTree, arithmetic_dtype, real_dtype


class Rule(Protocol):
    """What turns gradients into updates.

    Any object with these two methods is a rule, an `optax.GradientTransformation` among them.
    """

    init: Callable[..., Any]
    """`init(params) -> state`"""
    update: Callable[..., Any]
    """`update(grads, state, params, **extra) -> (updates, state)`; updates are added to params."""


def is_rule(value: Any) -> bool:
    """Whether `value` has the two methods of a rule."""
    return callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))


def is_foreign(value: Any) -> bool:
    """Whether `value` is a rule that was not made by `pytree`: static as a whole, numbers too."""
    return not is_pytree(value) and not isinstance(value, type) and is_rule(value)


def is_transform(value: Any) -> bool:
    """Whether `value` acts on gradients and returns gradients: such a rule precedes another."""
    return bool(getattr(value, "transforms_gradients", False))


def parts_of(value: Any) -> tuple[Any, ...]:
    """The rules that a rule is made of: a class made by `pytree` says so by a property `parts`."""
    return tuple(getattr(value, "parts", ())) if is_pytree(value) else ()


def keeps_nonfinite(value: Any) -> bool:
    """Whether a gradient entry that is not finite leaves one in the params or the state for ever.

    A rule says so by `keeps_nonfinite: ClassVar[bool] = True`, and spares its runs a look at each
    gradient. One that is made of others does if they all do.
    """
    parts = parts_of(value)
    if parts:
        return all(map(keeps_nonfinite, parts))
    return bool(getattr(value, "keeps_nonfinite", False))


EXTRA = ("value", "grad", "value_fn")


def extras(rule: Any) -> tuple[str, ...]:
    """Which of `value`, `grad` and `value_fn` the rule's `update` takes, by its signature."""
    try:
        parameters = inspect.signature(rule.update).parameters
    except (TypeError, ValueError):
        return ()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return EXTRA
    return tuple(name for name in EXTRA if name in parameters)


def forwarded(rule: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """What a rule that is part of another takes of `extra`."""
    return {name: extra[name] for name in extras(rule) if name in extra}


def canonical_rule(rule: Any) -> Any:
    """`rule` with checked numbers, each in the one form that is traced; foreign rules as they are.

    Raises:
      TypeError: it is a class, a number, or has no init and update.
    """
    if isinstance(rule, type):
        raise TypeError(
            f"rule must be an instance, got the class {rule.__name__}: write {rule.__name__}(...)"
        )
    if not is_rule(rule):
        raise TypeError(
            "rule must be an update rule, an object with init and update such as gd.Adam(1e-3), "
            f"got {shown(rule)}"
        )
    if is_transform(rule):
        raise TypeError(
            f"rule must turn gradients into updates; {type(rule).__name__} only transforms "
            f"gradients: write gd.chain({type(rule).__name__}(...), gd.Adam(1e-3))"
        )
    return canonical(rule, "rule") if is_pytree(rule) else rule


def zeros(params: PyTree) -> PyTree:
    """Zeros like `params` in the dtypes that their arithmetic is done in."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, arithmetic_dtype(x.dtype)), params)


def magnitudes(params: PyTree, fill: Any = 0) -> PyTree:
    """Real arrays like `params`, all `fill`: where squares and other magnitudes are summed."""
    return jax.tree.map(
        lambda x: jnp.full(x.shape, fill, real_dtype(arithmetic_dtype(x.dtype))), params
    )


def none_yet() -> jax.Array:
    """A step count, or a sum of weights, at its beginning."""
    return jnp.zeros((), jnp.int32)


def no_weight(*shape: int) -> jax.Array:
    """The weight of moments that have seen no gradient."""
    return jnp.zeros(shape, canonical_float())


def weigh(b: Any, w: Any) -> Any:
    """The next weight of a moment with decay `b`: w = b w + (1 - b), that is 1 - b^t.

    The moment of ones: it sums what the moment sums, so that their ratio is an average exactly,
    however `b` is rounded, and costs no power.
    """
    b = jnp.asarray(b, w.dtype)
    return b * w + (1 - b)


def square(g: jax.Array) -> jax.Array:
    """|g|^2, real also for complex g."""
    return jnp.real(g * jnp.conj(g)) if jnp.iscomplexobj(g) else g * g


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger of each two entries; its derivative is that of the one it is.

    That of jnp.maximum asks which of the two equals the result, and where XLA computes one of them
    a second time, rounded otherwise, neither does.
    """
    return jnp.where(a < b, b, a)


def by_leaf(
    equations: Callable[..., Any],
    numbers: SimpleNamespace,
    grads: PyTree,
    *states: PyTree,
    params: PyTree = None,
) -> tuple[PyTree, ...]:
    """Apply a rule's equations leaf by leaf.

    Args:
      equations: `equations(h, g, *states[, x]) -> (update, *states)` for one leaf; `h` has the
        fields of `numbers`.
      numbers: scalars; each leaf sees them in the (real) dtype of its arithmetic, so that a
        float64 number does not widen a float32 leaf.
      grads: pytree of gradients, computed with in promote(dtype, float32).
      *states: pytrees like `grads`, in that dtype; the equations see None for one that is None.
      params: pytree like `grads`, if the equations take the parameters.

    Returns:
      The updates in the dtypes of `grads`, and the new states.
    """
    leaves, treedef = jax.tree.flatten(grads)
    trees = [
        [None] * len(leaves) if tree is None else jax.tree.leaves(tree)
        for tree in (*states, *([] if params is None else [params]))
    ]
    results: tuple[list[Any], ...] = tuple([] for _ in range(1 + len(states)))
    for g, *rest in zip(leaves, *trees, strict=True):
        dtype = arithmetic_dtype(g.dtype)
        h = SimpleNamespace(
            **{name: jnp.asarray(value, real_dtype(dtype)) for name, value in vars(numbers).items()}
        )
        if params is not None:
            rest[-1] = rest[-1].astype(dtype)
        # Real numbers and magnitudes scale complex leaves: that is meant, whatever users forbid.
        with jax.numpy_dtype_promotion("standard"):
            update, *after = equations(h, g.astype(dtype), *rest)
        for part, leaf in zip(results, (update.astype(g.dtype), *after), strict=True):
            part.append(leaf)
    return tuple(
        None if tree is None else jax.tree.unflatten(treedef, part)
        for tree, part in zip((grads, *states), results, strict=True)
    )


@pytree
class Chain:
    """Gradient transforms in order, and then one rule; made by `chain`."""

    transforms: tuple[Any, ...]
    rule: Any

    @property
    def parts(self) -> tuple[Any, ...]:
        """All of them, in order."""
        return (*self.transforms, self.rule)

    @property
    def learning_rate(self) -> Any:
        """That of the rule."""
        return learning_rate_of(self.rule)

    def init(self, params: PyTree) -> tuple[Any, ...]:
        """The states of the transforms and of the rule."""
        return tuple(part.init(params) for part in self.parts)

    def update(
        self, grads: PyTree, state: tuple[Any, ...], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, tuple[Any, ...]]:
        """The rule's updates from the transformed gradients."""
        after = []
        for transform, its_state in zip(self.transforms, state[:-1], strict=True):
            grads, state_after = transform.update(grads, its_state, params)
            after.append(state_after)
        taken = forwarded(self.rule, extra)
        updates, state_after = self.rule.update(grads, state[-1], params, **taken)
        return updates, (*after, state_after)


def chain(*parts: Any) -> Chain:
    """Gradient transforms followed by one update rule, as one rule.

    Args:
      *parts: any number of transforms (`ClipByGlobalNorm`, `ClipByValue`, `WeightDecay`, or a class
        of your own with `init`, `update` and `transforms_gradients = True`), and last the rule.

    Returns:
      A rule.

    Raises:
      ValueError: a transform is last or a rule is not; after the rule an update is negative
        already, so that weight decay there would ascend.

    Example:
      >>> import jaxgd as gd
      >>> rule = gd.chain(gd.ClipByGlobalNorm(1.0), gd.Adam(1e-3))
      >>> rule.learning_rate
      0.001
    """
    for i, part in enumerate(parts):
        _check_instance(part, "chain")
        is_last = i == len(parts) - 1
        if is_transform(part) == is_last:
            place = "comes last, where a rule must be" if is_last else "comes before the last place"
            raise ValueError(
                f"chain takes gradient transforms and then one rule; {type(part).__name__} {place}"
            )
    if not parts:
        raise ValueError("chain takes gradient transforms and then one rule; got nothing")
    return Chain(tuple(parts[:-1]), parts[-1])


def _check_instance(part: Any, name: str) -> None:
    if isinstance(part, type) or not is_rule(part):
        kind = f"the class {part.__name__}" if isinstance(part, type) else shown(part)
        raise ValueError(f"{name} takes rules, that is, instances with init and update: {kind}")


def check_wrapped(rule: Any, name: str) -> None:
    """Raise a ValueError unless `rule` is one that `name` can wrap: no transform of gradients."""
    _check_instance(rule, name)
    if is_transform(rule):
        raise ValueError(
            f"{name} takes rules; {type(rule).__name__} only transforms gradients: put it into a "
            f"gd.chain, before a rule"
        )


def name_of(rule: Any) -> str:
    """The names of a rule's classes, those of its parts in brackets."""
    parts = parts_of(rule)
    return type(rule).__name__ + (f"({', '.join(map(name_of, parts))})" if parts else "")


def learning_rate_of(rule: Any) -> Any:
    """The rule's learning rate, one number or a schedule; None for a foreign rule."""
    rate: Any = None if is_foreign(rule) else getattr(rule, "learning_rate", None)
    return rate if callable(rate) or (is_quantity(rate) and not jnp.ndim(rate)) else None


def rates_from(rule: Any, first: Any, length: int) -> Any:
    """The learning rates of `length` steps from `first` on; None if there is no schedule."""
    rate = learning_rate_of(rule)
    if not callable(rate):
        return None
    return jax.vmap(functools.partial(rate_at, rate))(first + jnp.arange(length, dtype=jnp.int32))
