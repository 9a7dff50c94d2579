"""Rules side by side: against what each does alone, and the definitions of the literature."""

import dataclasses
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgd as gd

VALLEY = gd.landscapes.Rosenbrock()
RULES = {
    "descent": gd.GradientDescent(1e-3),
    "wild": gd.GradientDescent(5.0),
    "Adam": gd.Adam(0.05),
    "ball": gd.Momentum(1e-3),
}
STARTS = np.random.default_rng(3).uniform(-2, 2, (12, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def many():
    return gd.compare(VALLEY, STARTS, RULES, 600, axes=gd.Axes(params=0), target=0.05)


def first_at(row, target):
    return next((step for step, loss in enumerate(row) if loss <= target), np.inf)


def test_the_numbers_are_those_of_the_histories(many):
    assert set(many.names) == set(RULES)
    for i, name in enumerate(many.names):
        runs = many.runs[name]
        fine = np.array([gd.Status(s) == gd.Status.MAX_STEPS for s in runs.status])
        steps = [first_at(row, 0.05) if ok else np.inf
                 for row, ok in zip(runs.history.loss, fine, strict=True)]  # fmt: skip
        np.testing.assert_array_equal(many.steps_to_target[i], steps)
        spent, hits = 0, 0
        for needed, made in zip(steps, runs.steps, strict=True):
            spent += min(needed, made)
            hits += needed < np.inf
        assert many.success_rate[i] == hits / 12
        assert many.expected_steps[i] == (spent / hits if hits else np.inf)
        losses = sorted(np.where(fine, runs.loss, np.inf))
        assert many.best_loss[i] == losses[0]
        assert many.median_loss[i] == losses[5]
        assert many.run_seconds[i] == runs.run_seconds
        assert many.compile_seconds[i] == runs.compile_seconds
        for budget, share in zip(
            (10, 200, 600), many.solved_within([10, 200, 600])[i], strict=True
        ):
            assert share == np.mean([needed <= budget for needed in steps])
        assert many.solved_within(200)[i] == many.solved_within([200])[i, 0]


def test_the_best_rule_comes_first_and_one_that_diverges_last(many):
    assert 0 < many.success_rate[0] < 1
    assert (np.diff(many.expected_steps[np.isfinite(many.expected_steps)]) >= 0).all()
    assert many.names[-1] == "wild"
    assert many.best_loss[-1] == np.inf
    assert many.runs["wild"].status.tolist() == [gd.Status.NON_FINITE] * 12
    share = many.success_rate[0]
    assert many.message == (
        f"{many.names[0]} is best: it reached the loss 0.05 in {share:.1%} of the runs, after "
        f"{many.expected_steps[0]:,.0f} steps on average."
    )


def test_it_is_shown_as_a_table(many):
    lines = str(many).splitlines()
    assert " ".join(lines[0].split()) == (
        "rule success steps median loss best loss failed run compile"
    )
    assert [line.split()[0] for line in lines[1:5]] == list(many.names)
    assert lines[4].split()[1:6] == ["0.0%", "never", "inf", "inf", "12"]
    assert lines[5:] == [many.message]
    assert max(map(len, lines[:5])) <= 100
    html = many._repr_html_()
    assert html.count("<tr>") == 5
    assert html.endswith(f"<p>{many.message}</p>")
    assert repr(pickle.loads(pickle.dumps(many))) == str(many)
    assert repr(jax.tree.map(np.copy, many)) == str(many)
    assert repr(jax.eval_shape(lambda c: c, many)) == "Comparison(...)"


def test_pictures_are_drawn_by_the_module_for_them(many, monkeypatch):
    drawn = []
    fake = types.SimpleNamespace(convergence=lambda *given: drawn.append(given) or "axes")
    monkeypatch.setitem(sys.modules, "jaxgd.plot", fake)
    assert many.plot() == "axes"
    ((labelled, ax),) = drawn
    assert list(labelled) == list(many.names)
    assert ax is None
    assert labelled["ball"] is many.runs["ball"]
    assert labelled["ball"].history.loss.shape == (12, 601)


@pytest.mark.promotion
def test_one_start_and_the_default_target_of_more_and_wild():
    rules = {"Adam": gd.Adam(0.3), "theirs": optax.adam(0.01), "wild": gd.GradientDescent(5.0)}
    start = np.float32(VALLEY.start)
    both = gd.compare(VALLEY, start, rules, 200, tolerance=1e-2)
    alone = {
        name: gd.minimize(VALLEY, start, rule, 200).history.loss for name, rule in rules.items()
    }
    lowest = min(alone["Adam"].min(), alone["theirs"].min())
    target = lowest + 1e-2 * (alone["Adam"][0] - lowest)
    assert both.target == pytest.approx(target, rel=1e-4)
    needed = {name: first_at(row, target) for name, row in alone.items()}
    assert both.names == ("Adam", "theirs", "wild")
    assert needed["theirs"] == np.inf
    assert abs(both.steps_to_target[0, 0] - needed["Adam"]) <= 1
    assert both.steps_to_target[1:].tolist() == [[np.inf], [np.inf]]
    assert both.losses[:2, 0] == pytest.approx([alone["Adam"].min(), alone["theirs"].min()], 1e-3)


def test_a_problem_of_its_own_for_each_run_has_a_target_of_its_own():
    floors = np.array([0.0, 100.0, 200.0], np.float32)

    def loss(x, floor):
        return jnp.sum(x**2) + floor

    rules = {"fast": gd.GradientDescent(0.25), "slow": gd.GradientDescent(0.05)}
    args, axes = (floors,), gd.Axes(params=None, args=0)
    comparison = gd.compare(loss, np.ones(2, "f4"), rules, 10, args=args, axes=axes, tolerance=0.02)
    # x halves at every step of 0.25, so the loss has fallen to 2 / 4^t above its floor.
    lowest = 2 / 4.0**10
    assert comparison.target == pytest.approx(floors + lowest + 0.02 * (2 - lowest), rel=1e-5)
    assert comparison.steps_to_target.tolist() == [[3, 3, 3], [np.inf] * 3]
    assert "reached the target losses after 3 steps" in comparison.message


def test_chance_helps_no_rule_under_a_stochastic_loss():
    def noisy(x, *, key):
        return jnp.sum(x**2) + 4 * jax.random.normal(key)

    rules = {"fast": gd.GradientDescent(0.05), "none": gd.GradientDescent(0.0)}
    key = jax.random.key(0)
    comparison = gd.compare(noisy, np.full(2, 3.0), rules, 1000, key=key, target=9.0)
    assert comparison.runs["none"].history.loss.min() < 9
    assert comparison.names == ("fast", "none")
    assert comparison.success_rate.tolist() == [1, 0]
    row = comparison.runs["fast"].history.loss[0].astype(np.float64)
    means = [row[i - 19 : i + 1].mean() for i in range(19, 1000)]
    assert comparison.steps_to_target[0, 0] == 19 + first_at(means, 9.0)
    assert comparison.losses[0, 0] == pytest.approx(np.median(row[-100:]))
    free = gd.compare(noisy, np.full(2, 3.0), rules, 1000, key=key)
    lowest, still = free.losses[0, 0], comparison.runs["none"].history.loss[0].astype(np.float64)
    initial = (means[0] + still[:20].mean()) / 2  # their median
    assert free.target == pytest.approx(lowest + 1e-4 * (initial - lowest))
    assert free.names[0] == "fast"


def test_a_stop_bounds_and_aux_are_handed_on():
    def loss(x):
        return jnp.sum((x - 3) ** 2), x[0]

    rules = {"a": gd.GradientDescent(0.1), "b": gd.GradientDescent(0.01)}
    comparison = gd.compare(
        loss, np.zeros(2), rules, 100, bounds=(0.0, 1.0), stop=gd.Stop(gtol=0.0), has_aux=True
    )
    assert comparison.names == ("a", "b")
    # x_t = 3 (1 - (1 - 2 rate)^t) is at the bound 1 when (1 - 2 rate)^t is down to 2 / 3.
    needed = [[np.ceil(np.log(2 / 3) / np.log(1 - 2 * rate))] for rate in (0.1, 0.01)]
    assert comparison.steps.tolist() == comparison.steps_to_target.tolist() == needed
    assert comparison.runs["a"].aux.tolist() == [1]


def test_where_all_fail_it_says_so():
    comparison = gd.compare(VALLEY, np.float32(VALLEY.start), {"wild": RULES["wild"]}, 50)
    assert np.isnan(comparison.target)
    assert comparison.steps_to_target.tolist() == [[np.inf]]
    assert comparison.message.startswith("No rule gave a finite loss")
    far = gd.compare(VALLEY, np.float32(VALLEY.start), {"d": RULES["descent"]}, 50, target=-1.0)
    assert far.message.startswith("No rule reached the loss -1; d ended lowest.")


def compare(rules=None, **given):
    return gd.compare(VALLEY, np.float32(VALLEY.start), rules or RULES, 5, **given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: compare(gd.Adam(0.1)), "rules must be a mapping from names to update rules"),
        (lambda: compare([gd.Adam(0.1)]), "rules must be a mapping.*got a list of 1"),
        (lambda: gd.compare(VALLEY, VALLEY.start, {}), "rules must be a mapping"),
        (lambda: compare({1: gd.Adam(0.1)}), "the names of rules must be strings, got 1"),
        (lambda: compare({"a": gd.Adam}), r"rules\['a'\]: rule must be an instance"),
        (lambda: compare({"a": gd.Adam(-1.0)}), r"rules\['a'\]: rule.learning_rate must be"),
        (
            lambda: compare({"a": gd.grid(gd.Adam, learning_rate=[0.1, 0.2])}),
            r"rules\['a'\] must be one update rule, got a Grid",
        ),
        (lambda: compare(axes=gd.Axes(None, rule=0)), "axes.rule must be None"),
        (lambda: compare(axes=0), "axes must be a gd.Axes, got 0"),
        (lambda: compare(target="low"), "target must be a number or None, got 'low'"),
        (lambda: compare(target=np.nan), "target must be a number or None"),
        (lambda: compare(tolerance=0.0), "tolerance must be a number between 0 and 1, got 0.0"),
        (lambda: compare(epochs=2), "epochs are passes over data"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_ctrl_c_is_not_an_answer(monkeypatch):
    module = sys.modules["jaxgd.tune.compare"]
    whole = module.sweep

    def interrupted(*given, **options):
        runs = whole(*given, **options)
        return dataclasses.replace(runs, status=np.full_like(runs.status, gd.Status.INTERRUPTED))

    monkeypatch.setattr(module, "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare({"descent": RULES["descent"]})


@pytest.mark.parametrize("seed", range(3))
def test_a_rule_that_does_not_move_reaches_nothing_by_chance(seed):
    def noisy(x, *, key):
        return jnp.sum((x - jax.random.normal(key, (2,))) ** 2)

    rules = {"Adam": gd.Adam(0.05), "nothing": gd.GradientDescent(1e-12)}
    start = jnp.full(2, 4.0)
    comparison = gd.compare(noisy, start, rules, 200, key=jax.random.key(seed))
    steps = dict(zip(comparison.names, comparison.steps_to_target, strict=True))
    assert np.isfinite(steps["Adam"]).all()
    assert np.isinf(steps["nothing"]).all()
