"""Params, args and aux of every kind: what is optimised and what is handed through."""

import dataclasses

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_cases import same_bits, untimed

import jaxgd as gd
from jaxgd.rules import RULES


def squares(params):
    leaves = [leaf for leaf in jax.tree.leaves(params) if hasattr(leaf, "dtype")]
    inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(jnp.sum(jnp.abs(leaf.astype(_wide(leaf))) ** 2) for leaf in inexact)


def _wide(leaf):
    return jnp.complex64 if jnp.iscomplexobj(leaf) else jnp.float32


def minimize(params, rule=None, max_steps=50, loss=squares, **options):
    rule = gd.GradientDescent(0.1) if rule is None else rule
    return gd.minimize(loss, params, rule, max_steps, **options)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Point:
    x: object
    y: object


def test_nested_params_keep_their_structure_and_are_all_optimised():
    params = {"a": [np.ones(2), (3.0, Point(jnp.ones((2, 1)), [np.float32(2)]))], "b": {"c": 1.0}}
    result = minimize(params)
    assert jax.tree.structure(result.params) == jax.tree.structure(params)
    for before, after in zip(*map(jax.tree.leaves, (params, result.params)), strict=True):
        assert isinstance(after, jax.Array)
        assert after.shape == np.shape(before)
        assert after.dtype == jnp.result_type(before)
        np.testing.assert_allclose(after, np.asarray(before) * 0.8**50, rtol=1e-5)
    made = jax.jit(lambda p: gd.descend(squares, p, gd.GradientDescent(0.1), 50))(params).params
    assert jax.tree.structure(made) == jax.tree.structure(params)
    for one, other in zip(*map(jax.tree.leaves, (made, result.params)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def activation(x):
    return x


def test_other_leaves_are_handed_through_as_they_are():
    held = {
        "count": jnp.arange(3),
        "host": np.arange(4),
        "small": np.int8(3),
        "mask": np.array([True, False]),
        "flag": True,
        "function": activation,
        "name": "relu",
        "key": jax.random.key(0),
        "none": None,
        "object": dataclasses,
    }
    result = minimize({"w": np.ones(2)} | held)
    for name, value in held.items():
        assert result.params[name] is value, name
    np.testing.assert_allclose(result.params["w"], 0.8**50, rtol=1e-5)
    pure = gd.descend(squares, {"w": np.ones(2)} | held, gd.GradientDescent(0.1), 1)
    for name, value in held.items():
        assert pure.params[name] is value, name


def test_held_leaves_reach_the_loss():
    def loss(params):
        assert params["flag"] is True
        scale = {"two": 2.0}[params["name"]]
        noise = jax.random.normal(params["key"], (3,))
        return scale * jnp.sum((params["w"][params["index"]] - params["f"](noise)) ** 2)

    params = {
        "w": np.zeros(5), "index": np.array([4, 0, 2]), "flag": True, "name": "two",
        "key": jax.random.key(1), "f": lambda x: 3 * x,
    }  # fmt: skip
    w = np.array(minimize(params, loss=loss, max_steps=200).params["w"])
    noise = 3 * jax.random.normal(jax.random.key(1), (3,))
    np.testing.assert_allclose(w[[4, 0, 2]], noise, atol=1e-4)
    np.testing.assert_array_equal(w[[1, 3]], 0)


def test_a_model_of_equinox_is_trained_as_it_is():
    model = equinox.nn.MLP(1, 1, 8, 1, activation=jnp.tanh, key=jax.random.key(0))
    x = jnp.linspace(-2, 2, 20)[:, None]

    def loss(model, x):
        return jnp.mean((jax.vmap(model)(x) - jnp.sin(x)) ** 2)

    result = minimize(model, gd.Adam(0.02), 300, loss, args=(x,))
    assert isinstance(result.params, equinox.nn.MLP)
    assert result.params.activation is model.activation
    assert result.loss < 0.02 * result.history.loss[0]
    assert jax.tree.structure(result.params) == jax.tree.structure(model)


DTYPES = {
    "half": jnp.float16,
    "brain": jnp.bfloat16,
    "single": np.float32,
    "double": np.float64,
    "complex": np.complex64,
    "integer": np.int16,
}


@pytest.mark.parametrize(
    ("rule", "x64"), [("Adam", True), ("Adam", False), ("Lion", True), ("Momentum", False)]
)
def test_dtypes_never_change(rule, x64):
    with jax.enable_x64(x64):
        params = {name: np.ones(3, dtype) for name, dtype in DTYPES.items()}
        params |= {"float": 1.0, "host": np.ones(2), "weak": jnp.asarray(1.0)}
        expected = jax.tree.map(lambda leaf: jnp.asarray(leaf).dtype, params)
        result = minimize(params, RULES[rule](0.01), 50, keep="last", record=gd.Record(params=True))
        moved = jax.eval_shape(lambda p: gd.descend(squares, p, RULES[rule](0.01), 3), params)
        optimised = result.history.params | {"integer": params["integer"]}
        for made in (result.params, optimised, moved.params):
            assert jax.tree.map(lambda leaf: leaf.dtype, made) == expected
        assert result.params["double"].dtype == (np.float64 if x64 else np.float32)
        assert result.steps == 50
    for name, leaf in result.params.items():
        if name != "integer":
            assert np.all(np.abs(leaf) < 1), name
            assert np.all(np.isfinite(leaf)), name


@pytest.mark.float32
def test_a_weak_start_is_the_program_of_a_strong_one():
    weak, strong = jnp.asarray(2.0), jnp.float32(2.0)
    assert weak.weak_type
    assert not strong.weak_type

    def loss(x):
        return (x - 1) ** 2

    first = minimize(strong, loss=loss)
    for start in (weak, 2.0, np.float32(2.0)):
        again = minimize(start, loss=loss)
        assert again.compile_seconds == 0
        assert not again.params.weak_type
        assert same_bits(untimed(again), untimed(first))


def test_scalars_and_empty_leaves():
    result = minimize({"none": np.zeros((0, 3)), "some": np.ones(2), "one": np.ones(())})
    assert result.params["none"].shape == (0, 3)
    np.testing.assert_allclose(result.params["some"], 0.8**50, rtol=1e-5)
    assert result.params["one"].shape == ()
    stop = gd.Stop(gtol=1e-3, xtol=1e-9, ftol=0)
    options = {"stop": stop, "record": gd.Record(grad_norm=False, params=True)}
    ended = minimize({"none": np.zeros(0), "some": np.ones(2)}, bounds=(-1, 1), **options)
    assert ended.converged
    assert ended.history.params["none"].shape == (len(ended.history), 0)
    alone = minimize(2.0, loss=lambda x: x**2)
    assert alone.params.shape == ()
    np.testing.assert_allclose(alone.params, 2 * 0.8**50, rtol=1e-5)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("call", [gd.minimize, gd.descend])
def test_aux_is_that_of_the_returned_params(keep, call):
    def loss(x):
        return jnp.sum(x**2), {"x": x, "three": 3, "text": jnp.sum(x)}

    rule = gd.Momentum(0.3, decay=0.9)  # oscillates: the last is not the best
    result = call(loss, np.ones(2), rule, 23, has_aux=True, keep=keep)
    assert (result.at_step == 23) == (keep == "last")
    np.testing.assert_array_equal(result.aux["x"], result.params)
    assert result.aux["three"] == 3
    np.testing.assert_allclose(result.aux["text"], np.sum(result.params), rtol=1e-5)


def test_without_aux_it_is_none():
    assert minimize(1.0).aux is None
    assert gd.descend(squares, 1.0, gd.GradientDescent(0.1), 1).aux is None


def test_args_of_every_kind():
    def loss(x, data, scale, *choices):
        kind, function, options = choices
        residual = {"difference": x - data["centre"]}[kind]
        assert isinstance(options, dict)
        return scale * jnp.sum(function(residual)) + 0 * options["count"]

    def square(x):
        return x**2

    def with_args(**changes):
        args = {
            "data": {"centre": np.full(2, 3.0)}, "scale": 1, "kind": "difference",
            "function": square, "options": {"count": 2, "flag": None},
        }  # fmt: skip
        args |= changes
        return minimize(np.zeros(2), loss=loss, args=tuple(args.values()), max_steps=100)

    first = with_args()
    np.testing.assert_allclose(first.params, 3, rtol=1e-4)
    numbers = with_args(data={"centre": np.full(2, 5.0)}, options={"count": 3, "flag": None})
    assert numbers.compile_seconds == 0
    np.testing.assert_allclose(numbers.params, 5, rtol=1e-4)
    other = with_args(function=jnp.cosh)
    assert other.compile_seconds > 0
    assert other.loss == pytest.approx(2)
    with pytest.raises(KeyError):
        with_args(kind="ratio")


def test_a_new_static_arg_is_a_new_result():
    def loss(x, power):
        return jnp.sum(jnp.abs(x - 1) ** {"two": 2, "four": 4}[power])

    two, four = (minimize(np.zeros(1), loss=loss, args=(power,)) for power in ("two", "four"))
    assert two.params[0] > four.params[0] > 0
    again = minimize(np.zeros(1), loss=loss, args=("two",))
    assert again.compile_seconds == 0
    assert same_bits(again.params, two.params)


def test_arrays_of_another_byte_order_are_welcome():
    big = np.array([1.0, 2.0], ">f4")
    result = minimize({"w": big}, max_steps=5)
    assert result.params["w"].dtype == np.float32
    np.testing.assert_allclose(
        result.params["w"], minimize({"w": big.astype("f4")}, max_steps=5).params["w"]
    )
