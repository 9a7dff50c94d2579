"""Which runs ended in the same minimum, against a greedy pass over all pairs; curvature there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgd.minima import Minimum, cluster


def greedy(losses, points, tolerance_loss, tolerances):
    """The definition, with a distance for each run and each opener."""
    minima = []
    for i in sorted(range(len(losses)), key=lambda i: (losses[i], i)):
        for members in minima:
            k = members[0]
            near = abs(losses[i] - losses[k]) <= tolerance_loss
            if near and np.all(np.abs(points[i] - points[k]) <= tolerances):
                members.append(i)
                break
        else:
            minima.append([i])
    return minima


def as_lists(minima):
    return [members.tolist() for members in minima]


@pytest.mark.parametrize("seed", range(60))
def test_clear_cases_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 120)), int(rng.integers(1, 13))
    scales, scale_loss = 10.0 ** rng.uniform(-6, 6, d), 10.0 ** rng.uniform(-6, 6)
    rtol = 10.0 ** rng.uniform(-9, -1)
    sites = rng.integers(-2, 3, (int(rng.integers(1, 40)), d))
    site, level = rng.integers(len(sites), size=n), rng.integers(3, size=n)
    tolerance = rtol * scales
    points = (sites[site] * 3 + rng.uniform(-0.05, 0.05, (n, d))) * tolerance
    losses = (level * 3 + rng.uniform(-0.05, 0.05, n)) * rtol * scale_loss
    found = cluster(losses, points, scale_loss, scales, rtol, 0.0)
    assert as_lists(found) == greedy(losses, points, rtol * scale_loss, tolerance)


@pytest.mark.parametrize("d", [1, 2, 5, 40])
@pytest.mark.parametrize("spread", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("n", [300, 6000])
def test_openers_are_apart_and_members_near(d, spread, n):
    rng = np.random.default_rng(d)
    points, losses = rng.normal(size=(n, d)) * spread, rng.integers(40, size=n) / 10
    minima = cluster(losses, points, 2.0, np.full(d, 2.0), 0.25, 0.5)  # tolerances of 1
    assert sorted(np.concatenate(minima).tolist()) == list(range(n))
    rows = np.column_stack([losses, points])
    openers = np.array([members[0] for members in minima])
    for k, members in enumerate(minima):
        assert np.max(np.abs(rows[members] - rows[members[0]])) <= 1.5
        later = rows[openers[k + 1 :]]
        assert np.all(np.max(np.abs(later - rows[members[0]]), axis=1) > 1)
        assert np.all(np.diff(losses[members]) >= 0)
    assert np.all(np.diff(losses[openers]) >= 0)
    again = cluster(losses, points, 2.0, np.full(d, 2.0), 0.25, 0.5)
    assert as_lists(again) == as_lists(minima)


@pytest.mark.parametrize("d", [1, 3, 300])
def test_one_crowd_is_one_minimum(d):
    rng = np.random.default_rng(0)
    points, losses = 1e-2 * rng.normal(size=(6000, d)), 1e-3 * rng.random(6000)
    (only,) = cluster(losses, points, 1.0, np.ones(d), 0.0, 1.0)
    assert only.tolist() == np.argsort(losses).tolist()


def test_loss_and_params_both_count():
    points = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 2.0]])
    same_params = cluster(np.array([0.0, 1.0, 2.0])[:2], points[:2], 1.0, np.ones(2), 1e-3, 0.0)
    assert as_lists(same_params) == [[0], [1]]
    mirrored = cluster(np.zeros(3), points, 1.0, np.ones(2), 1e-3, 0.0)
    assert as_lists(mirrored) == [[0, 1], [2]]


def test_a_tolerance_of_zero_takes_identical_ones_only():
    points = np.array([[0.0], [1.0], [-0.0], [np.nextafter(1.0, 2.0)], [1.0], [5e-324]])
    found = cluster(np.zeros(6), points, 1.0, np.ones(1), 0.0, 0.0)
    assert as_lists(found) == [[0, 2], [1, 4], [3], [5]]


@pytest.mark.parametrize("tolerance", [0.0, 1e-300, 1.0])
def test_magnitudes_that_overflow(tolerance):
    points = np.array([[1e308], [-1e308], [1e308], [3.0], [3.0], [4.5], [-1e308]])
    losses = np.array([1e308, 0.0, 1e308, -1e308, -1e308, 0.0, 1.5])
    found = cluster(losses, points, 1.0, np.ones(1), 0.0, tolerance)
    assert as_lists(found) == [[3, 4], [1], [5], [6], [0, 2]]


def test_none_and_no_coordinates():
    assert cluster(np.zeros(0), np.zeros((0, 3)), 1.0, np.ones(3), 1e-3, 0.0) == []
    found = cluster(np.array([1.0, 0.0, 1.0]), np.zeros((3, 0)), 1.0, np.ones(0), 1e-3, 0.0)
    assert as_lists(found) == [[1], [0, 2]]


def at(params):
    return Minimum(params, 0.25, 1e-8, np.array([4, 2]))


def test_a_quadratic_has_the_eigenvalues_of_its_matrix():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    values = np.array([0.5, 1.0, 2.0, 3.0, 9.0])
    matrix = jnp.asarray(turn @ np.diag(values) @ turn.T)
    bend = at(jnp.ones(5)).curvature(lambda x, a: 0.5 * a * x @ matrix @ x, 2.0)
    assert bend.kind == "minimum"
    assert bend.eigenvalues.dtype == np.float64
    np.testing.assert_allclose(bend.eigenvalues, 2 * values, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "kind", "eigenvalues"),
    [
        (lambda p: p["x"] ** 2 - p["y"] ** 2, "saddle", [-2, 2]),
        (lambda p: p["x"] ** 2 + 0 * p["y"], "flat", [0, 2]),
        (lambda p: 3.0 + 0 * p["x"], "flat", [0, 0]),
        (lambda p: p["x"] ** 2 + 3 * p["y"] ** 2, "minimum", [2, 6]),
        (lambda p: -(p["x"] ** 2) - p["y"] ** 2, "saddle", [-2, -2]),
    ],
)
def test_kinds(loss, kind, eigenvalues):
    bend = at({"x": 0.0, "y": 1.0}).curvature(loss)
    assert (bend.kind, bend.eigenvalues.tolist()) == (kind, eigenvalues)


def test_what_is_not_optimised_is_held():
    params = {"w": jnp.ones((2, 2)), "power": jnp.int32(2), "name": "sum"}

    def loss(p):
        assert p["name"] == "sum"
        return jnp.sum(p["w"] ** p["power"])

    assert at(params).curvature(loss).eigenvalues.tolist() == [2.0] * 4


def test_rounding_is_that_of_the_coarsest_dtype():
    loss = lambda p: p["a"].astype(jnp.float32) ** 2 + 1e-3 * p["b"] ** 2
    exact = at({"a": jnp.float32(0), "b": jnp.float32(0)})
    coarse = at({"a": jnp.bfloat16(0), "b": jnp.float32(0)})
    assert exact.curvature(loss).kind == "minimum"
    assert coarse.curvature(loss).kind == "flat"


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"z": jnp.ones(2, jnp.complex64)}, TypeError, r"params\['z'\] is complex"),
        (jnp.ones(5001), ValueError, "5,001 x 5,001, would be too large"),
        (jnp.int32(1), ValueError, "no number to optimise"),
    ],
)
def test_what_has_no_hessian_here(params, error, words):
    with pytest.raises(error, match=words):
        at(params).curvature(lambda p: jnp.sum(jax.tree.leaves(p)[0] ** 2))


def test_a_hessian_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        at(0.0).curvature(jnp.sqrt)


def test_a_minimum_prints_in_one_line():
    assert repr(at({"w": 1.5})) == "Minimum(loss=0.25, count=2, params=['w'] 1.5)"
    assert repr(at(jnp.eye(2))) == "Minimum(loss=0.25, count=2, params=[[1. 0.] [0. 1.]])"
    assert (
        repr(at(jnp.ones(1000))) == "Minimum(loss=0.25, count=2, params=1,000 numbers in 1 array)"
    )
