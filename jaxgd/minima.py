"""Which minima many runs ended in, and how the loss curves there."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxgd.refusal import described
from jaxgd.tree import PyTree, brief, divide, leaf_kind, path_of, strong

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Curvature:
    """How a loss curves at a point.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from jaxgd.minima import Minimum
      >>> point = Minimum(jnp.zeros(2), 0.0, 0.0, np.array([0]))
      >>> point.curvature(lambda x: x[0] ** 2 - x[1] ** 2).kind
      'saddle'
    """

    eigenvalues: Array
    """float64 (d,): those of the Hessian, ascending."""
    kind: str
    """`"minimum"` if all are clearly positive, `"saddle"` if one is clearly negative (at a maximum
    all are), else `"flat"`: some are zero to rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum:
    """A point where runs ended.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from jaxgd.minima import Minimum
      >>> Minimum(jnp.array([1.0, 2.0]), 0.5, 1e-9, np.array([3, 0, 7]))
      Minimum(loss=0.5, count=3, params=[1. 2.])
    """

    params: PyTree
    """Those of the best of its runs."""
    loss: float
    """The loss there."""
    grad_norm: float
    """The largest gradient entry there."""
    indices: Array
    """int (count,): its runs, the best first, then by ascending loss."""

    @property
    def count(self) -> int:
        """How many runs ended here."""
        return len(self.indices)

    def curvature(self, loss: Callable[..., Any], *args: Any) -> Curvature:
        """The eigenvalues of the Hessian of `loss` here, and what kind of point they tell of.

        An eigenvalue counts as zero up to `10 * d * eps` times the largest magnitude of any: each
        of the d x d entries is rounded to eps times the largest, which together moves no eigenvalue
        by more than d times that, and 10 is for what the loss itself rounds. The eps is that of the
        coarsest dtype in params.

        Args:
          loss: what was minimised, called as `loss(params, *args)`; it returns a scalar.
          *args: its further arguments.

        Returns:
          The curvature along the d numbers that were optimised; all else in params is held.

        Raises:
          TypeError: loss is no function; or a leaf of params is complex, or nothing that can be
            optimised.
          ValueError: params holds no number to optimise or more than 5,000, or the Hessian is not
            finite.

        Example:
          >>> import jax.numpy as jnp, numpy as np
          >>> from jaxgd.minima import Minimum
          >>> point = Minimum({"x": 0.0, "y": 0.0}, 0.0, 0.0, np.array([0]))
          >>> bend = point.curvature(lambda p, a: p["x"] ** 2 + a * p["y"] ** 2, 3.0)
          >>> bend.eigenvalues, bend.kind
          (array([2., 6.]), 'minimum')
        """
        if not callable(loss):
            raise TypeError(f"loss must be a function of the params, got {described(loss)}")
        params = self.params
        moving, held, layout = divide(params, lambda leaf: leaf_kind(leaf, params))
        for leaf in filter(jnp.iscomplexobj, moving):
            where = f"params{path_of(params, leaf)}"
            raise TypeError(f"{where} is complex: curvature is there for real params only")
        size = sum(map(np.size, moving))
        if not 0 < size <= _LARGEST:
            why = "has no number to optimise" if not size else f"holds {size:,} numbers"
            much = f": their Hessian, {size:,} x {size:,}, would be too large" if size else ""
            raise ValueError(f"params {why}{much}; curvature takes 1 to {_LARGEST:,}")
        leaves = [jnp.asarray(strong(leaf)) for leaf in moving]
        with jax.numpy_dtype_promotion("standard"):  # leaves of several dtypes in one vector
            flat, restored = ravel_pytree(leaves)
        hessian = jax.hessian(lambda x: loss(layout.merge(restored(x), held), *args))(flat)
        matrix = np.asarray(hessian, np.float64)
        if not np.all(np.isfinite(matrix)):
            raise ValueError("the Hessian of loss has entries there that are not finite")
        eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
        eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)  # type: ignore[no-untyped-call]
        return Curvature(eigenvalues, _kind(eigenvalues, eps))

    def __repr__(self) -> str:
        return f"Minimum(loss={self.loss:.9g}, count={self.count:,}, params={brief(self.params)})"


_LARGEST = 5000


def _kind(eigenvalues: Array, eps: float) -> str:
    zero = 10 * eps * len(eigenvalues) * np.max(np.abs(eigenvalues))
    if eigenvalues[0] < -zero:
        return "saddle"
    return "minimum" if eigenvalues[0] > zero else "flat"


def cluster(  # noqa: PLR0917  (one after the other is how they are called)
    losses: Array, points: Array, scale_loss: float, scales: Array, rtol: float, atol: float
) -> list[Array]:
    """Which runs ended in the same minimum.

    Two are the same if `|difference| <= atol + rtol * scale` holds of their losses and of every
    coordinate. The runs are gone through by ascending loss, equal ones by index: one joins the
    first minimum whose opener it is the same as, else it opens a minimum. So no two openers are
    the same; along a valley a minimum stands about every tolerance. If both tolerances are 0 only
    identical runs are the same.

    Runs within one cell of a grid, of a quarter of the tolerances, go where the best of them goes,
    so that many runs are as fast as few: a member is within 1.25 tolerances of its opener.

    Args:
      losses: float (n,), finite.
      points: float (n, d), finite: where the runs ended.
      scale_loss: a typical size of the loss.
      scales: float (d,): a typical size of each coordinate.
      rtol: the tolerance relative to the scales.
      atol: the tolerance that is added to it.

    Returns:
      The runs of each minimum, int (count,), by ascending loss, its opener first; the minima are
      by ascending loss of their openers too.

    Example:
      >>> import numpy as np
      >>> from jaxgd.minima import cluster
      >>> points = np.array([[1.0], [-1.0], [1.0001], [-1.0]])
      >>> cluster(np.array([0.2, 0.0, 0.2, 0.1]), points, 1.0, np.ones(1), 1e-3, 0.0)
      [array([1]), array([3]), array([0, 2])]
    """
    if not len(losses):
        return []
    order = np.argsort(losses, kind="stable")
    rows = np.column_stack([losses, points])[order]
    tolerances = atol + rtol * np.concatenate([[scale_loss], scales])
    with np.errstate(over="ignore"):
        by_spread, coarse, cells = _coarse(rows, tolerances)
        _, first, cell = np.unique(cells, return_index=True, return_inverse=True)
        best = np.sort(first)
        few = _Rows(rows[best][:, by_spread], tolerances[by_spread], coarse[best])
        owner = best[few.divide()][np.searchsorted(best, first[cell])]
    by_owner = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[by_owner], prepend=-1))
    runs = order[by_owner]
    return [runs[a:b] for a, b in itertools.pairwise([*starts.tolist(), len(runs)])]


def _gaps(column: Array, tolerance: float) -> tuple[Array, Array]:
    """The order of a column, and how many tolerances each value is above the one before it.

    Gaps beyond a tolerance count 2: their sums tell whether two values are within a tolerance as
    well as the values do, but stay small, for a tolerance of 0 as well.
    """
    order = np.argsort(column)
    gaps = np.diff(column[order], prepend=column[order[0]])
    return order, np.where(gaps > tolerance, 2.0, gaps / (tolerance or 1.0))


class _Rows:
    """The rows to be divided, with what finds those of them that may be within tolerance."""

    def __init__(self, rows: Array, tolerances: Array, coarse: Array) -> None:
        self.rows, self.tolerances, self.coarse = rows, tolerances, coarse
        self.owner = np.arange(len(rows))
        """For each row, which come by ascending loss, the one that opened its minimum."""

    def divide(self) -> Array:
        """The owners, found.

        The head of the rows that are left is divided by looking at all pairs in it, then its
        openers take theirs from the rest. A head so crowded that it has too many pairs is cut:
        the first few openers own most of it.
        """
        owner, size = self.owner, _HEAD
        left, everywhere = owner.copy(), self._tree(owner)
        while left.size:
            head, rest = left[:size], left[size:]
            tree = self._tree(head)
            if size > _LEAST and self._crowd(head, tree) > _NUMBERS:
                size //= 4
                continue
            first, second = np.concatenate(list(self._same(head, head, tree)), axis=1)
            by_first = np.argsort(first, kind="stable")
            first, second = first[by_first], second[by_first]
            starts = np.flatnonzero(np.diff(first, prepend=-1)).tolist()
            for start, end in itertools.pairwise([*starts, len(first)]):
                if owner[first[start]] == first[start]:
                    theirs = second[start:end]
                    owner[theirs] = np.minimum(owner[theirs], first[start])
            openers = head[owner[head] == head] if rest.size else rest
            for a, b in self._same(openers, np.arange(len(owner)), everywhere):
                np.minimum.at(owner, b, a)
            left, size = rest[owner[rest] == rest], 4 * size
        return owner

    def _same(self, firsts: Array, seconds: Array, tree: Any) -> Iterator[Array]:
        """Pairs within tolerance, int (2, count): an earlier row, and of the tree's one unowned."""
        pieces = 1 + self._crowd(firsts, tree) // (_NUMBERS * (1 + len(self.tolerances) // 8))
        for some in (firsts[k::pieces] for k in range(pieces)):
            near = self._tree(some).sparse_distance_matrix(
                tree, _REACH, p=np.inf, output_type="ndarray"
            )
            first, second = some[near["i"]], seconds[near["j"]]
            kept = (first < second) & (self.owner[second] == second)
            pairs = np.stack([first[kept], second[kept]])
            for at in range(0, len(self.tolerances), 8):
                block = slice(at, at + 8)
                apart = np.abs(self.rows[pairs[0], block] - self.rows[pairs[1], block])
                pairs = pairs[:, np.all(apart <= self.tolerances[block], axis=1)]
            yield pairs

    def _crowd(self, firsts: Array, tree: Any) -> int:
        """About how many numbers the pairs that are near hold, judged from a sample of them."""
        step = 1 + len(firsts) // 256
        near = self._tree(firsts[::step]).count_neighbors(tree, _REACH, p=np.inf)
        return step * int(near) * len(self.tolerances)

    def _tree(self, some: Array) -> Any:
        from scipy.spatial import cKDTree  # slow to import

        return cKDTree(self.coarse[some])


_HEAD, _LEAST = 32_768, 64
_NUMBERS = 3_000_000
_REACH = 1 + 1e-6
"""The 1 of the coarse coordinates, and what their sums may round."""


def _coarse(rows: Array, tolerances: Array) -> tuple[Array, Array, Array]:
    """The order of the columns, those that tell most apart first; few coordinates; the cells.

    Rows that are within tolerance are within 1 in each of the coordinates. One numbers the sets of
    rows that no gap in any column divides, the others are the sums of gaps of a few columns. Sets
    and cells are known by a hash: that two sets may share a number only costs time, and with 64
    bits two cells never do.
    """
    n, width = rows.shape
    draw = np.random.default_rng(0)
    factors = 2 * draw.integers(2**63, size=width, dtype=np.uint64) + np.uint64(1)
    shifts, spread = draw.random(width), np.zeros(width)  # minima are often at round numbers
    sets, cells = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for j in range(width):
        order, gaps = _gaps(rows[:, j], tolerances[j])
        sums = np.cumsum(gaps)
        sets[order] += factors[j] * np.cumsum(gaps > 1).astype(np.uint64)
        cells[order] += factors[j] * (_CELLS * sums + shifts[j]).astype(np.uint64)
        spread[j] = sums[-1]
    widest = np.argsort(-spread, kind="stable")
    # As many columns as could give each row a place of its own: more would only slow the search.
    room = np.cumsum(np.log1p(spread[widest]))
    columns = widest[: min(1 + int(np.sum(room < np.log(n))), _COLUMNS)]
    coarse = np.empty((n, 1 + len(columns)))
    coarse[:, 0] = 2.0 * np.unique(sets, return_inverse=True)[1]
    for k, j in enumerate(columns, 1):
        order, gaps = _gaps(rows[:, j], tolerances[j])
        coarse[order, k] = np.cumsum(gaps)
    return widest, coarse, cells


_COLUMNS = 8
_CELLS = 4
