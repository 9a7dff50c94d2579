"""Averages of iterates, exponential and uniform, kept beside any rule."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgd.canonical import canonical_float
from jaxgd.pytree import number, pytree
from jaxgd.rules.base import (
    by_leaf,
    check_wrapped,
    forwarded,
    learning_rate_of,
    no_weight,
    none_yet,
    weigh,
    zeros,
)
from jaxgd.tree import PyTree


class AverageState(NamedTuple):
    """What is known of the iterates before the current one, and the state of the rule inside.

    An iterate enters the mean when the rule is called at it. So the mean is of where the run has
    been, not of where the rule wanted to go: bounds and rounding are made after the rule.
    """

    seen: Any
    """The step of the current iterate; for an exponential average the weight up to it."""
    share: jax.Array
    """The current iterate's part in the average of all so far; 1 if it is the first of them."""
    mean: PyTree
    """The average before it."""
    rule: Any


@pytree
class ExponentialAverage:
    """A rule beside which recent iterates are averaged; made by `average`."""

    rule: Any
    decay: Any = number(
        default=0.999, doc="how much of the average a step keeps", at_least=0, below=1
    )

    @property
    def parts(self) -> tuple[Any, ...]:
        """The rule inside."""
        return (self.rule,)

    @property
    def learning_rate(self) -> Any:
        """That of the rule inside."""
        return learning_rate_of(self.rule)

    def init(self, params: PyTree) -> AverageState:
        """The start alone, which no later average has in it."""
        return _begun(no_weight(), params, self.rule)

    def update(
        self, grads: PyTree, state: AverageState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        """The rule's updates, and the next state."""
        w = weigh(self.decay, state.seen)
        share = (1 - jnp.asarray(self.decay, w.dtype)) / w
        updates, mean, inner = _inside(self.rule, grads, state, params, extra)
        return updates, AverageState(w, share, mean, inner)


@pytree
class UniformAverage:
    """A rule beside which iterates are averaged with equal weights; made by `average`."""

    rule: Any
    start: Any = number(default=1, doc="step of the first iterate", whole=True, at_least=0)
    every: Any = number(default=1, doc="steps from one to the next", whole=True, at_least=1)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The rule inside."""
        return (self.rule,)

    @property
    def learning_rate(self) -> Any:
        """That of the rule inside."""
        return learning_rate_of(self.rule)

    def init(self, params: PyTree) -> AverageState:
        """The start alone."""
        return _begun(none_yet(), params, self.rule)

    def update(
        self, grads: PyTree, state: AverageState, params: PyTree, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        """The rule's updates, and the next state."""
        t = state.seen + 1
        late = t - self.start
        n = jnp.maximum(late // self.every + 1, 1).astype(canonical_float())
        share = jnp.where(late % self.every == 0, 1 / n, 0)
        updates, mean, inner = _inside(self.rule, grads, state, params, extra)
        return updates, AverageState(t, jnp.where(late > 0, share, 1), mean, inner)


def _begun(seen: Any, params: PyTree, rule: Any) -> AverageState:
    return AverageState(seen, jnp.ones((), canonical_float()), zeros(params), rule.init(params))


def _inside(
    rule: Any, grads: PyTree, state: AverageState, params: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, PyTree, Any]:
    """The rule's updates, the mean with the current iterate in it, and the rule's next state."""
    _, mean = _with_current(state, params, counts=True)
    updates, inner = rule.update(grads, state.rule, params, **forwarded(rule, extra))
    return updates, mean, inner


def _with_current(state: AverageState, params: PyTree, *, counts: Any) -> tuple[PyTree, ...]:
    """The average with the current iterate in it: in the dtypes of `params`, and as it is kept."""

    def equations(h: Any, x: Any, mean: Any) -> Any:
        # The first one as it is: mean + (x - mean) would round it.
        after = jnp.where(h.share == 1, x, mean + h.share * (x - mean))
        after = after if counts is True else jnp.where(counts, after, mean)
        return after, after

    return by_leaf(equations, SimpleNamespace(share=state.share), params, state.mean)


def averages_in(state: Any) -> list[AverageState]:
    """The states of averages in the state of a rule."""

    def is_average(node: Any) -> bool:
        return isinstance(node, AverageState)

    return [node for node in jax.tree.leaves(state, is_leaf=is_average) if is_average(node)]


def averages_all(state: Any, params: PyTree) -> bool:
    """Whether the state of a rule holds one average, and that is of all the params."""
    forms = [jax.tree.structure(found.mean) for found in averages_in(state)]
    return forms == [jax.tree.structure(params)]


def average_in(state: Any, params: PyTree, *, counts: Any = True) -> PyTree:
    """The average that the state of a rule holds, with the current iterate `params` in it.

    Where `counts` is False, which may be traced, it is that of the iterates before.

    Raises:
      ValueError: it holds none, or several, or that of other params.
    """
    found = averages_in(state)
    if len(found) != 1:
        raise ValueError(
            f"averaged needs the state of a rule with one average in it, and this one has "
            f"{len(found) or 'none'}: the rule must be gd.average(rule), or have one in it"
        )
    if not averages_all(state, params):
        form: Any = jax.tree.structure(params)
        raise ValueError(
            f"averaged: the average is one of {jax.tree.structure(found[0].mean)}, and the params "
            f"are {form}; of all params at once it is one if gd.average is around gd.partition"
        )
    return _with_current(found[0], params, counts=counts)[0]


def average(
    rule: Any, decay: Any = None, *, start: Any = None, every: Any = None
) -> ExponentialAverage | UniformAverage:
    """A rule that keeps an average of its iterates, which `averaged` returns.

    The steps are those of `rule`: nothing but the average is added. Iterates are counted as in a
    history: that of step t is where t updates have led to, and step 0 is the start.

        mean_t = sum_i decay^(t - i) x_i / sum_i decay^(t - i),  i = 1 ... t      (exponential)
        mean_t = the mean of x_start, x_(start + every), ... up to x_t            (uniform)

    Before the first iterate that counts the average is the current one.

    Args:
      rule: the rule inside; its iterates are averaged as they are after bounds.
      decay: how much of the exponential average a step keeps; by default 0.999, which averages
        about the last thousand iterates.
      start: the step of the first iterate of a uniform average; by default 1.
      every: steps from one iterate in it to the next; by default 1.

    Returns:
      A rule, whose numbers are traced. Its state holds one more tree like the params, in float32 at
      least.

    Raises:
      ValueError: `decay` is given with `start` or `every`, or `rule` is none.

    Reference: Polyak and Juditsky (1992), doi:10.1137/0330046; Izmailov et al. (2018),
    arXiv:1803.05407, for the uniform one with `start` and `every`.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> rule = gd.average(gd.GradientDescent(0.9), start=1)
      >>> result = gd.minimize(lambda x: x ** 2, 1.0, rule, max_steps=4, keep="last",
      ...                      record=gd.Record(params=True))
      >>> [round(float(x), 4) for x in result.history.params]
      [1.0, -0.8, 0.64, -0.512, 0.4096]
      >>> round(float(gd.averaged(result)), 4)
      -0.0656
    """
    check_wrapped(rule, "average")
    if start is None and every is None:
        return ExponentialAverage(rule, 0.999 if decay is None else decay)
    if decay is not None:
        raise ValueError(
            "average is exponential with decay and uniform with start or every: give one of them"
        )
    return UniformAverage(rule, 1 if start is None else start, 1 if every is None else every)
