"""Paths are the recorded iterates, and the ground under them is the loss."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from plot_cases import drawn, history, legend_of, lines_of, result, runs

import jaxgd as gd
from jaxgd.plot import ground
from jaxgd.plot.outcome import names, restored, vector


def bowl(p, scale=1.0):
    return scale * jnp.sum(p**2)


def walk(rows, d, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, d)).astype(np.float32).cumsum(0)


def with_points(points, status=gd.Status.MAX_STEPS):
    losses = np.sum(points.reshape(len(points), -1) ** 2, axis=1)
    one = result(losses, status, params=points[int(np.nanargmin(losses))])
    return dataclasses.replace(one, history=history(losses, params=points))


def test_two_parameters_are_drawn_as_they_are():
    points = walk(30, 2)
    ax = gd.plot.path(with_points(points), bowl, (3.0,))
    (line,) = [line for line in lines_of(ax) if len(line.get_xdata()) > 1]
    np.testing.assert_array_equal(line.get_xydata(), points)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params[0]", "params[1]")
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert np.all((points >= [low, bottom]) & (points <= [high, top]))
    assert legend_of(ax) == ["start", "end: MAX_STEPS"]
    # The contours are circles, at the radii of their levels.
    thin = ax.collections[0]
    for level, contour in zip(thin.levels, thin.get_paths(), strict=True):
        radii = 3 * np.sum(contour.vertices**2, axis=1)
        np.testing.assert_allclose(radii, level, rtol=2e-2, atol=2e-2 * thin.levels[-1])
    drawn(ax)


def test_more_parameters_are_seen_in_the_plane_of_their_principal_directions():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    flat = np.zeros((40, 5))
    flat[:, :2] = walk(40, 2) * [5, 1]
    points = (flat @ turn.T).astype(np.float32)
    one = with_points(points)
    ax = gd.plot.path(one)
    (line,) = [line for line in lines_of(ax) if len(line.get_xdata()) > 1]
    shares = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    shares = shares / shares.sum()
    assert f"({shares[0]:.1%} of the variance)" in ax.get_xlabel()
    assert ax.get_title() == "plane through the best point, 100.0% of the path's variance"
    # All of the path lies in that plane, so that distances are kept, and the best point is at 0.
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(line.get_xydata(), axis=0), axis=1),
        np.linalg.norm(np.diff(points, axis=0), axis=1), rtol=1e-4,
    )  # fmt: skip
    assert np.min(np.linalg.norm(line.get_xydata(), axis=1)) < 1e-6
    drawn(ax)


def test_one_parameter_is_drawn_against_its_loss():
    points = np.linspace(3, 1, 9, dtype=np.float32)
    one = with_points(points)
    ax = gd.plot.path(one, lambda x: x**2)
    curve, line = lines_of(ax)[:2]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata() ** 2, rtol=1e-5)
    np.testing.assert_allclose(line.get_xydata(), np.column_stack([points, points**2]), rtol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params", "loss")
    recorded = gd.plot.path(one)
    np.testing.assert_allclose(lines_of(recorded)[0].get_ydata(), points**2, rtol=1e-6)
    drawn(ax)
    drawn(recorded)


def test_runs_that_stand_still_or_fly_away_leave_a_picture():
    still = gd.plot.path(with_points(np.ones((1, 2), np.float32)), bowl)
    assert np.all(np.diff(still.get_xlim()) > 0)
    far = (2.0 ** np.arange(40))[:, None] * np.float32([1, -1])
    away = gd.plot.path(with_points(far, gd.Status.NON_FINITE), bowl)
    low, high = away.get_xlim()
    assert low < far[:15, 0].min() < far[:15, 0].max() < high < 1e9
    beside = gd.plot.path(
        {"far": with_points(far, gd.Status.NON_FINITE), "near": with_points(walk(9, 2))}
    )
    assert np.diff(beside.get_xlim()) < 100
    fixed = gd.plot.path(with_points(np.ones((1, 4), np.float32)))
    for ax in (still, away, fixed):
        drawn(ax)


def test_a_loss_that_is_nowhere_finite_or_is_constant_has_no_contours():
    one = with_points(walk(9, 2))
    for loss in (lambda p: jnp.sum(p) * jnp.nan, lambda p: 0.0 * jnp.sum(p)):
        assert not gd.plot.path(one, loss).collections


def many(count, rows):
    film = np.stack([walk(rows, 2, seed) for seed in range(count)])
    losses = np.sum(film**2, axis=-1)
    ends = film[:, -1]
    return runs(losses[:, -1], ends, history=history(losses, params=film),
                steps=np.full(count, rows - 1))  # fmt: skip


def test_many_runs_are_some_of_them():
    few = gd.plot.path(many(3, 5))
    held = [line for line in lines_of(few) if len(line.get_xdata()) > 1]
    for seed, line in enumerate(held):
        np.testing.assert_array_equal(line.get_xydata(), walk(5, 2, seed))
    assert legend_of(few)[:3] == ["run 0", "run 1", "run 2"]
    crowd = gd.plot.path(many(500, 3))
    held = [line for line in lines_of(crowd) if len(line.get_xdata()) > 1]
    assert len(held) == 200
    assert legend_of(crowd)[-1] == "200 of 500 runs"
    both = gd.plot.path({"a": with_points(walk(4, 2)), "b": with_points(walk(4, 2, 1))})
    assert legend_of(both)[:2] == ["a", "b"]
    for ax in (few, both):
        drawn(ax)


def test_without_recorded_params_the_axes_say_so():
    ax = gd.plot.path(result([2.0, 1.0]), bowl)
    assert "Record(params=True)" in ax.texts[0].get_text()
    with pytest.raises(ValueError, match="one size"):
        gd.plot.path({"a": with_points(walk(3, 2)), "b": with_points(walk(3, 3))})


def test_params_are_vectors_and_back():
    params = {
        "f": jnp.sin, "n": jnp.int32(3), "w": jnp.arange(4.0).reshape(2, 2),
        "z": jnp.array([1 + 2j, 3 - 4j]),
    }  # fmt: skip
    numbers = vector(params)
    assert numbers.tolist() == [0, 1, 2, 3, 1, 3, 2, -4]
    assert list(names(params))[3:] == ["w[1, 1]", "re z[0]", "re z[1]", "im z[0]", "im z[1]"]
    again = restored(params, jnp.asarray(2 * numbers))
    assert again["f"] is jnp.sin
    np.testing.assert_array_equal(again["w"], 2 * params["w"])
    np.testing.assert_array_equal(again["z"], 2 * params["z"])
    assert again["z"].dtype == params["z"].dtype


def test_heights_of_a_loss_with_aux():
    surface = ground.Surface(lambda p, c: (bowl(p, c), "aux"), (2.0,), jnp.zeros(2))
    assert surface.heights(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [10, 50]
