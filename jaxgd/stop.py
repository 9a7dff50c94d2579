"""The tests that end a run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import canonical, canonical_float
from jaxgd.pytree import number, pytree
from jaxgd.refusal import shown
from jaxgd.status import Status


@pytree
class Tally:
    """What the tests remember from row to row: the last loss, and consecutive hits by test."""

    previous: jax.Array
    hits: dict[str, jax.Array]


@pytree
class Stop:
    """When to end a run before `max_steps`; a test that is not given is not made.

    With f the loss, g the gradient, x the params, and ' for the row before:

        target    f <= target                                      TARGET_REACHED
        gtol      max |g| <= gtol                                  CONVERGED_GRADIENT
        ftol      |f - f'| <= ftol                                 CONVERGED_LOSS
        frtol     |f - f'| <= frtol max(|f|, tiny)                 CONVERGED_LOSS
        xtol      max |x - x'| / (1 + |x|) <= xtol                 CONVERGED_PARAMS

    They are made on the device at every row, in this order; each counts its consecutive hits, and
    ends the run when it has `patience` of them. Under bounds, g is the projected gradient
    clip(x - g) - x. All numbers are traced: another tolerance compiles nothing anew.

    A step at a rate of 0, such as the first of a Warmup from 0 and all after the end of a
    CosineDecay, moves nothing, which meets ftol, frtol and xtol: give `patience`, or a rate that
    stays above 0.

    Reference: Gill, Murray and Wright (1981), Practical Optimization, section 8.2.3.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: jnp.sum(x ** 2), jnp.ones(2), gd.GradientDescent(0.1),
      ...                      stop=gd.Stop(gtol=1e-3))
      >>> gd.Status(result.status).name, int(result.steps)
      ('CONVERGED_GRADIENT', 35)
    """

    ftol: Any = number(default=None, doc="smallest change of the loss, absolute", at_least=0)
    frtol: Any = number(default=None, doc="smallest change of the loss, relative to it", at_least=0)
    xtol: Any = number(
        default=None, doc="smallest move of a parameter, relative to 1 + it", at_least=0
    )
    gtol: Any = number(default=None, doc="largest gradient entry taken for zero", at_least=0)
    target: Any = number(default=None, doc="loss at which to stop")
    patience: Any = number(
        default=1, doc="consecutive hits that end the run", whole=True, at_least=1
    )

    @property
    def given(self) -> tuple[str, ...]:
        """The tests that are made, in order."""
        return tuple(name for name in _STATUS if getattr(self, name) is not None)

    def begin(self) -> Tally:
        """The tally before the first row."""
        # NaN: no change is small against it, so ftol and frtol pass over the first row.
        previous: Any = np.asarray(np.nan, canonical_float())
        return Tally(previous, {name: jnp.zeros((), jnp.int32) for name in self.given})

    def test(
        self, tally: Tally, loss: jax.Array, grad_norm: Any, move: Any
    ) -> tuple[Tally, jax.Array]:
        """Make the tests on one row.

        Args:
          tally: that of the row before.
          loss: scalar.
          grad_norm: scalar max-norm of the (projected) gradient; None without gtol.
          move: scalar, the largest relative move that led to this row; None without xtol.

        Returns:
          The tally with this row, and an int32 status, RUNNING if no test ends the run.
        """
        loss = jnp.asarray(loss, canonical_float())
        change = jnp.abs(loss - tally.previous)
        status = jnp.full((), Status.RUNNING, jnp.int32)
        counts = {}
        for name in reversed(self.given):
            hit = self._hit(name, loss, change, grad_norm, move)
            counts[name] = jnp.where(hit, tally.hits[name] + 1, 0)
            ends = counts[name] >= jnp.asarray(self.patience, jnp.int32)
            status = jnp.where(ends, jnp.int32(_STATUS[name]), status)
        compares = self.ftol is not None or self.frtol is not None
        return Tally(loss if compares else tally.previous, counts), status

    def _hit(self, name: str, loss: Any, change: Any, grad_norm: Any, move: Any) -> jax.Array:
        limit = jnp.asarray(getattr(self, name), canonical_float())
        if name == "frtol":
            limit = limit * jnp.maximum(jnp.abs(loss), np.finfo(loss.dtype).tiny)
        sizes = {"target": loss, "gtol": grad_norm, "ftol": change, "frtol": change, "xtol": move}
        return jnp.asarray(sizes[name], canonical_float()) <= limit


_STATUS = {
    "target": Status.TARGET_REACHED,
    "gtol": Status.CONVERGED_GRADIENT,
    "ftol": Status.CONVERGED_LOSS,
    "frtol": Status.CONVERGED_LOSS,
    "xtol": Status.CONVERGED_PARAMS,
}


def checked_stop(stop: Stop | None, *, stochastic: bool) -> Stop:
    """`stop` with canonical numbers, refused where it cannot be tested."""
    if stop is None:
        return _NO_STOP
    if not isinstance(stop, Stop):
        raise TypeError(f"stop must be a gd.Stop, got {shown(stop)}")
    if stochastic:
        for name in ("ftol", "frtol"):
            if getattr(stop, name) is not None:
                raise ValueError(
                    f"stop.{name} compares losses, and those of a stochastic loss differ by "
                    "chance: use gtol, xtol, target with patience, or max_steps"
                )
    checked: Stop = canonical(stop, "stop")
    return checked


_NO_STOP: Stop = canonical(Stop(), "stop")
