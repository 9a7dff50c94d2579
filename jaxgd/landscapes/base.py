"""What every landscape offers, and the checks that they share."""

from typing import Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jaxgd.refusal import shown

Float64s: TypeAlias = npt.NDArray[np.float64]


@runtime_checkable
class Landscape(Protocol):
    """A loss over vectors of a fixed length, with what is known about its minima.

    The known values are NumPy arrays in double precision, whatever the precision in which JAX
    computes, so that an error measured against them is the optimiser's error and not theirs.

    A landscape whose loss means nothing outside of its domain says so with
    `bounded: ClassVar[bool] = True`; the command line then keeps its runs inside.

    >>> from jaxgd.landscapes import Booth
    >>> isinstance(Booth(), Landscape)
    True
    """

    @property
    def dimensions(self) -> int:
        """The length n of the vectors on which the loss is defined."""

    @property
    def domain(self) -> tuple[Float64s, Float64s]:
        """The lower and upper bounds, each of shape (n,), of the box that is usually searched."""

    @property
    def minima(self) -> Float64s:
        """All the known global minimisers, one in each row, of shape (k, n)."""

    @property
    def minimum(self) -> float:
        """The loss at the global minimisers."""

    @property
    def start(self) -> Float64s:
        """A starting point of shape (n,): the literature's where it gives one."""

    @property
    def reference(self) -> str:
        """Where the landscape was published."""

    def __hash__(self) -> int:
        """Return a hash, so that a landscape can be a static argument of `jax.jit`."""

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Return the loss at `x` of shape (n,), a scalar in the dtype of `x`."""


def as_point(x: ArrayLike, dimensions: int) -> jax.Array:
    """Return `x` as an array of floats, or raise ValueError unless its shape is (dimensions,).

    >>> as_point([1, 2], 2).tolist()
    [1.0, 2.0]
    """
    if not isinstance(x, jax.Array) and np.asarray(x).dtype.kind in "OSUM":
        raise ValueError(f"x is {shown(x)}; expected an array of {dimensions} real numbers")
    point = jnp.asarray(x)
    # Without this check a vector of the wrong length would give a plausible loss, since most of
    # the formulas hold for any length.
    if point.shape != (dimensions,):
        raise ValueError(f"x has shape {point.shape}; expected ({dimensions},)")
    if jnp.issubdtype(point.dtype, jnp.floating):
        return point
    if jnp.issubdtype(point.dtype, jnp.integer):
        return point.astype(jnp.result_type(float))
    raise ValueError(f"x has dtype {point.dtype}; expected real numbers")


def check_dimensions(dimensions: object, at_least: int) -> None:
    """Raise ValueError unless `dimensions` is an int of the least value or more.

    >>> check_dimensions(1, at_least=2)
    Traceback (most recent call last):
    ...
    ValueError: dimensions is 1; expected an int >= 2
    """
    # bool is a subclass of int, but a landscape of True dimensions is a mistake.
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < at_least:
        raise ValueError(f"dimensions is {shown(dimensions)}; expected an int >= {at_least}")


def cube(lower: float, upper: float, dimensions: int) -> tuple[Float64s, Float64s]:
    """Return the bounds of the box whose sides all run from `lower` to `upper`.

    >>> cube(-1.0, 2.0, 2)
    (array([-1., -1.]), array([2., 2.]))
    """
    return np.full(dimensions, lower), np.full(dimensions, upper)
