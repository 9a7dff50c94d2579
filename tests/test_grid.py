"""What differs from run to run: axes, grids and products, and what is refused of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd


def loss(x, centre=0.0):
    return jnp.sum((x - centre) ** 2)


POINT = np.array([1.0, -2.0], np.float32)


def test_a_sweep_goes_through_a_grid_in_the_order_of_its_lists():
    rates, decays = [0.01, 0.1, 0.2], [0.0, 0.5]
    grid = gd.grid(gd.Momentum, learning_rate=rates, decay=decays, nesterov=True)
    assert (grid.shape, len(grid)) == ((3, 2), 6)
    runs = gd.sweep(loss, POINT, grid, 30)
    assert runs.shape == (3, 2)
    np.testing.assert_allclose(runs.inputs.rule.learning_rate, np.repeat(rates, 2), rtol=1e-6)
    np.testing.assert_allclose(runs.inputs.rule.decay, np.tile(decays, 3), rtol=1e-6)
    assert runs.inputs.rule.nesterov is True
    assert runs.inputs.params is runs.inputs.args is runs.inputs.key is None
    table = runs.loss.reshape(runs.shape)
    for i, rate in enumerate(rates):
        for j, decay in enumerate(decays):
            alone = gd.minimize(loss, POINT, gd.Momentum(rate, decay, nesterov=True), 30)
            np.testing.assert_allclose(table[i, j], alone.loss, rtol=2e-5)


def test_numbers_of_schedules_and_of_chains_are_swept_too():
    def make(init, rate, norm):
        schedule = gd.ExponentialDecay(init, rate=rate, every=10)
        return gd.chain(gd.ClipByGlobalNorm(norm), gd.Adam(schedule))

    grid = gd.grid(make, init=[0.1, 0.3], rate=np.array([0.5, 0.9]), norm=[1.0, 2.0, 3.0])
    runs = gd.sweep(loss, POINT, grid, 25, record=gd.Record())
    assert runs.shape == (2, 2, 3)
    swept = runs.inputs.rule
    assert swept.rule.learning_rate.init.shape == swept.transforms[0].max_norm.shape == (12,)
    alone = gd.minimize(loss, POINT, make(0.3, 0.5, 2.0), 25)
    one = runs[int(np.ravel_multi_index((1, 0, 1), runs.shape))]
    np.testing.assert_allclose(one.loss, alone.loss, rtol=1e-5)
    np.testing.assert_allclose(one.history.learning_rate, alone.history.learning_rate, rtol=1e-5)


def test_schedules_of_one_class_are_values_of_a_grid():
    rates = [gd.CosineDecay(0.2, steps=n) for n in (10, 20, 40)]
    runs = gd.sweep(loss, POINT, gd.grid(gd.Adam, learning_rate=rates), 30)
    assert runs.inputs.rule.learning_rate.steps.tolist() == [10, 20, 40]


def test_a_sweep_meets_every_start_and_a_product_everything():
    points = np.stack([POINT, 2 * POINT, 3 * POINT])
    centres = np.array([0.0, 1.0], np.float32)
    grid = gd.grid(gd.GradientDescent, learning_rate=[0.1, 0.2])
    swept = gd.sweep(loss, points, grid, 20, axes=gd.Axes(params=0))
    assert swept.shape == (2, 3)
    both = gd.product(grid, params=points, args=(centres,))
    runs = gd.minimize_many(loss, None, both, 20)
    assert runs.shape == (2, 3, 2)
    everywhere = np.ndindex(runs.shape)
    for i, (rate, start, centre) in enumerate(everywhere):
        rule = gd.GradientDescent([0.1, 0.2][rate])
        alone = gd.minimize(loss, points[start], rule, 20, args=(centres[centre],))
        np.testing.assert_allclose(runs.loss[i], alone.loss, rtol=1e-4, atol=1e-9)
        np.testing.assert_array_equal(runs.inputs.params[i], points[start])
        assert runs.inputs.args[0][i] == centres[centre]
        if centre == 0:
            at = np.ravel_multi_index((rate, start), swept.shape)
            np.testing.assert_allclose(swept.loss[at], runs.loss[i], rtol=1e-5, atol=1e-9)


def test_all_that_is_mapped_by_axes_goes_together():
    points, centres = np.stack([POINT, 0 * POINT]), np.array([[0.0], [3.0]], np.float32)
    grid = gd.grid(gd.GradientDescent, learning_rate=[0.1, 0.2])
    for rule, axes in (
        (grid, gd.Axes(params=0, args=0)),
        (gd.GradientDescent(np.array([0.1, 0.2])), gd.Axes(params=0, rule=0, args=(0,))),
    ):
        runs = gd.minimize_many(loss, points, rule, 15, axes=axes, args=(centres,))
        assert runs.shape == (2,)
        for i in range(2):
            one = gd.GradientDescent([0.1, 0.2][i])
            alone = gd.minimize(loss, points[i], one, 15, args=(centres[i],))
            np.testing.assert_allclose(runs.loss[i], alone.loss, rtol=1e-5, atol=1e-9)


def test_axes_are_prefixes_of_any_params():
    def deep(params, data):
        return jnp.sum((params["w"] - data["a"]) ** 2) + params["b"] ** 2 + data["n"]

    points = {"w": np.ones((4, 3), np.float32), "b": np.float32(2.0)}
    data = {"a": np.arange(4, dtype=np.float32), "n": 5}
    axes = gd.Axes(params={"w": 0, "b": None}, args=({"a": 0, "n": None},))
    runs = gd.minimize_many(deep, points, gd.Adam(0.1), 5, axes=axes, args=(data,))
    assert runs.params["w"].shape == (4, 3)
    assert runs.params["b"].shape == (4,)
    assert runs.inputs.args[0]["n"] is None
    assert runs.inputs.params["b"] is None
    columns = runs.to_dict()
    assert columns["params['w']"].shape == (4, 3)
    assert columns["args[0]['a']"].tolist() == [0, 1, 2, 3]


def test_a_grid_of_one_is_a_grid():
    runs = gd.sweep(loss, POINT, gd.grid(gd.Adam, learning_rate=[0.1]), 5)
    assert runs.shape == (1,)
    assert runs.inputs.rule.learning_rate.shape == (1,)


def test_a_grid_may_be_made_before_the_precision_is_chosen():
    narrow = gd.grid(gd.Adam, learning_rate=[0.1, 0.2])
    with jax.enable_x64(True):
        wide = gd.grid(gd.Adam, learning_rate=[0.1, 0.2])
        one, other = (gd.sweep(loss, POINT * 1.0, g, 9).loss for g in (narrow, wide))
    np.testing.assert_allclose(one, other, rtol=1e-4)


def many(params=None, rule=None, **options):
    params = np.ones((3, 2), np.float32) if params is None else params
    return gd.minimize_many(loss, params, rule or gd.Adam(0.1), 5, **options)


TWO = {"w": np.ones((3, 2)), "b": np.ones(4)}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: many(np.ones((0, 2))), r"params must have one run at least, got none"),
        (lambda: gd.multistart(loss, np.ones((0, 2)), gd.Adam(0.1)), "one run at least"),
        (lambda: many(TWO), r"must agree, but params\['b'\] has 4, params\['w'\] has 3"),
        (lambda: many(args=(np.ones(5),), axes=gd.Axes(args=0)), r"params has 3, args\[0\] has 5"),
        (
            lambda: many(rule=gd.grid(gd.Adam, learning_rate=[0.1, 0.2])),
            "rule.learning_rate has 2, params has 3, the grid has 2; for every combination",
        ),
        (lambda: many(1.0), "params must be an array with a leading axis of runs, got 1.0"),
        (lambda: many([1.0, 2.0]), r"params\[0\] must be an array with a leading axis"),
        (lambda: many(axes=gd.Axes(params=1)), "axes.params must be 0 or None, got 1"),
        (lambda: many(axes=gd.Axes(params={"w": 0})), "axes.params must be 0, None or a pytree"),
        (lambda: many(axes=gd.Axes(params=None)), "axes must say what has a leading axis"),
        (lambda: many(axes=gd.Axes(params=None, rule=0)), "axes must say what has"),
        (lambda: many(axes=0), "axes must be a gd.Axes, got 0"),
        (
            lambda: many(rule=gd.Adam(np.array([0.1, -0.2, 0.3])), axes=gd.Axes(rule=0)),
            "rule.learning_rate must be a number >= 0 or a schedule, got -0.2",
        ),
        (
            lambda: many(rule=gd.Adam(np.array([0.1, np.nan, 0.3])), axes=gd.Axes(rule=0)),
            "rule.learning_rate must be a number >= 0",
        ),
        (
            lambda: many(
                rule=gd.Adam(gd.CosineDecay(0.1, np.array([1, 2.5, 3]))), axes=gd.Axes(rule=0)
            ),
            "rule.learning_rate.steps must be a whole number",
        ),
        (lambda: gd.grid(gd.Momentum, learning_rate=0.1, nesterov=[True, False]), "select other"),
        (lambda: gd.grid(gd.Adam, learning_rate=0.1), "must be given a list of values"),
        (lambda: gd.grid(gd.Adam, learning_rate=[]), "grid: learning_rate is empty"),
        (lambda: gd.grid(gd.Adam, learning_rate=[0.1, -1.0]), "rule.learning_rate must be"),
        (
            lambda: gd.grid(gd.Adam, learning_rate=[gd.Constant(0.1), gd.CosineDecay(0.1, 9)]),
            "select other code",
        ),
        (lambda: gd.grid(gd.Adam(0.1), learning_rate=[0.1]), "grid must be given a rule's class"),
        (lambda: many(devices=[jax.devices()[0]] * 2), "devices must differ"),
        (lambda: gd.sweep(loss, POINT, gd.Adam(0.1)), "grid must be made by gd.grid"),
        (
            lambda: gd.multistart(loss, TWO, gd.grid(gd.Adam, learning_rate=[0.1, 0.2])),
            "rule must be one update rule, got a Grid: for every combination",
        ),
        (
            lambda: many(rule=gd.product(gd.Adam(0.1), params=np.ones((2, 2)))),
            "params must be None: the product has its own",
        ),
        (lambda: many(lanes=0), "lanes must be a whole number >= 1, got 0"),
        (lambda: many(devices=[]), "devices must be a list of JAX devices"),
        (lambda: many(devices=["cpu"]), "devices must be JAX devices"),
        (lambda: many(bounds=(2.0, 1.0)), "lower <= upper"),
        (lambda: many(bounds=(np.zeros(3), None)), r"bounds\[0\] must have the shape \(2,\)"),
        (
            lambda: many(np.array([[0.0, 0.5], [0.5, 7.0]]), bounds=(0.0, 1.0)),
            r"params\[1, 1\] starts outside its bounds: 7.0 is not in \[0.0, 1.0\]",
        ),
        (lambda: gd.multistart(loss, np.ones((2, 2)), gd.Adam(0.1), -1), "max_steps"),
        (lambda: many(key=jax.random.split(jax.random.key(0), 3)), "key must be one JAX random"),
        (lambda: jax.vmap(lambda x: many(x).loss)(np.ones((2, 3, 2))), "params holds traced"),
    ],
)  # fmt: skip
def test_what_is_refused(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()
