"""Rules around rules: accumulated gradients, averages of iterates, partitions of the params."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpy_rules
import optax
import pytest
from contract_cases import assert_close, quick_jit, walk

import jaxgd as gd
from jaxgd.rules import name_of

ENGINES = {"cpu": gd.engines.Cpu(8), "plain": gd.engines.Plain(8)}
each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
DATA = np.random.default_rng(0).normal(size=(12, 8, 3))
RATES = gd.ExponentialDecay(0.1, rate=0.8)
ALL = gd.Record(params=True)


def misfit(x, rows):
    """A mean over rows, as of a batch."""
    return jnp.mean(jnp.log(jnp.cosh(rows @ x - 1)))


def bowl(x):
    return jnp.sum(jnp.array([1.0, 3.0, 0.5], x.dtype) * (x - 1) ** 2)


def own_loop(rule, x, batches):
    """A loop of one's own over batches: the iterates, and the state of the rule."""

    def step(carry, rows):
        x, state = carry
        updates, state = rule.update(jax.grad(misfit)(x, rows), state, x)
        return (x + updates, state), x + updates

    (_, state), xs = jax.lax.scan(step, (x, rule.init(x)), batches)
    return jnp.concatenate([x[None], xs]), state


@pytest.mark.parametrize("k", [1, 2, 3])
def test_accumulated_gradients_are_those_of_a_larger_batch(k):
    with jax.enable_x64(True):
        rule, x = gd.Adam(RATES), jnp.zeros(3)
        large = DATA.reshape(12 // k, 8 * k, 3)
        expected, _ = quick_jit(own_loop)(rule, x, large)
        xs, _ = quick_jit(own_loop)(gd.accumulate(rule, k), x, DATA)
        assert_close(xs[::k], expected, 1e-13)
        assert_close(xs, np.repeat(expected, k, axis=0)[:13], 1e-13)


def test_between_two_updates_nothing_moves_at_all():
    rule = gd.accumulate(gd.AdamW(0.1, weight_decay=0.5), every=4)
    updates = np.asarray(quick_jit(walk)(rule, jnp.ones(3), DATA[:, 0]))
    assert np.all((updates == 0).all(axis=1) == (np.arange(1, 13) % 4 != 0))


@each_engine
def test_a_sweep_goes_through_lengths_of_accumulation(engine):
    ks = [1, 2, 5]
    with jax.enable_x64(True):
        rules = gd.grid(lambda every: gd.accumulate(gd.Adam(RATES), every), every=ks)
        runs = gd.sweep(bowl, jnp.zeros(3), rules, 23, record=ALL, engine=engine)
        assert runs.engine.startswith(type(engine).__name__.lower())
        for i, k in enumerate(ks):
            rule = gd.accumulate(gd.Adam(RATES), k)
            alone = gd.minimize(bowl, jnp.zeros(3), rule, 23, record=ALL, engine=engine)
            assert alone.engine.startswith(type(engine).__name__.lower())
            assert_close(runs.history.params[i], alone.history.params, 1e-12)
            for rates in (runs.history.learning_rate[i], alone.history.learning_rate):
                assert_close(rates, 0.1 * 0.8 ** (np.arange(24) // k), 1e-12)


AVERAGES = {
    "exponential": (gd.average, {"decay": 0.8}, numpy_rules.ExponentialAverage(None, 0.8)),
    "all": (gd.average, {"start": 1}, numpy_rules.UniformAverage(None)),
    "late": (
        gd.average,
        {"start": 7, "every": 3},
        numpy_rules.UniformAverage(None, start=7, every=3),
    ),
}
each_average = pytest.mark.parametrize("name", AVERAGES)


@each_engine
@each_average
def test_an_average_is_that_of_the_recorded_params(name, engine):
    """Inside bounds, at which the rule alone would not stop."""
    make, numbers, reference = AVERAGES[name]
    bounds = (-0.2, np.array([0.5, 1.2, 0.3]))
    options = {"bounds": bounds, "record": ALL, "engine": engine, "keep": "last"}
    with jax.enable_x64(True):
        plain = gd.minimize(bowl, np.zeros(3), gd.Momentum(0.1), 20, **options)
        for steps in (0, 1, 6, 20):
            rule = make(gd.Momentum(0.1), **numbers)
            result = gd.minimize(bowl, np.zeros(3), rule, steps, **options)
            assert result.engine.startswith(type(engine).__name__.lower())
            np.testing.assert_array_equal(result.history.params, plain.history.params[: steps + 1])
            average = gd.averaged(result)
            assert_close(average, reference.average(result.history.params), 1e-14)
            assert average.dtype == np.float64


@each_average
def test_an_average_in_a_loop_of_ones_own_through_other_rules(name):
    make, numbers, reference = AVERAGES[name]
    with jax.enable_x64(True):
        for rule, k in (
            (gd.chain(gd.ClipByGlobalNorm(0.1), make(gd.Adam(0.1), **numbers)), 1),
            (optax.chain(optax.clip(0.1), make(optax.rmsprop(0.1), **numbers)), 1),
            (gd.accumulate(make(gd.Adam(0.1), **numbers), 2), 2),
        ):
            xs, state = own_loop(rule, jnp.zeros(3), DATA)
            assert_close(gd.averaged(state, xs[-1]), reference.average(np.asarray(xs[::k])), 1e-14)


@each_average
def test_the_average_of_short_floats_is_wide(name):
    """An increment of bfloat16 would be lost; what is returned has the dtype of the params."""
    make, numbers, reference = AVERAGES[name]
    rule = make(gd.GradientDescent(0.01), **numbers)
    xs, state = own_loop(rule, jnp.zeros(3, "bfloat16"), jnp.asarray(DATA, "bfloat16"))
    (mean,) = (leaf for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert mean.dtype == np.float32
    seen = reference.average(np.asarray(xs[:-1], np.float64))
    assert_close(mean, seen, 1e-6)
    average = gd.averaged(state, xs[-1])
    assert average.dtype == jnp.bfloat16
    assert_close(average.astype("float32"), reference.average(np.asarray(xs, np.float64)), 2**-8)


def test_the_average_of_very_many_arrays_and_of_what_is_held_fixed():
    """They are packed in a run; what is no float comes back as it was."""
    start = {f"x{i}": jnp.full(2, i / 60) for i in range(60)} | {"count": jnp.int32(7)}

    def loss(params):
        xs = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim]
        return sum(jnp.sum((x - 1) ** 2) for x in xs)

    rule = gd.average(gd.GradientDescent(0.1), decay=0.5)
    result = gd.minimize(loss, start, rule, 5, record=ALL)
    reference = numpy_rules.ExponentialAverage(None, 0.5)
    average = gd.averaged(result)
    assert jax.tree.structure(average) == jax.tree.structure(result.params)
    assert average.pop("count") == 7
    for name, leaf in average.items():
        assert_close(leaf, reference.average(result.history.params[name]), 1e-6)


def test_the_average_has_all_iterates_whichever_is_returned_or_failed():
    def cliff(x):
        return jnp.where(x < -0.9, jnp.nan, x)  # down by 0.25 a step: steps 0 to 3 are above

    rule = gd.average(gd.GradientDescent(0.25), start=0)
    result = gd.minimize(cliff, 0.0, rule, 10, keep="last")
    assert result.status == gd.Status.NON_FINITE
    assert float(gd.averaged(result)) == pytest.approx(-0.375)
    rule = gd.average(gd.GradientDescent(1.5), every=1)
    best = gd.minimize(lambda x: (x - 1) ** 2, 0.0, rule, 2)  # to 0, 3, -3
    assert (int(best.at_step), float(gd.averaged(best))) == (0, 0.0)


@each_engine
@each_average
def test_many_runs_have_an_average_each(name, engine):
    """Of which some end early, by a test or at a number that is not finite, and wait."""
    make, numbers, reference = AVERAGES[name]

    def loss(x):
        return jnp.where(jnp.any(x > 4.2), jnp.inf, bowl(x))

    starts = np.array([[0.0, 0, 0], [0.9, 1, 1], [4, 4, 4], [4, -4, 4], [1, 1, 1], [0.1, 3, 1]])
    rule, options = make(gd.Momentum(0.3, decay=0.5), **numbers), {"stop": gd.Stop(gtol=1e-3)}
    with jax.enable_x64(True):
        runs = gd.multistart(loss, starts, rule, 60, engine=engine, lanes=4, **options)
        assert runs.engine.startswith(type(engine).__name__.lower())
        assert len(set(runs.steps)) > 3
        assert len(set(runs.status)) > 1
        averages = gd.averaged(runs)
        assert averages.shape == (6, 3)
        for i, start in enumerate(starts):
            alone = gd.minimize(loss, start, rule, 60, record=ALL, keep="last", **options)
            xs = alone.history.params
            xs = xs[: len(xs) - (alone.status == gd.Status.NON_FINITE)]
            assert_close(averages[i], reference.average(xs), 1e-12, str(i))
            assert_close(gd.averaged(alone), reference.average(xs), 1e-12, str(i))


TREE = {"body": {"w": np.array([0.2, -0.4]), "b": np.array([0.7])}, "head": np.array([0.5, 0.1])}


def parts_loss(params):
    """A sum over parts, so that a run of all is a run of each."""
    w, b, head = params["body"]["w"], params["body"]["b"], params["head"]
    return jnp.sum(jnp.cosh(w - 1)) + jnp.sum((b - 2) ** 2) + jnp.sum((head + 1) ** 4)


def only(name):
    """The loss of one part, by the name of its leaf."""

    def loss(part):
        tree = {"body": {"w": TREE["body"]["w"], "b": TREE["body"]["b"]}, "head": TREE["head"]}
        inside = tree if name == "head" else tree["body"]
        inside[name] = part
        return parts_loss(tree)

    return loss


RULES = {
    "body/w": gd.chain(gd.ClipByGlobalNorm(0.3), gd.Adam(RATES)),
    "body": gd.Momentum(0.05),
    "*": gd.Lion(0.02),
}
LABELS = {
    "paths": (RULES, None),
    "prefix": (
        dict(zip(("w", "b", "h"), RULES.values(), strict=True)),
        {"body": {"w": "w", "b": "b"}, "head": "h"},
    ),
    "function": (
        dict(zip(("w", "b", "d"), RULES.values(), strict=True)),
        lambda path: path[-1],
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_each_part_descends_as_it_would_alone(name):
    with jax.enable_x64(True):
        result = gd.minimize(parts_loss, TREE, gd.partition(*LABELS[name]), 40, keep="last")
        assert result.history.learning_rate is None
        body, head = result.params["body"], result.params["head"]
        parts = {"w": (body["w"], "body/w"), "b": (body["b"], "body"), "head": (head, "*")}
        for leaf, (found, label) in parts.items():
            start = TREE["head"] if leaf == "head" else TREE["body"][leaf]
            alone = gd.minimize(only(leaf), start, RULES[label], 40, keep="last")
            assert_close(found, alone.params, 1e-13, leaf)


def test_numbers_of_the_rules_of_parts_are_swept():
    def make(rate):
        return gd.partition({"head": gd.Freeze(), "body": gd.Adam(rate)})

    with jax.enable_x64(True):
        runs = gd.sweep(parts_loss, TREE, gd.grid(make, rate=[0.01, 0.1]), 10, keep="last")
        for i, rate in enumerate((0.01, 0.1)):
            alone = gd.minimize(parts_loss, TREE, make(rate), 10, keep="last")
            assert_close(runs.params["body"]["w"][i], alone.params["body"]["w"], 1e-12)
            np.testing.assert_array_equal(runs.params["head"][i], TREE["head"])


def test_a_foreign_rule_of_a_part_asks_for_the_loss_of_its_part():
    """A line search calls `value_fn` with what it was given: the part, in its tree."""
    search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20))
    rule = gd.partition({"head": search, "body": gd.Freeze()})
    alone = gd.descend(only("head"), TREE["head"], search, 5)
    result = gd.descend(parts_loss, TREE, rule, 5)
    assert_close(result.params["head"], alone.params, 1e-6)
    assert result.loss < 0.8 * parts_loss(TREE)


def everything():
    """All wrappers in one another, and a rule of another library in them."""
    body = gd.accumulate(gd.chain(gd.ClipByGlobalNorm(0.5), gd.Adam(0.05)), every=3)
    parts = gd.partition({"body": body, "body/b": optax.rmsprop(0.1), "head": gd.Momentum(0.01)})
    return gd.chain(gd.WeightDecay(0.01), gd.average(parts, start=4, every=2))


@each_engine
def test_a_continued_run_has_the_same_bits(engine):
    rule = everything()
    whole = gd.minimize(parts_loss, TREE, rule, 31, engine=engine)
    half = gd.minimize(parts_loss, TREE, rule, 14, engine=engine)
    again = gd.minimize(parts_loss, TREE, rule, 31, engine=engine, state=half.state)
    ours, theirs = (jax.tree.leaves((r.params, gd.averaged(r))) for r in (whole, again))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_other_wrappers_is_refused():
    result = gd.minimize(bowl, np.zeros(3), gd.average(gd.Adam(0.1), decay=0.9), 3)
    other = gd.average(gd.Adam(0.1), start=2)
    with pytest.raises(ValueError, match=r"one of ExponentialAverage\(Adam\)"):
        gd.minimize(bowl, np.zeros(3), other, 6, state=result.state)


def test_maps_and_differentiates_through_all_of_them():
    def final(rate):
        rule = gd.chain(gd.WeightDecay(0.01), gd.average(gd.partition({"*": gd.Adam(rate)})))
        rule = dataclasses.replace(rule, rule=gd.accumulate(rule.rule, 2))
        return gd.descend(bowl, np.zeros(3), rule, 9, keep="last", record=None).loss

    with jax.enable_x64(True):
        rates = np.array([0.05, 0.1])
        together, slopes = quick_jit(jax.vmap(jax.value_and_grad(final)))(rates)
        alone = quick_jit(final)
        assert_close(together, [alone(rate) for rate in rates], 1e-12)
        assert_close(slopes, [(alone(r + 1e-6) - alone(r - 1e-6)) / 2e-6 for r in rates], 1e-7)


X = {"w": jnp.zeros(2), "b": jnp.zeros(1)}
BAD = {
    "class": (lambda: gd.accumulate(gd.Adam, 2), "accumulate takes rules"),
    "transform": (lambda: gd.average(gd.ClipByValue(1.0)), "put it into a gd.chain"),
    "both averages": (lambda: gd.average(gd.Adam(0.1), 0.9, start=3), "give one of them"),
    "no rules": (lambda: gd.partition({}), "a dict of labels and rules"),
    "no name": (lambda: gd.partition({1: gd.Adam(0.1)}), "labels must be strings, got 1"),
    "no label": (lambda: gd.partition({"a": gd.Freeze()}, {"w": 3}), "strings, got 3"),
    "no rule": (
        lambda: gd.partition({"w": gd.Freeze()}).init(X),
        r"params\['b'\]: its path is 'b'",
    ),
    "no leaf": (
        lambda: gd.partition({"wight": gd.Freeze(), "*": gd.Adam(0.1)}).init(X),
        "rules for 'wight' that no leaf of the params has",
    ),
    "other label": (
        lambda: gd.partition({"a": gd.Freeze()}, lambda path: "ab"[path == "b"]).init(X),
        r"params\['b'\]: its label is 'b'",
    ),
    "other tree": (
        lambda: gd.partition({"a": gd.Freeze()}, {"w": "a", "c": "a"}).init(X),
        "must be a pytree that is a prefix",
    ),
    "count": (
        lambda: gd.minimize(bowl, np.zeros(3), gd.accumulate(gd.Adam(0.1), 0)),
        "rule.every must be a whole number >= 1, got 0",
    ),
    "decay": (
        lambda: gd.minimize(bowl, np.zeros(3), gd.average(gd.Adam(0.1), 1.0)),
        "rule.decay must be a number >= 0 and < 1",
    ),
    "number inside": (
        lambda: gd.minimize(bowl, np.zeros(3), gd.partition({"*": gd.Adam(-1.0)})),
        r"rule.rules\[0\].learning_rate must be",
    ),
    "no average": (
        lambda: gd.averaged(gd.minimize(bowl, np.zeros(3), gd.Adam(0.1), 1)),
        "this one has none",
    ),
    "averages of parts": (
        lambda: gd.averaged(
            gd.partition({"*": gd.average(gd.Adam(0.1)), "b": gd.Freeze()}).init(X), X
        ),
        "gd.average is around gd.partition",
    ),
    "no params": (
        lambda: gd.averaged(gd.average(gd.Adam(0.1)).init(X)),
        r"averaged\(state, params\)",
    ),
    "no average of runs": (
        lambda: gd.averaged(gd.multistart(bowl, np.zeros((2, 3)), gd.Adam(0.1), 1)),
        "one average of all params",
    ),
    "one of many runs": (
        lambda: gd.averaged(gd.multistart(bowl, np.zeros((2, 3)), gd.Adam(0.1), 1)[0]),
        r"gd.averaged\(runs\)",
    ),
    "descend": (
        lambda: gd.averaged(gd.descend(bowl, np.zeros(3), gd.average(gd.Adam(0.1)), 1)),
        "has no state",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said(name):
    make, told = BAD[name]
    with pytest.raises((TypeError, ValueError), match=told):
        make()


def test_the_names_of_a_rule_are_those_of_its_parts():
    parts = gd.partition({"w": gd.accumulate(gd.Lion(0.1), 2), "*": gd.Freeze()})
    rule = gd.chain(gd.WeightDecay(0.1), gd.average(parts, start=3))
    told = "Chain(WeightDecay, UniformAverage(Partition(Accumulate(Lion), Freeze)))"
    assert name_of(rule) == told
