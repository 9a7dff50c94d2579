"""Samplers of starting points: in a box, or around a point."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes

from jaxgd.bounds import first, known, ordered_bounds, spread
from jaxgd.canonical import as_count
from jaxgd.refusal import described, leaves_of
from jaxgd.tree import PyTree, divide, leaf_kind, strong

_Whole = Callable[[Iterable[Any]], PyTree]


def uniform(params: PyTree, bounds: Any, count: int, *, seed: int = 0) -> PyTree:
    """Draw points that are independent and uniform in a box.

    Args:
      params: one run's params; only structure, shapes and dtypes count.
      bounds: a pair (lower, upper) of finite numbers or prefix pytrees of params, whose leaves are
        numbers or shaped like the leaf of params.
      count: how many points to draw.
      seed: a whole number >= 0.

    Returns:
      A pytree like params, each float leaf of shape (count, *leaf.shape) and inside the bounds.

    Raises:
      TypeError, ValueError: params has a complex leaf or no float one; bounds do not fit it, are
        reversed or open; count or seed is no such number.

    >>> points = uniform({"w": np.zeros(3), "b": 0.0}, (-1, 1), 100)
    >>> points["w"].shape, points["b"].shape
    ((100, 3), (100,))
    """
    return _in_box(params, bounds, count, seed, lambda rng, shape: rng.random(shape))


def latin_hypercube(params: PyTree, bounds: Any, count: int, *, seed: int = 0) -> PyTree:
    """Draw points in a box that are spread evenly along every coordinate.

    Each coordinate's side is cut into `count` strata of equal length, and every stratum holds
    exactly one point.

    Args:
      params: one run's params; only structure, shapes and dtypes count.
      bounds: a pair (lower, upper) of finite numbers or prefix pytrees of params, whose leaves are
        numbers or shaped like the leaf of params.
      count: how many points to draw.
      seed: a whole number >= 0.

    Returns:
      A pytree like params, each float leaf of shape (count, *leaf.shape) and inside the bounds.

    Raises:
      TypeError, ValueError: params has a complex leaf or no float one; bounds do not fit it, are
        reversed or open; count or seed is no such number.

    Reference: McKay, Beckman and Conover, 1979, A comparison of three methods for selecting values
    of input variables in the analysis of output from a computer code,
    doi:10.1080/00401706.1979.10489755.

    >>> points = latin_hypercube(np.zeros(2), (0, 10), 5)
    >>> sorted(np.floor(points[:, 0] / 2).tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def unit(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
        from scipy.stats import qmc

        return qmc.LatinHypercube(shape[1], rng=rng).random(shape[0])

    return _in_box(params, bounds, count, seed, unit)


def sobol(params: PyTree, bounds: Any, count: int, *, seed: int = 0) -> PyTree:
    """Draw points of a scrambled Sobol sequence, which fill a box evenly.

    The balance is best where `count` is a power of two: then every half, quarter and so on of each
    coordinate's side holds equally many points. Any other count is the beginning of such a set.

    Args:
      params: one run's params; only structure, shapes and dtypes count.
      bounds: a pair (lower, upper) of finite numbers or prefix pytrees of params, whose leaves are
        numbers or shaped like the leaf of params.
      count: how many points to draw.
      seed: a whole number >= 0; it selects the scrambling.

    Returns:
      A pytree like params, each float leaf of shape (count, *leaf.shape) and inside the bounds.

    Raises:
      TypeError, ValueError: params has a complex leaf, no float one or more than 21201 entries;
        bounds do not fit it, are reversed or open; count or seed is no such number.

    Reference: Sobol, 1967, On the distribution of points in a cube and the approximate evaluation
    of integrals, doi:10.1016/0041-5553(67)90144-9; scrambling: Owen, 1998, Scrambling Sobol' and
    Niederreiter-Xing points, doi:10.1006/jcom.1998.0487.

    >>> points = sobol(np.zeros(2), (0, 4), 8)
    >>> sorted(np.floor(points[:, 0]).tolist())
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    """

    def unit(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
        from scipy.stats import qmc

        if shape[1] > qmc.Sobol.MAXDIM:
            raise ValueError(
                f"sobol has {qmc.Sobol.MAXDIM} dimensions at most, and params has {shape[1]} "
                "entries to sample: use latin_hypercube, which has no limit"
            )
        # The same points in one call, but for a power of two, come with a warning.
        sequence = qmc.Sobol(shape[1], rng=rng)
        return np.concatenate([sequence.random(1), sequence.random(shape[0] - 1)])

    return _in_box(params, bounds, count, seed, unit)


def normal(
    params: PyTree,
    count: int,
    *,
    mean: Any = 0.0,
    scale: Any = 1.0,
    bounds: Any = None,
    seed: int = 0,
) -> PyTree:
    """Draw points whose entries are independent and normal.

    Under bounds the distribution is the truncated normal: what it would be if all points outside
    were drawn anew.

    Args:
      params: one run's params; only structure, shapes and dtypes count.
      count: how many points to draw.
      mean: a number or a pytree that is a prefix of params, each leaf a number or shaped like its
        leaf of params; None is 0.
      scale: the standard deviation before truncation, likewise; >= 0, None is 1.
      bounds: None, or a pair (lower, upper) likewise; None and infinite sides are open.
      seed: a whole number >= 0.

    Returns:
      A pytree like params, each float leaf of shape (count, *leaf.shape) and inside the bounds.

    Raises:
      TypeError, ValueError: params has a complex leaf or no float one; mean, scale or bounds do not
        fit it; mean or scale is not finite, scale negative, bounds reversed; count or seed is no
        such number.

    Reference: Devroye, 1986, Non-Uniform Random Variate Generation, section II.2,
    doi:10.1007/978-1-4613-8643-8.

    >>> points = normal({"w": np.zeros(3)}, 100, scale=2.0, bounds=(0, None))
    >>> points["w"].shape, bool(points["w"].min() >= 0)
    ((100, 3), True)
    """
    return _bells(params, count, bounds, seed, (("mean", mean, 0.0), ("scale", scale, 1.0)))


def around(params: PyTree, scale: Any, count: int, *, bounds: Any = None, seed: int = 0) -> PyTree:
    """Draw points around given params, with normal noise of standard deviation `scale`.

    Under bounds the distribution is the truncated normal; the params themselves may be outside.

    Args:
      params: the centre.
      scale: the standard deviation before truncation: a number or a pytree that is a prefix of
        params, each leaf a number or shaped like its leaf of params; >= 0.
      count: how many points to draw.
      bounds: None, or a pair (lower, upper) likewise; None and infinite sides are open.
      seed: a whole number >= 0.

    Returns:
      A pytree like params, each float leaf of shape (count, *leaf.shape) and inside the bounds.

    Raises:
      TypeError, ValueError: params has a complex leaf, no float one or one that is not finite;
        scale or bounds do not fit it; scale is not finite or negative, bounds reversed; count or
        seed is no such number.

    >>> around({"w": np.array([1.0, 2.0])}, 0.0, 2)["w"].tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return _bells(params, count, bounds, seed, (("params", params, None), ("scale", scale, None)))


def _in_box(params: PyTree, bounds: Any, count: Any, seed: Any, unit: Callable[..., Any]) -> PyTree:
    """Points that `unit` draws in the unit cube, brought into the box."""
    count, rng, x, whole = _posed(params, count, seed, bounds)
    sides = ordered_bounds(bounds, params, x)
    for side, tree in enumerate(sides):
        expected = "finite in its dtype: give it a number, or draw with starts.normal"
        _require(f"bounds[{side}]", tree, np.isfinite, expected)
    leaves, lower, upper = map(jax.tree.leaves, (x, *sides))
    ends = np.cumsum([leaf.size for leaf in leaves])
    columns = np.split(unit(rng, (count, int(ends[-1]))), ends[:-1], axis=1)
    return whole(
        _fitted(_between(share.reshape(count, *leaf.shape), low, high), low, high)
        for share, leaf, low, high in zip(columns, leaves, lower, upper, strict=True)
    )


def _bells(
    params: PyTree, count: Any, bounds: Any, seed: Any, given: tuple[tuple[str, Any, Any], ...]
) -> PyTree:
    """Points of truncated normals; of mean and scale are given the name, the tree, what None is."""
    count, rng, x, whole = _posed(params, count, seed, (given, bounds))
    sides = ordered_bounds((None, None) if bounds is None else bounds, params, x)
    mean, scale = (spread(name, tree, params, x, missing=none) for name, tree, none in given)
    _require(given[0][0], mean, np.isfinite, "finite in its dtype")
    _require("scale", scale, lambda a: (a >= 0) & np.isfinite(a), "finite in its dtype and >= 0")
    return whole(
        _bell(rng.uniform(np.finfo(np.float64).eps, 1.0, (count, *leaf.shape)), *numbers)
        for leaf, *numbers in zip(*map(jax.tree.leaves, (x, *sides, mean, scale)), strict=True)
    )


def _posed(
    params: PyTree, count: Any, seed: Any, given: Any
) -> tuple[int, np.random.Generator, PyTree, _Whole]:
    """The count, the generator, the tree of leaves to sample, and what completes their points."""
    count, seed = as_count(count, "count", at_least=1), as_count(seed, "seed", at_least=0)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves_of({"params": params, "": given})):
        raise ValueError("starts are drawn on the host: draw them outside of jit, vmap and grad")
    moving, held, layout = divide(params, lambda leaf: leaf_kind(leaf, params))
    if not moving:
        raise ValueError(
            "params has no leaf to sample: expected a pytree with float arrays or Python floats, "
            f"got {described(params)}"
        )
    x = layout.moving_tree(map(strong, moving))
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        if jnp.iscomplexobj(leaf):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} must be real, got {leaf.dtype}: sample the "
                "real and the imaginary part as two leaves and put them together"
            )
    keys = [jnp.issubdtype(leaf.dtype, dtypes.prng_key) for leaf in held]
    repeated = [
        (jnp if is_key else np).broadcast_to(leaf, (count, *leaf.shape))
        for is_key, leaf in zip(keys, held, strict=True)
    ]
    return count, np.random.default_rng(seed), x, lambda made: layout.merge(made, repeated)


def _require(name: str, tree: PyTree, holds: Callable[[Any], Any], expected: str) -> None:
    for path, leaf in known(tree):
        right = holds(leaf)
        if not np.all(right):
            at, value = first(~right, leaf)
            raise ValueError(f"{name}{path}{at} must be {expected}, got {value}")


def _between(share: Any, low: Any, high: Any) -> Any:
    """The point at `share` of the way; by halves, as the whole way may be beyond all floats."""
    start, end = np.asarray(low, np.float64) / 2, np.asarray(high, np.float64) / 2
    return 2 * (share * (end - start) + start)


def _fitted(points: Any, low: Any, high: Any) -> Any:
    """The points in the dtype of the sides, which rounding must not take them out of."""
    with np.errstate(over="ignore"):
        cast = points.astype(low.dtype)
    return np.minimum(np.maximum(cast, low, out=cast), high, out=cast)


_FAR = 1e150
"""In standard deviations: beyond it, squares overflow."""


def _bell(share: Any, lower: Any, upper: Any, mean: Any, scale: Any) -> Any:
    """Truncated normals by the inverse of their distribution function, in logarithms."""
    from scipy.special import log_ndtr, ndtri_exp

    floats = jnp.finfo(lower.dtype)  # type: ignore[no-untyped-call]
    low, high, mean, scale = (np.asarray(a, np.float64) for a in (lower, upper, mean, scale))
    low, high = (np.clip(side, float(floats.min), float(floats.max)) for side in (low, high))
    with np.errstate(over="ignore"):
        unit = np.maximum(scale, np.finfo(np.float64).tiny)
        a, b = (np.clip((side - mean) / unit, -_FAR, _FAR) for side in (low, high))
        # Mirrored, so that the longer tail is the lower one: small probabilities keep their digits.
        sign = np.where(a + b > 0, -1.0, 1.0)
        near, far = log_ndtr(np.where(sign > 0, b, -a)), log_ndtr(np.where(sign > 0, a, -b))
        points = mean + scale * (sign * ndtri_exp(near + np.log1p(np.expm1(far - near) * share)))
        # A box so small against the scale would be lost in the rounding; the density is flat there.
        flat = (high - low) / unit * np.maximum(1, np.maximum(np.abs(a), np.abs(b))) < 1e-7
    if np.any(flat):
        points = np.where(flat, _between(share, low, high), points)
    return _fitted(points, low.astype(lower.dtype), high.astype(lower.dtype))
