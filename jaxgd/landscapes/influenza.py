"""The influenza landscape: an epidemic model's fit to the counts of an outbreak."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .base import Float64s, as_point, cube

_BOYS = 763
# At 20 the loss is off by 2e-8 of itself at the best fit and by 1e-6 where each parameter is 5
# percent away, just below what float32 rounds; at 10 both are 15 times as much. The fastest rates
# of the domain, 30 a day, times the step make 1.5: RK4 is stable up to 2.78.
_STEPS_A_DAY = 20


@final
@dataclass(frozen=True)
class Influenza:
    """Fit of the SIR equations to the influenza in an English boarding school, in four dimensions.

    S boys of N = 763 can catch it and I are infected:

        dS/dt = -beta S I / N,    dI/dt = beta S I / N - gamma I,    S(0) = N - I(0),

    by the classical Runge-Kutta method in 20 steps a day, in the dtype of `x`. `x` holds the
    natural logarithms of beta, the transmission rate per day; gamma, the recovery rate per day;
    I(0), the boys infected on day 0, the day before the first count; and c, the boys in bed per
    infected boy. f(x) is the mean of (c I(t) - `observed`_t)^2 over days t = 1 to 14, in boys^2.

    In the domain each of the four lies between 0.03 and 30. The start is a newcomer's guess: one
    infected boy, who infects one a day for three days, and all the infected in bed. A search from
    300 random points found no other minimum inside, but a long, curved valley towards beta = gamma
    with a growing c, and plateaus where nobody or everybody is infected before the first count.

    Reference: Anonymous, Influenza in a boarding school, British Medical Journal 1(6112):587,
    1978; with the model, Murray, Mathematical Biology I, 2002, section 10.2, and Keeling and
    Rohani, Modeling Infectious Diseases, 2008, whose rates, 1.66 and 1 / 2.2, have no scale c.

    >>> import jax.numpy as jnp
    >>> round(float(Influenza()(jnp.log(jnp.array([1.66, 1 / 2.2, 1.0, 1.0])))), 1)
    318.5
    """

    dimensions: ClassVar[int] = 4
    minimum: ClassVar[float] = 255.2956131281793
    bounded: ClassVar[bool] = True
    """Outside of the domain, rates may be so fast that the Runge-Kutta method is not stable."""
    observed: ClassVar[tuple[int, ...]] = (
        *(3, 8, 26, 76, 225, 298, 258),
        *(233, 189, 128, 68, 29, 14, 4),
    )
    """The boys confined to bed on days 1 to 14, from 22 January 1978 on."""
    reference: ClassVar[str] = (
        "Anonymous, 1978, Influenza in a boarding school, British Medical Journal 1(6112):587"
    )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x`."""
        curve = self.curve(x)
        return jnp.mean((curve - jnp.asarray(self.observed, curve.dtype)) ** 2)

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds of the box that is usually searched."""
        return cube(math.log(0.03), math.log(30.0), 4)

    @property
    def minima(self) -> Float64s:
        """The global minimisers, one in each row."""
        # The root of the gradient, by Newton's method in 19 decimal digits, rounded; so is the
        # loss there.
        return np.array(
            [[0.5715236171128918, -0.7376547563648904, -0.46377608442878115, 0.05355708684252437]]
        )

    @property
    def start(self) -> Float64s:
        """The point from which to descend."""
        return np.array([0.0, -math.log(3), 0.0, 0.0])

    def curve(self, x: ArrayLike) -> jax.Array:
        """Return the boys in bed that the model predicts for days 1 to 14.

        >>> Influenza().curve(Influenza().minima[0])[:5].round().tolist()
        [2.0, 9.0, 30.0, 92.0, 208.0]
        """
        scale = jnp.exp(as_point(x, self.dimensions)[3])
        return scale * self.trajectory(x)[:, 1]

    def reproduction_number(self, x: ArrayLike) -> jax.Array:
        """Return how many boys one infected boy infects where all others can catch it.

        >>> round(float(Influenza().reproduction_number(Influenza().minima[0])), 2)
        3.7
        """
        point = as_point(x, self.dimensions)
        return jnp.exp(point[0] - point[1])

    def trajectory(self, x: ArrayLike) -> jax.Array:
        """Return S and I on days 1 to 14, of shape (14, 2).

        >>> Influenza().trajectory(Influenza().minima[0])[-1].round().tolist()
        [23.0, 20.0]
        """
        beta, gamma, infected, _ = jnp.exp(as_point(x, self.dimensions))

        def slope(state: jax.Array) -> jax.Array:
            infections = beta * state[0] * state[1] / _BOYS
            return jnp.stack([-infections, infections - gamma * state[1]])

        def step(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            h = 1 / _STEPS_A_DAY
            k1 = slope(state)
            k2 = slope(state + h / 2 * k1)
            k3 = slope(state + h / 2 * k2)
            k4 = slope(state + h * k3)
            following = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return following, following

        first = jnp.stack([_BOYS - infected, infected])
        steps = len(self.observed) * _STEPS_A_DAY
        _, states = jax.lax.scan(step, first, None, steps)
        return states[_STEPS_A_DAY - 1 :: _STEPS_A_DAY]
