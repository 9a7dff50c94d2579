"""Curves hold the numbers of the history, on the scale that serves them, with their ends marked."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from plot_cases import drawn, history, legend_of, lines_of, result, runs

import jaxgd as gd
from jaxgd.plot import curves

CROSS, SQUARE, DOT = "X", "s", "o"


def falling(rows, factor=0.5, start=8.0):
    return start * factor ** np.arange(rows)


def test_a_run_is_its_history_with_the_end_marked():
    norms = np.linspace(5, 1, 20)
    one = result(falling(20), gd.Status.CONVERGED_GRADIENT, norms=norms, every=10)
    ax = gd.plot.convergence(one)
    (line,) = lines_of(ax)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(0, 200, 10))
    np.testing.assert_allclose(line.get_ydata(), falling(20), rtol=1e-6)
    (end,) = lines_of(ax, DOT)
    assert end.get_xdata() == 190
    assert end.get_ydata() == pytest.approx(falling(20)[-1])
    assert legend_of(ax) == ["CONVERGED_GRADIENT, at step 19"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("step", "loss", "log")
    norm = gd.plot.gradient_norm(one)
    np.testing.assert_array_equal(lines_of(norm)[0].get_ydata(), norms)
    assert (norm.get_ylabel(), norm.get_yscale()) == ("largest gradient entry", "linear")
    assert drawn(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        (falling(8), "log"),
        (falling(7), "linear"),  # less than two decades
        (falling(20) - 1, "linear"),  # the minimum is below zero: its offset is unknown
        ([*falling(20), 0.0], "log"),  # zero at last, as an exact minimum gives
        ([0.0, 0.0], "linear"),
        ([5.0], "linear"),
    ],
)
def test_the_axis_is_logarithmic_where_that_serves(losses, scale):
    ax = gd.plot.convergence(result(losses))
    assert ax.get_yscale() == scale
    drawn(ax)


def test_a_zero_on_a_logarithmic_axis_ends_at_its_foot():
    ax = gd.plot.convergence(result([*falling(20), 0.0]))
    (end,) = lines_of(ax, SQUARE)
    assert (end.get_xdata(), end.get_ydata()) == (20, 0)
    assert end.get_transform() == ax.get_xaxis_transform()


def test_runs_that_failed_are_marked_where_their_loss_was_last_finite():
    ax = gd.plot.convergence(result([4.0, 2.0, np.inf], gd.Status.NON_FINITE))
    (end,) = lines_of(ax, CROSS)
    assert (end.get_xdata(), end.get_ydata()) == (1, 2)
    assert legend_of(ax) == ["NON_FINITE, at step 2"]
    ax = gd.plot.convergence(result([np.nan], gd.Status.NON_FINITE))
    (end,) = lines_of(ax, CROSS)
    assert (end.get_xdata(), end.get_ydata()) == (0, 1)
    assert end.get_transform() == ax.get_xaxis_transform()
    drawn(ax)


def test_a_run_that_diverges_leaves_the_axis_to_the_others():
    wild = result(3.0 * 10.0 ** np.arange(30), gd.Status.NON_FINITE)
    ax = gd.plot.convergence({"calm": result(falling(20)), "wild": wild})
    assert 8 < ax.get_ylim()[1] < 100
    (end,) = lines_of(ax, CROSS)
    assert (end.get_xdata(), end.get_ydata()) == (29, 1)
    np.testing.assert_allclose(lines_of(ax)[1].get_ydata(), wild.history.loss)
    losses = np.stack([falling(30), *np.tile(wild.history.loss, (20, 1))])
    status = [gd.Status.MAX_STEPS, *[gd.Status.NON_FINITE] * 20]
    many = runs(losses[:, -1], np.zeros((21, 2)), status, history=history(losses))
    crowd, alone = gd.plot.convergence(many), gd.plot.convergence(wild)
    assert crowd.get_ylim()[1] < 100
    assert alone.get_ylim()[1] > wild.history.loss[-1]
    for shown in (crowd, alone):
        drawn(shown)


def test_without_a_history_the_axes_say_so():
    for ax in (
        gd.plot.convergence(result([])),
        gd.plot.gradient_norm(result([1.0, 2.0])),
    ):
        assert "recorded" in ax.texts[0].get_text()
        assert not ax.lines
        drawn(ax)


def some(count, rows, seed=0):
    """Runs of random lengths, the last of them failed at once."""
    draw = np.random.default_rng(seed)
    losses = draw.random((count, rows)).astype(np.float32) + 1
    lengths = draw.integers(1, rows, count)
    losses[np.arange(rows) >= lengths[:, None]] = np.nan
    losses[-1] = np.nan
    status = np.full(count, gd.Status.CONVERGED_LOSS)
    status[-1] = gd.Status.NON_FINITE
    final = [row[n - 1] for row, n in zip(losses, lengths, strict=True)]
    many = runs(
        final, np.zeros((count, 2)), status, history=history(losses), steps=lengths.astype(int) - 1
    )
    return many, lengths


def test_few_runs_have_a_line_each():
    few, lengths = some(5, 30)
    ax = gd.plot.convergence(few)
    held = lines_of(ax)
    assert [len(line.get_ydata()) for line in held] == [*lengths[:4]]
    for run, line in enumerate(held):
        np.testing.assert_array_equal(line.get_ydata(), few[run].history.loss)
    looks = {(line.get_color(), line.get_linestyle()) for line in held}
    assert len(looks) == 4
    assert legend_of(ax)[:2] == ["run 0", "run 1"]
    assert legend_of(ax)[-2:] == ["CONVERGED_LOSS, 4 runs", "NON_FINITE, 1 run"]
    drawn(ax)


def test_a_sweep_is_labelled_by_its_numbers():
    rule = gd.Adam(gd.ExponentialDecay(np.array([0.01, 0.1]), rate=0.9), b1=np.array([0.5, 0.9]))
    few = runs([1.0, 2.0], np.zeros((2, 1)), rule=rule, history=history(np.ones((2, 4))))
    labels = legend_of(gd.plot.convergence(few))
    assert labels[0] == "learning_rate.init 0.01, b1 0.5"


def test_many_runs_are_quantiles_in_which_ended_runs_keep_their_loss():
    many, lengths = some(200, 50)
    ax = gd.plot.convergence(many)
    (middle,) = lines_of(ax)
    kept = np.array([
        [row[min(at, n - 1)] for at in range(max(lengths[:-1]))]
        for row, n in zip(many.history.loss[:-1], lengths[:-1], strict=True)
    ])  # fmt: skip
    np.testing.assert_array_equal(middle.get_xdata(), np.arange(kept.shape[1]))
    np.testing.assert_allclose(middle.get_ydata(), np.quantile(kept, 0.5, axis=0), rtol=1e-6)
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    low, high = np.quantile(kept, (0.1, 0.9), axis=0)
    for at in (0, 17, kept.shape[1] - 1):
        there = corners[corners[:, 0] == at, 1]
        np.testing.assert_allclose([there.min(), there.max()], [low[at], high[at]], rtol=1e-6)
    ends = lines_of(ax, "D")[0]
    np.testing.assert_array_equal(ends.get_xdata(), lengths[:-1] - 1)
    assert legend_of(ax) == [
        "10 % to 90 %", "median of 199 runs", "CONVERGED_LOSS, 199 runs", "NON_FINITE, 1 run"
    ]  # fmt: skip
    drawn(ax)


def test_outcomes_of_a_mapping_are_told_apart_without_colour():
    many, _ = some(30, 40)
    shown = {"one": result(falling(9)), "many": many, "none": result([]), "last": result([3, 2.5])}
    ax = gd.plot.convergence(shown)
    labels = legend_of(ax)
    assert labels[:3] == ["one", "many", "last"]
    looks = {line.get_linestyle() for line in lines_of(ax)}
    assert len({(line.get_color()) for line in lines_of(ax)}) == len(lines_of(ax)) == 3
    assert len(looks) == 2 or len(looks) == 3
    drawn(ax)


def test_long_histories_are_thinned_but_for_their_extremes():
    losses = np.random.default_rng(0).normal(size=123_457)
    losses[77_777], losses[77_790] = 50.0, -50.0
    step, kept = curves.thinned(np.arange(len(losses)), losses)
    assert len(kept) <= curves.POINTS + 2
    np.testing.assert_array_equal(losses[step], kept)
    assert {0, 77_777, 77_790, len(losses) - 1} <= set(step)
    assert np.all(np.diff(step) > 0)


@pytest.mark.promotion
def test_schedules_over_steps():
    decay = gd.ExponentialDecay(0.1, rate=0.5, every=10, staircase=True)
    ax = gd.plot.learning_rate(
        {"decay": decay, "number": 0.05, "own": lambda t: 1e-2 / (1 + t)}, 40
    )
    steps = np.arange(40)
    expected = [0.1 * 0.5 ** (steps // 10), np.full(40, 0.05), 1e-2 / (1 + steps)]
    for line, rates in zip(lines_of(ax), expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_allclose(line.get_ydata(), rates, rtol=1e-6)
    assert legend_of(ax) == ["decay", "number", "own"]
    assert ax.get_yscale() == "log"
    assert gd.plot.learning_rate(gd.Warmup(0.1, steps=5), 50).get_yscale() == "linear"
    with pytest.raises(ValueError, match="steps must be"):
        gd.plot.learning_rate(0.1, 0)


def finding(losses, **fields):
    known = {"initial_loss": 4.0, "suggestion": 0.1, "stable": (0.01, 0.3), **fields}
    return types.SimpleNamespace(
        rates=jnp.logspace(-3, 1, len(losses)), losses=jnp.asarray(losses), **known
    )


def test_a_finder_shows_its_suggestion_and_what_diverged():
    found = finding([3.9, 3.0, 1.0, 2.0, 1e30, np.inf, np.nan])
    ax = gd.plot.finder(found)
    curve = lines_of(ax, "o")[0]
    np.testing.assert_allclose(curve.get_xdata(), found.rates)
    np.testing.assert_allclose(curve.get_ydata(), [3.9, 3, 1, 2, *[np.nan] * 3])
    (diverged,), (above,) = lines_of(ax, "X"), lines_of(ax, "^")
    np.testing.assert_allclose(diverged.get_xdata(), found.rates[-2:])
    np.testing.assert_allclose(above.get_xdata(), found.rates[4:5])
    assert legend_of(ax) == [
        "stable: 0.01 to 0.3", "initial loss 4", "diverged", "above 10", "suggestion 0.1"
    ]  # fmt: skip
    assert ax.get_ylim()[1] < 5
    drawn(ax)


def test_a_finder_that_found_nothing():
    found = finding([np.nan] * 3, suggestion=np.nan, stable=(np.nan, np.nan))
    ax = gd.plot.finder(found)
    assert legend_of(ax) == ["initial loss 4", "diverged"]
    drawn(ax)
