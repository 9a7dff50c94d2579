"""The average of a run's iterates, from what the run returned."""

from typing import Any

import jax

from jaxgd.packing import Packed, packing_of
from jaxgd.refusal import described
from jaxgd.result import Result
from jaxgd.rules import average_in
from jaxgd.runs import Runs
from jaxgd.tree import PyTree, divide, leaf_kind


def averaged(of: Any, params: PyTree = None) -> PyTree:
    """The average of iterates that a rule made by `average` has kept.

    It is of all iterates up to the last one that a run has made, whichever of them the run returns.

    Args:
      of: the result of `minimize` or of many runs; or, in a loop of your own, the rule's state.
      params: in a loop of your own, the params after the last update; else None.

    Returns:
      A pytree like the params, in their dtypes, with a leading axis if there are many runs; what is
      held fixed is as it was.

    Raises:
      TypeError, ValueError: there is no average, or several, or `params` do not belong to it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxgd as gd
      >>> rule, x = gd.average(gd.GradientDescent(0.75), decay=0.5), jnp.ones(())
      >>> state = rule.init(x)
      >>> for _ in range(2):
      ...     updates, state = rule.update(2 * x, state, x)
      ...     x = x + updates
      >>> float(x), round(float(gd.averaged(state, x)), 6)
      (0.25, 0.0)
    """
    if params is not None and isinstance(of, Runs | Result):
        raise TypeError("averaged takes params with the state of a rule, not with a result")
    if isinstance(of, Runs):
        if of.averaged is None:
            raise ValueError(
                "averaged needs runs of a rule with one average of all params: gd.average(rule)"
            )
        return of.averaged
    if isinstance(of, Result):
        return _of_result(of)
    if params is None:
        raise TypeError(
            "averaged takes the result of gd.minimize, or the state of a rule and the params after "
            f"the last update, averaged(state, params); got {described(of)} and no params"
        )
    return average_in(of, params)


def _of_result(result: Result) -> PyTree:
    if result.state is None:
        raise TypeError(
            "averaged takes the result of gd.minimize: that of gd.descend has no state; of many "
            "runs gd.averaged(runs) has the averages"
        )
    carry = result.state.carry
    moving, held, layout = divide(result.params, lambda leaf: leaf_kind(leaf, result.params))
    mean = average_in(carry.state, carry.x)
    if isinstance(mean, Packed):
        shapes = jax.eval_shape(lambda: layout.moving_tree(moving))
        packing = packing_of(shapes)
        assert packing is not None
        mean = packing.unpack(mean)
    return layout.merge(jax.device_put(jax.tree.leaves(mean)), held)
