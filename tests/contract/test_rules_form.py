"""Laws of every update rule: forms are kept, and vmap, jit and a loop say the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract_cases import (
    RULE_CASES,
    assert_close,
    decaying_rate,
    gradients,
    nearby,
    quick_jit,
    varied,
    walk,
    walk_to_the_end,
    with_rate,
)

import jaxgd as gd
from jaxgd.rules import canonical_rule, keeps_nonfinite, name_of, parts_of


@pytest.fixture(scope="module", params=RULE_CASES.values(), ids=RULE_CASES)
def rule(request):
    return request.param


class Walk:
    """`walk` as a program, and how often it was traced; one for all laws of a rule."""

    def __init__(self):
        self.traces = 0
        self.compiled = quick_jit(self.traced)

    def traced(self, *args):
        self.traces += 1
        return walk(*args)


@pytest.fixture(scope="module")
def walked(rule):
    del rule
    return Walk()


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    inside: object


def params_of_every_form(x64):
    wide = {"double": jnp.ones(3, "float64"), "wide": jnp.ones(2, "complex128")} if x64 else {}
    return {
        "single": jnp.ones((2, 3), "float32"),
        "short": [jnp.ones(3, "bfloat16"), jnp.ones((), "float16")],
        "complex": (jnp.ones(2, "complex64"), jnp.ones((), "complex64")),
        "scalar": jnp.ones(()),
        "no entries": jnp.ones((0, 3)),
        "no leaves": {},
        "none": None,
        "box": Box({"deep": Box(jnp.ones((1, 2, 1)))}),
        **wide,
    }


def form(tree):
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]


def check_form(rule, params):
    state = jax.eval_shape(rule.init, params)
    updates, after = jax.eval_shape(rule.update, params, state, params)
    assert form(updates) == form(params)
    assert form(after) == form(state)
    for leaf in jax.tree.leaves(state):
        assert not leaf.weak_type
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert np.promote_types(leaf.dtype, "float32") == leaf.dtype

    def body(carry, _):
        params, state = carry
        updates, state = rule.update(params, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), None

    def scanned(params):
        return jax.lax.scan(body, (params, rule.init(params)), length=2)[0]

    assert form(jax.eval_shape(scanned, params)) == (
        jax.tree.structure((params, state)),
        form(params)[1] + form(state)[1],
    )


@pytest.mark.parametrize("x64", [False, True], ids=["x32", "x64"])
def test_structure_shape_and_dtype_are_kept(rule, x64):
    with jax.enable_x64(x64):
        params = params_of_every_form(x64)
        check_form(rule, params)
        check_form(canonical_rule(with_rate(rule, decaying_rate())), params)


def test_one_array_and_nothing_are_params_too(rule):
    check_form(rule, jnp.ones(()))
    check_form(rule, {})


def test_bfloat16_params_move_as_wide_ones_do(rule, walked):
    """The arithmetic and the state are wide; only what comes out is rounded, once.

    Rules made of others hand on gradients in the params' dtype: that is the protocol.
    """
    times = 20 if parts_of(rule) else 1
    grads = gradients().astype("bfloat16")
    short = walked.compiled(canonical_rule(rule), jnp.zeros(40, "bfloat16"), grads)
    with jax.enable_x64(True):
        wide = walked.compiled(canonical_rule(rule), np.zeros(40), grads.astype("float64"))
    assert short.dtype == grads.dtype
    short, small = np.asarray(short).astype("float64"), 2e-4 * float(np.max(np.abs(wide)))
    np.testing.assert_allclose(short, wide, rtol=times * 2**-8, atol=times * small)


def one_number_changed(rule, i):
    """The rule, and for each of its numbers a copy in which that one has another value."""
    leaves, treedef = jax.tree.flatten(canonical_rule(rule))
    others = jax.tree.leaves(canonical_rule(varied(rule, nearby(i))))
    yield jax.tree.unflatten(treedef, leaves)
    for k, other in enumerate(others):
        yield jax.tree.unflatten(treedef, [*leaves[:k], other, *leaves[k + 1 :]])


def test_maps_over_numbers_and_params_as_a_loop_and_traces_once(rule):
    walked = Walk()
    with jax.enable_x64(True):
        rules = list(one_number_changed(rule, 3))
        xs = np.random.default_rng(1).normal(size=(len(rules), 40))
        grads = np.stack([gradients(i) * 10.0 ** (i % 3 - 1) for i in range(len(rules))])
        alone = [walked.compiled(*each) for each in zip(rules, xs, grads, strict=True)]
        assert walked.traces == 1
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rules)
        together = quick_jit(jax.vmap(walk))(stacked, xs, grads)
        for row, expected in zip(together, alone, strict=True):
            assert_close(row, expected, 1e-12)


def test_each_number_matters(rule, walked):
    """For the updates, or for what the state is kept for, such as an average."""
    with jax.enable_x64(True):
        rules = list(one_number_changed(rule, 3))
        names = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(rules[0])]
        # Of a wide range of sizes, so that clips of all sorts have something to do.
        grads = gradients() * np.logspace(-1, 1, 40)
        base, *others = [walked.compiled(one, np.linspace(-1, 1, 40), grads) for one in rules]
        for name, changed, other in zip(names, rules[1:], others, strict=True):
            if np.max(np.abs(other - base)) <= 1e-9:
                ends = quick_jit(walk_to_the_end)
                ours, theirs = (ends(one, np.ones(40), grads)[0] for one in (changed, rules[0]))
                pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
                assert any(np.max(np.abs(a - b)) > 1e-9 for a, b in pairs), f"{name} has no effect"


def test_one_mapped_number_at_a_time(rule):
    """What is not mapped stays as it is: an unmapped state may not meet a mapped one."""
    leaves, treedef = jax.tree.flatten(canonical_rule(rule))
    x, grads = np.ones(40, "float32"), gradients().astype("float32")
    for i in range(len(leaves)):
        axes = jax.tree.unflatten(treedef, [0 if i == j else None for j in range(len(leaves))])
        mapped = [np.stack([a, a]) if i == j else a for j, a in enumerate(leaves)]
        rules = jax.tree.unflatten(treedef, mapped)
        out = jax.eval_shape(jax.vmap(walk, (axes, None, None)), rules, x, grads)
        assert out.shape == (2, *grads.shape)


def test_without_jit_it_is_the_same(rule, walked):
    with jax.enable_x64(True):
        x, grads = np.linspace(-1, 1, 40), gradients()
        compiled = walked.compiled(canonical_rule(rule), x, grads)
        with jax.disable_jit():
            assert_close(walk(rule, jnp.asarray(x), grads[:4]), compiled[:4], 1e-12)


def test_constant_gradients_keep_the_params_finite(rule, walked):
    """A linear loss, or none: averages settle, their differences cancel, divisors may vanish."""
    sizes = np.float32([0, 1e-12, 1, -1, 0.3, 1e3, -1e8])
    grads = np.tile(sizes, (600, 1))
    updates = walked.compiled(canonical_rule(rule), np.ones_like(sizes), grads)
    stuck = sizes[~np.all(np.isfinite(updates), axis=0)]
    assert not stuck.size, f"the updates for constant gradients {stuck} are not finite"


def quadratic(x):
    return jnp.sum(x**2)


@pytest.mark.parametrize("run", [gd.descend, gd.minimize])
def test_a_whole_run_without_jit_is_the_same(run):
    rule = next(iter(RULE_CASES.values()))
    compiled = run(quadratic, jnp.ones(2), rule, 2)
    # Where nothing is compiled, a status is an int64 for JAX, not a Python number.
    with jax.disable_jit(), jax.numpy_dtype_promotion("standard"):
        eager = run(quadratic, jnp.ones(2), rule, 2)
    assert_close(eager.params, compiled.params, 1e-6)
    assert_close(eager.history.loss, compiled.history.loss, 1e-6)


def left_after(rule, bad, at):
    """The params and the state after gradients of which one has one entry that is `bad`."""
    grads = jnp.asarray(gradients()[:, :3], jnp.float32).at[at, 1].set(bad)

    def body(carry, g):
        x, state = carry
        updates, state = rule.update(g, state, x)
        return (x + updates, state), None

    x = jnp.ones(3, jnp.float32)
    return jax.lax.scan(body, (x, rule.init(x)), grads)[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_says_that_it_keeps_what_is_not_finite_does(rule, bad):
    """The engine looks at params and state instead of each gradient."""
    compiled = quick_jit(left_after)
    for at in (0, 4):
        left = jax.tree.leaves(compiled(canonical_rule(rule), bad, at))
        floats = [leaf for leaf in left if leaf.dtype.kind == "f"]
        lost = all(np.all(np.isfinite(leaf)) for leaf in floats)
        assert not (lost and keeps_nonfinite(rule))
        assert keeps_nonfinite(rule) or "ClipByValue" in name_of(rule)
