"""What many runs return: selection, minima, columns, and how it looks."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd


@pytest.fixture(scope="module")
def runs():
    starts = gd.starts.uniform(np.zeros(2), (-4.0, 4.0), 80)
    return gd.multistart(
        gd.landscapes.Himmelblau(), starts, gd.Adam(0.1), 2000, stop=gd.Stop(gtol=1e-3)
    )


def test_all_fields_have_an_axis_of_runs_on_the_host(runs):
    for name in ("params", "loss", "grad_norm", "at_step", "steps", "status", "evaluations"):
        assert isinstance(getattr(runs, name), np.ndarray)
        assert len(getattr(runs, name)) == 80
    assert len(runs) == 80
    assert runs.shape == (80,)
    assert runs.inputs.params.shape == (80, 2)


def test_one_run_is_a_result(runs):
    one = runs[5]
    assert isinstance(one, gd.Result)
    assert one.loss == runs.loss[5]
    assert one.converged
    assert "CONVERGED_GRADIENT" in repr(one)
    for status in gd.Status:  # there is no state to go on from
        assert "state=" not in dataclasses.replace(one, status=np.int32(status)).message
    assert runs[-1].loss == runs.loss[79]
    with pytest.raises(IndexError):
        runs[80]
    with pytest.raises(TypeError):
        runs[0:2]
    assert len(list(runs)) == 80
    assert runs.best.loss == runs.loss.min()
    assert runs.converged.all()


def test_the_four_minima_of_himmelblau_are_found_with_their_runs(runs):
    minima, known = runs.minima(), gd.landscapes.Himmelblau().minima
    assert len(minima) == 4
    assert sum(m.count for m in minima) == 80
    assert sorted(np.concatenate([m.indices for m in minima]).tolist()) == list(range(80))
    for m in minima:
        distances = np.abs(known - m.params).max(axis=1)
        assert distances.min() < 1e-3
        np.testing.assert_allclose(
            runs.params[m.indices], m.params[None].repeat(m.count, 0), atol=1e-2
        )
        assert m.grad_norm <= 1e-3
        assert m.curvature(gd.landscapes.Himmelblau()).kind == "minimum"
    assert [m.loss for m in minima] == sorted(m.loss for m in minima)
    assert runs.success_rate == 1
    assert len(runs.minima(rtol=1e-12)) > 4
    assert len(runs.minima(atol=100.0)) == 1


def test_runs_that_failed_open_no_minimum_and_are_no_success():
    points = np.array([[1.0, 1.0], [np.nan, 0.0], [2.0, 2.0], [1.0, np.inf]], np.float32)
    some = gd.multistart(lambda x: jnp.sum(x**2), points, gd.GradientDescent(0.1), 200)
    (minimum,) = some.minima()
    assert minimum.indices.tolist() in ([0, 2], [2, 0])
    assert some.success_rate == 0.5
    assert some.status.tolist() == [5, 6, 5, 6]


def test_ends_of_one_point_with_losses_of_their_own_are_several_minima():
    offsets = np.array([0.0, 10.0, 10.0], np.float32)
    some = gd.minimize_many(
        lambda x, offset: jnp.sum(x**2) + offset, np.ones(2, np.float32), gd.GradientDescent(0.1),
        200, args=(offsets,), axes=gd.Axes(None, args=0),
    )  # fmt: skip
    assert [m.count for m in some.minima()] == [1, 2]
    assert some.success_rate == pytest.approx(1 / 3)


def test_a_hundred_thousand_ends_are_told_apart_as_eighty_are(runs):
    big = np.tile(np.arange(80), 1250)
    many = jax.tree.map(lambda leaf: leaf[big] if np.shape(leaf)[:1] == (80,) else leaf, runs)
    assert [m.count for m in many.minima()] == [1250 * m.count for m in runs.minima()]


def test_printing_shows_what_matters(runs):
    shown = repr(runs)
    assert max(map(len, shown.splitlines())) <= 100
    names = [line[:17].strip() for line in shown.splitlines() if line[:1].strip()]
    assert names == [
        "runs", "status", "best loss", "success rate", "steps", "minima (4)", "compile time",
        "run time", "engine",
    ]  # fmt: skip
    assert "80 CONVERGED_GRADIENT" in shown
    assert "100.0% within 0.001 of the best loss" in shown
    low, mid, high = runs.steps.min(), int(np.median(runs.steps)), runs.steps.max()
    assert f"min {low:,}, median {mid:,}, max {high:,}" in shown
    assert shown.count(" runs, [") == 4
    html = runs._repr_html_()
    assert html.startswith("<table>")
    assert "80 CONVERGED_GRADIENT" in html


def test_columns_for_a_file_or_a_data_frame(runs, tmp_path):
    columns = runs.to_dict()
    assert set(columns) == {
        "loss", "grad_norm", "status", "steps", "at_step", "evaluations", "params", "start",
    }  # fmt: skip
    np.savez(tmp_path / "runs.npz", **columns)
    with np.load(tmp_path / "runs.npz", allow_pickle=False) as back:
        np.testing.assert_array_equal(back["start"], runs.inputs.params)


def test_it_is_a_pytree_that_can_be_copied_and_stored(runs):
    for other in (
        copy.deepcopy(runs),
        pickle.loads(pickle.dumps(runs)),
        jax.tree.map(np.copy, runs),
    ):
        assert repr(other) == repr(runs)
    doubled = jax.jit(lambda runs: jax.tree.map(lambda leaf: 2 * leaf, runs))(runs)
    np.testing.assert_allclose(doubled.loss, 2 * runs.loss)
    assert repr(jax.eval_shape(lambda r: r, runs)).startswith("Runs(")
