"""Starting points: shaped like params, inside their bounds, and distributed as they say."""

import inspect
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgd import starts

SAMPLERS = {
    "uniform": lambda params, count, bounds=(-1, 1), **more: starts.uniform(
        params, bounds, count, **more
    ),
    "latin_hypercube": lambda params, count, bounds=(-1, 1), **more: starts.latin_hypercube(
        params, bounds, count, **more
    ),
    "sobol": lambda params, count, bounds=(-1, 1), **more: starts.sobol(
        params, bounds, count, **more
    ),
    "normal": lambda params, count, bounds=None, **more: starts.normal(
        params, count, bounds=bounds, **more
    ),
    "around": lambda params, count, bounds=None, **more: starts.around(
        params, 1.0, count, bounds=bounds, **more
    ),
}
BOXES = [SAMPLERS[name] for name in ("uniform", "latin_hypercube", "sobol")]
BELLS = [SAMPLERS[name] for name in ("normal", "around")]

every_sampler = pytest.mark.parametrize("draw", SAMPLERS.values(), ids=SAMPLERS.keys())
every_box = pytest.mark.parametrize("draw", BOXES, ids=["uniform", "latin_hypercube", "sobol"])
every_bell = pytest.mark.parametrize("draw", BELLS, ids=["normal", "around"])


def activation(x):
    return x


@every_sampler
def test_points_are_shaped_like_params(draw):
    params = {
        "layers": [{"w": np.zeros((2, 3)), "b": jnp.zeros(3, jnp.bfloat16)}, {"c": np.float16(0)}],
        "rate": 0.5,
        "none": None,
        "empty": np.zeros((0, 2), np.float32),
        "activation": activation,
        "name": "net",
        "flag": True,
        "steps": jnp.arange(4),
        "mask": np.array([True, False]),
        "one": np.int8(3),
        "key": jax.random.key(1),
    }
    points = draw(params, 5)
    assert jax.tree.structure(points) == jax.tree.structure(params)
    drawn = [*jax.tree.leaves(points["layers"]), points["rate"], points["empty"]]
    assert all(type(leaf) is np.ndarray for leaf in drawn)
    assert points["layers"][0]["w"].shape == (5, 2, 3)
    assert points["layers"][0]["w"].dtype == jnp.result_type(float)
    assert points["layers"][0]["b"].shape == (5, 3)
    assert points["layers"][0]["b"].dtype == jnp.bfloat16
    assert points["layers"][1]["c"].shape == (5,)
    assert points["layers"][1]["c"].dtype == np.float16
    assert points["rate"].shape == (5,)
    assert points["rate"].dtype == jnp.result_type(float)
    assert points["empty"].shape == (5, 0, 2)
    assert points["activation"] is activation
    assert points["name"] == "net"
    assert points["flag"] is True
    np.testing.assert_array_equal(points["steps"], np.tile(np.arange(4), (5, 1)))
    np.testing.assert_array_equal(points["mask"], np.tile([True, False], (5, 1)))
    np.testing.assert_array_equal(points["one"], np.full(5, 3, np.int8))
    assert {points[name].strides[0] for name in ("steps", "mask", "one")} == {0}
    assert (jax.random.key_data(points["key"]) == jax.random.key_data(params["key"])[None]).all()
    assert points["key"].shape == (5,)
    entries = np.concatenate([np.float64(leaf).ravel() for leaf in drawn])
    assert len(set(entries)) > 0.9 * entries.size


@every_sampler
def test_a_bare_leaf_and_a_single_point(draw):
    assert draw(0.0, 1).shape == (1,)
    assert draw(np.zeros((2, 2)), 1).shape == (1, 2, 2)
    assert draw(jnp.zeros(3), 1e1).shape == (10, 3)
    assert draw(np.zeros((0,)), 3).shape == (3, 0)


@every_sampler
def test_float64_under_x64(draw):
    with jax.enable_x64(True):
        points = draw({"a": np.zeros(3), "b": np.zeros(3, np.float32), "c": 0.0}, 50)
    assert [leaf.dtype for leaf in jax.tree.leaves(points)] == [np.float64, np.float32, np.float64]
    assert not np.array_equal(points["a"], points["a"].astype(np.float32))


@every_sampler
def test_the_seed_decides_the_points(draw):
    params = {"a": np.zeros((3, 2)), "b": 0.0}
    one, same, other = draw(params, 6, seed=3), draw(params, 6, seed=3), draw(params, 6, seed=4)
    for a, b, c in zip(*map(jax.tree.leaves, (one, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.any(a == c)
    np.testing.assert_array_equal(draw(params, 6)["a"], draw(params, 6, seed=0)["a"])
    # The template's values do not matter but to `around`, nor does global state.
    np.random.seed(0)
    np.testing.assert_array_equal(draw(params, 6, seed=3)["a"], one["a"])


@every_sampler
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rounding_takes_no_point_out_of_its_bounds(draw, dtype):
    # A few floats wide, so that many points round to the edges.
    low = np.linspace(0.1, 0.2, 7)
    points = draw(jnp.zeros(7, dtype), 500, bounds=(low, low * (1 + 3 * jnp.finfo(dtype).eps)))
    lower, upper = (low * factor for factor in (1, 1 + 3 * float(jnp.finfo(dtype).eps)))
    assert points.dtype == dtype
    assert np.all(points >= np.asarray(lower, dtype))
    assert np.all(points <= np.asarray(upper, dtype))
    assert all(len(set(column)) > 2 for column in np.float64(points).T.tolist())


@every_sampler
def test_bounds_are_prefixes_of_params(draw):
    params = {"a": [np.zeros(2), 0.0], "b": np.zeros((2, 2)), "n": np.int32(1), "f": activation}
    lower = {"a": -3, "b": np.array([5.0, 5.5]), "n": None, "f": None}
    upper = {"a": [np.array([-2.0, 3.0]), -1], "b": np.array([[6], [9]]), "n": None, "f": None}
    points = draw(params, 200, bounds=(lower, upper))
    sides = {
        "a0": (points["a"][0], [-3, -3], [-2, 3]),
        "a1": (points["a"][1], -3, -1),
        "b": (points["b"], [[5, 5.5]] * 2, [[6, 6], [9, 9]]),
    }
    for leaf, low, high in sides.values():
        assert np.all((leaf >= low) & (leaf <= high))
        assert np.all(np.ptp(leaf, axis=0) > 0.1 * np.subtract(high, low))
    assert draw(np.zeros(2), 3, bounds=(2, 2)).tolist() == [[2.0, 2.0]] * 3


def test_latin_hypercube_has_one_point_in_each_stratum():
    count, low, high = 37, np.array([-1.0, 0.0, 5.0]), np.array([1.0, 3.7, 5.5])
    with jax.enable_x64(True):
        points = starts.latin_hypercube(
            {"a": np.zeros(3), "b": 0.0}, ({"a": low, "b": 0}, {"a": high, "b": 1}), count, seed=5
        )
    shares = np.column_stack([(points["a"] - low) / (high - low), points["b"]])
    strata = np.floor(shares * count)
    np.testing.assert_array_equal(np.sort(strata, axis=0), np.tile(np.arange(count), (4, 1)).T)
    assert len({tuple(column) for column in strata.T}) == 4
    assert np.ptp(shares * count - strata) > 0.9


def test_sobol_fills_dyadic_intervals_equally():
    params = {"a": np.zeros((2, 3)), "b": 0.0}
    points = starts.sobol(params, (-2, 6), 64, seed=1)
    shares = np.column_stack([points["a"].reshape(64, 6), points["b"]]) / 8 + 0.25
    for parts in (2, 4, 8, 16, 32, 64):
        for column in np.floor(shares * parts).astype(int).T:
            np.testing.assert_array_equal(np.bincount(column, minlength=parts), 64 // parts)
    # The first two dimensions together are a (0, m, 2)-net: no rows of points along one axis.
    for across in (1, 2, 4, 8, 16, 32, 64):
        cells = np.floor(shares[:, 0] * across) * 64 + np.floor(shares[:, 1] * (64 // across))
        assert len(set(cells)) == 64


def test_sobol_of_any_count_is_the_beginning_of_a_net_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few, net = (starts.sobol(np.zeros(4), (0, 1), count, seed=2) for count in (21, 32))
    assert few.shape == (21, 4)
    np.testing.assert_array_equal(few, net[:21])


def test_uniform_is_uniform_and_its_entries_independent():
    points = starts.uniform({"a": np.zeros(2), "b": 0.0}, (-1, 3), 4000, seed=1)
    columns = np.column_stack([points["a"], points["b"]])
    for column in columns.T:
        assert stats.kstest(column, stats.uniform(-1, 4).cdf).pvalue > 0.01
    np.testing.assert_allclose(np.corrcoef(columns.T), np.eye(3), atol=0.05)


@pytest.mark.parametrize(
    ("low", "high", "mean", "scale"),
    [
        (-np.inf, np.inf, 0, 1),
        (-np.inf, np.inf, 3, 0.25),
        (-1, 1, 0, 1),
        (0, np.inf, 0, 2),
        (-np.inf, -1, 0.5, 1),
        (-9, 0.5, 0, 1),
        (6, np.inf, 0, 1),
        (-np.inf, -8, 0, 1),
        (50, 51, 0, 1),
        (-200, -50, 0, 1),
        (1, 2, -3, 0.05),
        (3, 4, 0, 1e6),
        (-2, 5, 1, 1e30),
        (0, 1, -1e18, 1e18),
    ],
)
def test_the_truncated_normal_is_that_of_scipy(low, high, mean, scale):
    with jax.enable_x64(True):
        points = starts.normal(0.0, 3000, mean=mean, scale=scale, bounds=(low, high), seed=7)
        centred = starts.around(float(mean), scale, 3000, bounds=(low, high), seed=7)
    np.testing.assert_array_equal(points, centred)
    if scale >= 1e6:  # as good as flat, which scipy's own does not resolve
        expected = stats.uniform(low, high - low)
    else:
        a, b = (low - mean) / scale, (high - mean) / scale
        expected = stats.truncnorm(a, b, loc=mean, scale=scale)
    assert len(set(points.tolist())) == 3000
    assert stats.kstest(points, expected.cdf).pvalue > 0.01


def test_a_truncated_normal_does_not_pile_up_at_its_bounds():
    points = starts.normal(np.zeros(3), 3000, scale=10.0, bounds=(-1, 1), seed=3)
    assert np.mean(np.abs(points) == 1) < 0.001


@pytest.mark.parametrize(
    ("mean", "scale", "bounds", "expected"),
    [
        (0.5, 0.0, (0, 1), 0.5),
        (0.5, 0.0, None, 0.5),
        (2.0, 0.0, (0, 1), 1.0),
        (-2.0, 0.0, (0, 1), 0.0),
        (0.0, 1e-30, (1, 2), 1.0),
        (0.0, 1e-30, (-2, -1), -1.0),
        (0.5, 0.0, (0.5, 0.5 + 2**-20), 0.5),
    ],
)
def test_a_normal_without_width_is_at_the_point_that_is_nearest(mean, scale, bounds, expected):
    points = starts.normal(np.zeros(2), 20, mean=mean, scale=scale, bounds=bounds)
    assert set(points.ravel().tolist()) == {expected}


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_least_likely_draw_is_finite(monkeypatch, end):
    class Generator:
        def uniform(self, low, high, shape):
            return np.full(shape, low if end == 0 else np.nextafter(high, 0))

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Generator())
    assert np.all(np.abs(starts.normal(np.zeros(2), 2)) < 9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_open_sides_end_where_the_floats_do(dtype):
    largest = float(jnp.finfo(dtype).max)
    points = starts.normal(jnp.zeros(500, dtype), 4, mean=largest / 2, scale=largest / 2)
    assert np.all(np.isfinite(points))
    assert np.mean(np.float64(points) == largest) < 0.05


def test_around_has_the_centre_and_the_spread_it_is_given():
    params = {"a": np.array([1.0, -20.0]), "b": {"c": 5.0, "n": np.int32(2)}}
    scale = {"a": np.array([0.5, 3.0]), "b": 0.1}
    points = starts.around(params, scale, 4000, seed=1)
    columns = np.column_stack([points["a"], points["b"]["c"]])
    error = np.array([0.5, 3.0, 0.1]) / np.sqrt(4000)
    assert np.all(np.abs(columns.mean(0) - [1, -20, 5]) < 4 * error)
    np.testing.assert_allclose(columns.std(0), [0.5, 3.0, 0.1], rtol=0.05)
    assert np.all(points["b"]["n"] == 2)


def test_mean_and_scale_are_prefixes_of_params():
    params = {"a": [np.zeros(2), 0.0], "b": np.zeros(3), "n": np.int32(1)}
    mean = {"a": [np.array([10.0, 20.0]), 30], "b": None, "n": None}
    scale = {"a": 1e-3, "b": 0, "n": None}
    points = starts.normal(params, 50, mean=mean, scale=scale)
    np.testing.assert_allclose(points["a"][0], np.tile([10, 20], (50, 1)), atol=0.01)
    np.testing.assert_allclose(points["a"][1], 30, atol=0.01)
    assert np.ptp(points["a"][1]) > 0
    assert not points["b"].any()
    assert starts.normal(0.0, 2000, scale=None, seed=1).std() == pytest.approx(1, rel=0.1)


PAIR = {"w": np.zeros(2), "b": 0.0}
WRONG = {
    "reversed": (ValueError, {"bounds": (1, 0)}, "bounds of params['b'] must have lower <= upper"),
    "an entry reversed": (ValueError, {"bounds": ({"w": np.array([0.0, 2.0]), "b": 0}, 1)},
                          "bounds of params['w'][1] must have lower <= upper, got 2.0 and 1.0"),
    "shape": (ValueError, {"bounds": ({"w": np.zeros(3), "b": 0}, 1)},
              "bounds[0]['w'] must have the shape (2,)"),
    "structure": (ValueError, {"bounds": ({"w": 0}, 1)}, "bounds[0] must be a number"),
    "no pair": (TypeError, {"bounds": 3}, "bounds must be a pair (lower, upper)"),
    "NaN": (ValueError, {"bounds": (0, float("nan"))}, "bounds[1]['b'] must not be NaN"),
    "count 0": (ValueError, {"count": 0}, "count must be a whole number >= 1, got 0"),
    "count 1.5": (ValueError, {"count": 1.5}, "count must be a whole number >= 1, got 1.5"),
    "count None": (TypeError, {"count": None}, "count must be a whole number >= 1, got None"),
    "seed": (ValueError, {"seed": -1}, "seed must be a whole number >= 0, got -1"),
    "a key": (TypeError, {"seed": jax.random.key(0)}, "seed must be a whole number >= 0"),
    "complex": (TypeError, {"params": {"w": 0.0, "z": np.zeros(2, np.complex64)}},
                "params['z'] must be real, got complex64"),
    "Python int": (TypeError, {"params": {"w": 0.0, "n": 3}}, "params['n'] is the Python int 3"),
    "nothing": (ValueError, {"params": {"n": np.arange(3)}}, "params has no leaf to sample"),
}  # fmt: skip


@every_sampler
@pytest.mark.parametrize(("error", "given", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_refused_by_every_sampler(draw, error, given, words):
    with pytest.raises(error) as caught:
        draw(**{"params": PAIR, "count": 3, **given})
    assert words in str(caught.value)


@pytest.mark.float32
@every_box
@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (None, "bounds must be a pair (lower, upper)"),
        ((None, 1), "bounds[0]['b'] must be finite"),
        ((0, np.inf), "bounds[1]['b'] must be finite"),
        (({"w": np.array([0, -np.inf]), "b": 0}, 1), "bounds[0]['w'][1] must be finite"),
        ((0, 1e300), "bounds[1]['b'] must be finite in its dtype"),
    ],
)
def test_a_box_has_finite_sides(draw, bounds, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        draw(PAIR, 3, bounds=bounds)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scale": -1}, "scale['b'] must be finite in its dtype and >= 0, got -1.0"),
        ({"scale": {"w": np.array([1.0, -2.0]), "b": 0}}, "scale['w'][1] must be finite"),
        ({"scale": np.inf}, "scale['b'] must be finite"),
        ({"scale": np.nan}, "scale['b'] must not be NaN"),
        ({"scale": "wide"}, "scale['b'] must be a real number"),
        ({"scale": {"w": 1}}, "scale must be a number, an array, or a pytree that is a prefix"),
        ({"mean": np.inf}, "mean['b'] must be finite"),
        ({"mean": {"w": np.zeros(3), "b": 0}}, "mean['w'] must have the shape (2,)"),
    ],
)
def test_a_normal_has_a_mean_and_a_scale(given, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        starts.normal(PAIR, 3, **given)
    assert words in str(caught.value)


def test_around_has_a_centre_and_a_scale():
    with pytest.raises(ValueError, match=r"^params\['w'\]\[1\] must be finite.*got inf"):
        starts.around({"w": np.array([0, np.inf])}, 1.0, 3)
    with pytest.raises(TypeError, match=r"^scale\['b'\] must be a real number.*got None"):
        starts.around(PAIR, {"w": 1.0, "b": None}, 3)
    with pytest.raises(ValueError, match=r"^scale must be finite.*got -1.0"):
        starts.around(np.zeros(2), -1.0, 3)


def test_sobol_names_what_has_no_limit():
    with pytest.raises(ValueError, match=r"21201 dimensions.* 21202 entries.*latin_hypercube"):
        starts.sobol({"a": np.zeros(21201), "b": 0.0}, (0, 1), 2)


@every_sampler
def test_traced_values_are_refused(draw):
    with pytest.raises(ValueError, match="starts are drawn on the host"):
        jax.jit(lambda x: draw(x, 3))(np.zeros(2))
    with pytest.raises(ValueError, match="starts are drawn on the host"):
        jax.jit(lambda side: draw(np.zeros(2), 3, bounds=(0, side)))(1.0)


def test_the_module_does_not_import_scipy_stats():
    code = "import sys; from jaxgd import starts; assert 'scipy.stats' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_public_is_documented():
    assert set(starts.__all__) == {*SAMPLERS, "screen"}
    for name in starts.__all__:
        doc = inspect.getdoc(getattr(starts, name))
        assert all(part in doc for part in ("Args:", "Returns:", "Raises:", ">>>")), name


def bumps(x, scale=1.0):
    return scale * jnp.sum(x**2) + jnp.where(x[0] > 1.9, jnp.nan, 0.0)


@pytest.mark.parametrize("keep", [1, 7, 40])
def test_a_screen_keeps_the_best_and_spreads_them(keep):
    candidates = starts.uniform(np.zeros(2), (-2.0, 2.0), 600)
    kept = starts.screen(bumps, candidates, keep, args=(3.0,))
    losses = np.sum(kept**2, axis=1)
    assert kept.shape == (keep, 2)
    assert np.all(np.diff(losses) >= -1e-6)
    every = np.sort(np.sum(candidates[candidates[:, 0] <= 1.9] ** 2, axis=1))
    assert losses[0] == pytest.approx(every[0])
    assert losses[-1] <= every[8 * keep] + 1e-6
    best = candidates[np.argsort(np.sum(candidates**2, axis=1))[:keep]]

    def nearest(points):
        apart = np.abs(points[:, None] - points).max(axis=2) + 9 * np.eye(len(points))
        return apart.min() if len(points) > 1 else 0

    assert nearest(kept) >= nearest(best)
    assert keep == 1 or nearest(kept) > 2 * nearest(best)


def test_a_screen_takes_any_params_and_says_if_too_few_are_finite():
    candidates = {"x": np.linspace(-3.0, 3.0, 13)[:, None].astype(np.float32), "n": np.arange(13)}
    kept = starts.screen(lambda p: bumps(p["x"]) + p["n"].astype(np.float32), candidates, 3)
    assert kept["x"].shape == (3, 1)
    assert kept["n"].tolist() == [3, 4, 5] or kept["n"][0] in (4, 5)
    with pytest.raises(ValueError, match="finite loss and gradient, 10 of 13; got 11"):
        starts.screen(lambda p: bumps(p["x"]), candidates, 11)
    with pytest.raises(ValueError, match="keep must be a whole number >= 1, got 0"):
        starts.screen(lambda p: bumps(p["x"]), candidates, 0)
