"""Very many small leaves, which are packed: nothing of it is to be seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd
from jaxgd.packing import MANY, SMALL, packing_of

DRAW = np.random.default_rng(0)


def tree(count=MANY + 2):
    """Leaves of several shapes and dtypes, among them a large one, none, and one that is held."""
    leaves = [DRAW.normal(size=(i % 3, 2)[i % 2 :] or ()).astype(np.float32) for i in range(count)]
    return {
        "many": leaves,
        "wide": [np.full((2, 3), 0.5 + i, jnp.bfloat16) for i in range(6)],
        "large": np.linspace(-1, 1, SMALL + 1, dtype=np.float32),
        "held": jnp.int32(3),
        "none": None,
    }


def loss(params, scale=1.0):
    parts = [jnp.sum((leaf.astype(jnp.float32) - 0.3) ** 2) for leaf in jax.tree.leaves(params)]
    return scale * (
        sum(parts) + 0.1 * jnp.sum(jnp.sin(params["many"][3])) * params["held"].astype(jnp.float32)
    )


def near(tree, other):
    """The same form, and equal to rounding."""
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        tolerance = 2e-2 if a.dtype == jnp.bfloat16 else 1e-4
        wide = (np.asarray(leaf, np.float32) for leaf in (a, b))
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=1e-5)


def test_what_is_packed_comes_back_with_any_axes_before():
    params = {name: part for name, part in tree().items() if name != "held"}
    packing = packing_of(params)
    packed = packing.pack(params)
    assert [v.dtype for v in packed.vectors] == [jnp.float32, jnp.bfloat16]
    assert [leaf.size for leaf in packed.others] == [SMALL + 1]
    for back in (
        packing.unpack(packed),
        jax.jit(lambda t: packing.unpack(packing.pack(t)))(params),
    ):
        assert jax.tree.structure(back) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, back, params)
    rows = packing.unpack(jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), packed))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], 2 * b), rows, params)


@pytest.mark.parametrize("engine", [gd.engines.Cpu(), gd.engines.Plain()])
@pytest.mark.parametrize("rule", [gd.chain(gd.ClipByGlobalNorm(5.0), gd.Adam(0.05)), gd.Lion(0.05)])
def test_a_run_of_many_leaves_is_that_of_descend(rule, engine):
    params, record = tree(), gd.Record(params=True, every=3)
    result = gd.minimize(loss, params, rule, 12, engine=engine, record=record, keep="last")
    expected = jax.jit(lambda p: gd.descend(loss, p, rule, 12, record=record))(params)
    near(result.params, expected.params)
    near(result.history.params, expected.history.params)
    near(result.history.loss, expected.history.loss)
    assert result.params["held"].dtype == jnp.int32


def test_bounds_resuming_and_a_callback_see_the_users_tree():
    params, rule, seen = tree(), gd.Adam(0.05), []
    bounds = ({"many": 0.0, "wide": None, "large": -1.0, "held": None, "none": None}, 1e3)
    params["many"] = [np.abs(leaf) for leaf in params["many"]]

    def callback(result):
        seen.append(jax.tree.structure(result.params))

    given = {"bounds": bounds, "keep": "last"}
    whole = gd.minimize(loss, params, rule, 20, callback=callback, **given)
    half = gd.minimize(loss, params, rule, 10, **given)
    rest = gd.minimize(loss, params, rule, 20, state=half.state, **given)
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)
    assert set(seen) == {jax.tree.structure(params)}
    assert min(float(jnp.min(leaf, initial=1.0)) for leaf in whole.params["many"]) >= 0
    with pytest.raises(ValueError, match="state belongs to another run"):
        gd.minimize(
            loss, params | {"many": params["many"][:5]}, rule, 20, state=half.state, **given
        )


def test_a_foreign_rule_sees_the_users_tree():
    optax = pytest.importorskip("optax")
    seen = []

    def label(params):
        seen.append(jax.tree.structure(params))
        return jax.tree.map(lambda leaf: "a" if leaf.ndim else "b", params)

    rule = optax.multi_transform({"a": optax.sgd(0.1), "b": optax.set_to_zero()}, label)
    result = gd.minimize(loss, tree(), rule, 3)
    assert {s.num_leaves for s in seen} == {len(jax.tree.leaves(result.params)) - 1}


def test_many_runs_of_many_leaves_are_those_of_one():
    params = tree()
    starts = jax.tree.map(lambda leaf: np.stack([leaf, leaf, leaf]), params)
    apart = np.arange(3, dtype=np.float32)
    starts["many"][3] = starts["many"][3] + apart.reshape(3, *[1] * params["many"][3].ndim)
    runs = gd.multistart(loss, starts, gd.Adam(0.05), 9, record=gd.Record(params=True))
    for i in range(3):
        start = jax.tree.map(lambda leaf, i=i: leaf[i], starts)
        alone = gd.minimize(loss, start, gd.Adam(0.05), 9, record=gd.Record(params=True))
        near(runs[i].params, alone.params)
        near(runs[i].history.params, alone.history.params)
