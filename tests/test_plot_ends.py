"""Ends of runs: every run is drawn once, in the colour of its minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plot_cases import drawn, four_ends, legend_of, lines_of, result, runs

import jaxgd as gd
from jaxgd.plot import canvas

CROSS = "x"


def all_points(ax):
    held = [line.get_xydata() for line in ax.lines if len(line.get_xdata())]
    return np.concatenate(held)


def test_a_waterfall_holds_all_runs_in_order_by_minimum():
    many, which = four_ends(200)
    ax = gd.plot.waterfall(many)
    groups = [line for line in ax.lines if len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in groups] == np.bincount(which).tolist()
    points = all_points(ax)
    points = points[np.argsort(points[:, 0])]
    np.testing.assert_array_equal(points[:, 0], np.arange(1, 201))
    np.testing.assert_array_equal(points[:, 1], np.sort(many.loss))
    assert len({(line.get_color(), line.get_marker()) for line in groups}) == 4
    expected = [f"{m.loss:.4g}: {m.count} runs" for m in many.minima()]
    assert legend_of(ax) == expected
    drawn(ax)


def test_failed_runs_are_crosses_at_the_end():
    ok, bad, pruned = gd.Status.MAX_STEPS, gd.Status.NON_FINITE, gd.Status.PRUNED
    params = np.zeros((4, 2), np.float32)
    many = runs([2.0, np.nan, 1.0, 1.5], params + np.arange(4)[:, None], [ok, bad, ok, pruned])
    ax = gd.plot.waterfall(many)
    seen, top = lines_of(ax, CROSS)
    assert (seen.get_xydata().tolist(), top.get_xydata().tolist()) == ([[3, 1.5]], [[4, 1]])
    assert top.get_transform() == ax.get_xaxis_transform()
    assert legend_of(ax)[-1] == "failed: 2 runs"
    drawn(ax)
    # A loss far above those of the others does not make them look alike.
    high = gd.plot.waterfall(runs([2.0, 9e9, 1.0], params[:3], [ok, bad, ok]))
    assert lines_of(high, CROSS)[0].get_xydata().tolist() == [[3, 1]]
    assert high.get_yscale() == "linear"
    assert high.get_ylim()[1] < 3
    nothing = gd.plot.waterfall(runs([np.nan] * 2, params[:2], [bad, bad]))
    assert "no run" in nothing.texts[0].get_text()
    drawn(nothing)


@pytest.mark.parametrize(
    ("losses", "ends", "scale"),
    [
        ([1e-3, 1.0, 2.0], 1e-2, "log"),
        ([1e-12, 1e-8], 1e-2, "linear"),  # one minimum, but for rounding
        ([-1.0, 300.0], 1.0, "linear"),
        ([0.0, 300.0], 1.0, "linear"),
    ],
)
def test_the_scale_of_a_waterfall(losses, ends, scale):
    ax = gd.plot.waterfall(runs(losses, np.zeros((len(losses), 1)), ends=ends))
    assert ax.get_yscale() == scale
    low, high = ax.get_ylim()
    assert high - low > 0.99 * ends


def test_more_minima_than_colours_are_others():
    many = runs(np.arange(10.0), np.arange(10.0)[:, None])
    ax = gd.plot.waterfall(many)
    assert len(legend_of(ax)) == 8
    assert legend_of(ax)[-1] == "3 others: 3 runs"
    assert len(all_points(ax)) == 10


def test_a_hundred_thousand_runs():
    many, _ = four_ends(100_000)
    ax = gd.plot.waterfall(many)
    picture = drawn(ax)
    assert len(all_points(ax)) == 100_000
    assert len(picture) < 200_000


def test_a_waterfall_of_several_and_of_one():
    many, _ = four_ends(30)
    ax = gd.plot.waterfall({"adam": many, "one": result([3.0, 2.0])})
    assert legend_of(ax) == [f"adam: best {many.loss.min():.4g}", "one: best 2"]
    assert len(all_points(ax)) == 31
    assert all_points(gd.plot.waterfall(result([3.0, 2.0]))).tolist() == [[1, 2]]


def test_parameters_are_named_and_side_by_side():
    params = {"slope": np.array([1.0, 3.0, 1.0]), "w": np.array([[[4.0, 5.0]]] * 3)}
    many = runs([0.0, 1.0, 0.0], params)
    ax = gd.plot.parameters(many, bounds=({"slope": 0.0, "w": None}, {"slope": 9.0, "w": 6.0}))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["slope", "w[0, 0]", "w[0, 1]"]
    first, second = (line for line in ax.lines if line.get_linestyle() == "None")
    np.testing.assert_array_equal(first.get_xdata(), [1, 4, 5])
    np.testing.assert_array_equal(second.get_xdata(), [3, 4, 5])
    assert np.all(np.abs(first.get_ydata() - np.arange(3)) < 0.5)
    assert np.all(first.get_ydata() != second.get_ydata())
    assert legend_of(ax) == ["0: 2 runs", "1: 1 run"]
    spans = [band.get_paths()[0].vertices[:, 0] for band in ax.collections]
    left, _ = ax.get_xlim()
    assert [(s.min(), s.max()) for s in spans] == [(0, 9), (left, 6), (left, 6)]
    drawn(ax)


def test_parameters_of_many_sizes_and_many_numbers():
    wide = gd.plot.parameters(result([1.0], params={"a": np.float32(1e-3), "b": np.float32(1e4)}))
    assert wide.get_xscale() == "log"
    signs = gd.plot.parameters(result([1.0], params=np.float32([-1e-3, 2e-3, 5.0])))
    assert signs.get_xscale() == "symlog"
    long = gd.plot.parameters(result([1.0], params=np.ones(1000, np.float32)))
    assert len(long.get_yticks()) == 30
    assert "first 30 of 1,000" in long.get_xlabel()
    failed = gd.plot.parameters(result([np.nan], gd.Status.NON_FINITE))
    assert "failed" in failed.texts[0].get_text()
    both = gd.plot.parameters({"a": result([1.0]), "b": result([2.0], params=np.ones(2))})
    assert legend_of(both) == ["a: 1", "b: 2"]
    for ax in (wide, signs, long, failed, both):
        drawn(ax)


def test_complex_and_held_leaves():
    params = {"n": np.int32(7), "z": np.complex64(1 + 2j), "f": np.sin}
    ax = gd.plot.parameters(result([1.0], params=params))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["re z", "im z"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2])


def test_basins_hold_each_start_in_the_colour_of_its_minimum():
    many, which = four_ends(300)
    ax = gd.plot.basins(many)
    dots = [line for line in ax.lines if line.get_marker() in canvas.MARKERS]
    for at, line in enumerate(dots):
        drawn_ = {tuple(xy) for xy in line.get_xydata()}
        assert drawn_ == {tuple(xy) for xy in many.inputs.params[which == at].astype(float)}
    stars = lines_of(ax, "*")
    assert [star.get_xydata().tolist() for star in stars] == [
        [m.params.tolist()] for m in many.minima()
    ]
    assert len({dot.get_color() for dot in dots}) == 4
    assert ax.get_xlabel() == "start of params[0]"
    drawn(ax)


def test_basins_over_the_loss_with_failed_starts():
    bad, ok = gd.Status.NON_FINITE, gd.Status.MAX_STEPS
    ends = {"a": np.zeros(3), "b": np.zeros(3)}
    starts = {"a": np.array([-1.0, 0.0, 1.0]), "b": np.array([0.0, 1.0, 2.0])}
    many = runs([0.0, 0.0, np.nan], ends, [ok, ok, bad], starts=starts)
    ax = gd.plot.basins(many, lambda p, c: c * p["a"] ** 2 + p["b"] ** 2, (2.0,))
    assert lines_of(ax, CROSS)[0].get_xydata().tolist() == [[1, 2]]
    assert len(ax.collections) == 1  # the contours
    assert ax.get_ylabel() == "start of b"
    drawn(ax)


def test_what_has_no_basins_says_so():
    with pytest.raises(ValueError, match="two parameters, got no"):
        gd.plot.basins(runs([1.0], np.zeros((1, 2))))
    with pytest.raises(ValueError, match="two parameters, got 3"):
        gd.plot.basins(runs([1.0], np.zeros((1, 3)), starts=np.zeros((1, 3))))
    with pytest.raises(TypeError, match=r"a gd\.Runs, got"):
        gd.plot.basins(result([1.0]))


@pytest.mark.parametrize("draw", [gd.plot.waterfall, gd.plot.convergence, gd.plot.parameters])
def test_what_is_no_outcome_is_refused(draw):
    for wrong in (1.0, {"a": 2.0}, [result([1.0])]):
        with pytest.raises(TypeError, match=r"a picture is of a gd\.Result"):
            draw(wrong)
    vmapped = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), result([1.0]))
    with pytest.raises(TypeError, match="vmapped"):
        draw(vmapped)
    with pytest.raises(ValueError, match="empty"):
        draw({})
    with pytest.raises(TypeError, match="ax must be"):
        draw(result([1.0]), ax="here")
