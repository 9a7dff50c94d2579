"""The learning-rate finder: against fine sweeps, against theory, and where there is no answer."""

import dataclasses
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import jaxgd as gd

S = gd.Status
RULES = {"gradient": gd.GradientDescent, "momentum": gd.Momentum, "adam": gd.Adam}
STEPS = 100


def bowl(x):
    return jnp.sum(x**2)


def network(params, x, y):
    hidden = jnp.tanh(x @ params["w1"] + params["b1"][None])
    logits = hidden @ params["w2"] + params["b2"][None]
    chosen = jnp.take_along_axis(logits, y[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def digits():
    from sklearn.datasets import load_digits

    data, draw = load_digits(), np.random.default_rng(0)
    params = {
        "w1": draw.normal(size=(64, 16)).astype(np.float32) / 8,
        "b1": np.zeros(16, np.float32),
        "w2": draw.normal(size=(16, 10)).astype(np.float32) / 4,
        "b2": np.zeros(10, np.float32),
    }
    x = np.float32(data.data[:200] / 16)
    return network, params, (x, data.target[:200].astype(np.int32))


def logistic():
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return gd.landscapes.LogisticRegression(X=x[:200], y=data.target[:200], l2=1e-3)


def landscape(loss):
    return loss, np.float32(loss.start), ()


CASES = {
    **{
        f"quadratic {condition}": lambda condition=condition: landscape(
            gd.landscapes.Quadratic(10, condition=float(condition))
        )
        for condition in (10, 100, 1000, 10_000)
    },
    "rosenbrock": lambda: landscape(gd.landscapes.Rosenbrock()),
    "logistic": lambda: landscape(logistic()),
    "digits": digits,
}


def level(row):
    """The median loss of the last ten steps: momentum and Adam swing, and one loss is luck."""
    return np.median(row[-10:]) if np.isfinite(row).all() else np.inf


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", RULES)
def test_the_suggestion_is_near_the_best_of_a_fine_sweep(name, kind):
    loss, start, args = CASES[name]()
    finding = gd.find_learning_rate(loss, start, RULES[kind](123.0), max_steps=STEPS, args=args)
    rates = np.geomspace(1e-6, 10, 200)
    runs = gd.sweep(
        loss, start, gd.grid(RULES[kind], learning_rate=rates), STEPS, args=args,
        record=gd.Record(grad_norm=False), keep="last",
    )  # fmt: skip
    levels = np.array([level(row) for row in runs.history.loss])
    best, initial = rates[np.argmin(levels)], runs.history.loss[0, 0]
    assert best / 3 < finding.suggestion < best * 3
    lost = np.nanmin(finding.losses) - levels.min()
    assert lost < 0.01 * (initial - levels.min())
    assert finding.initial_loss == pytest.approx(initial)
    assert finding.rule.learning_rate == finding.suggestion


@pytest.mark.parametrize("kind", ["gradient", "momentum"])
def test_what_theory_says_of_a_bowl(kind):
    # With the curvatures mu = 1 to L = 50: gradient descent goes down below the rate 2 / L, the
    # heavy ball below 2 (1 + decay) / L, and in the limit the best rate of the former is
    # 2 / (L + mu) (Polyak, 1964; Nesterov, 2018).
    condition = 50.0
    loss, start, _ = landscape(gd.landscapes.Quadratic(3, condition=condition))
    rule = RULES[kind](1.0)
    finding = gd.find_learning_rate(loss, start, rule, 1e-4, 1.0, count=60, max_steps=400)
    edge = 2 * (1 + getattr(rule, "decay", 0.0)) / condition
    assert finding.stable == (pytest.approx(1e-4), finding.rates[finding.rates < edge].max())
    assert finding.found
    if kind == "gradient":
        best = 2 / (condition + 1)
        assert best / 1.2 < finding.suggestion < best * 1.2
    assert "the loss fell lowest in 400 steps" in finding.message


def test_each_loss_is_that_of_a_run_at_one_rate():
    finding = gd.find_learning_rate(bowl, np.ones(2), gd.Adam(1.0), 0.01, 1.0, count=4)
    np.testing.assert_allclose(finding.rates, [0.01, 0.0464159, 0.215443, 1.0], rtol=1e-5)
    for rate, found in zip(finding.rates, finding.losses, strict=True):
        alone = gd.minimize(bowl, np.ones(2), gd.Adam(rate), 100)
        assert found == pytest.approx(np.median(alone.history.loss[-10:]), rel=1e-3)


def test_rates_that_diverge_are_nan_and_spoil_no_other():
    def log_barrier(x):
        return jnp.sum(x - jnp.log(x))

    start = np.full(2, 0.5)
    finding = gd.find_learning_rate(log_barrier, start, gd.GradientDescent(1.0), max_steps=50)
    diverged = finding.status == S.NON_FINITE
    np.testing.assert_array_equal(np.isnan(finding.losses), diverged)
    assert diverged[-1]
    assert not diverged[0]
    assert np.nanmin(finding.losses) == pytest.approx(2.0, abs=1e-4)
    assert finding.stable[0] <= finding.suggestion <= finding.stable[1] < 10
    assert f"{diverged.sum()} diverged" in str(finding)


def test_a_spike_above_the_start_is_not_stable_and_ends_the_range():
    finding = gd.find_learning_rate(bowl, np.ones(1), gd.Adam(1.0), high=1000.0, max_steps=5)
    assert (finding.status == S.MAX_STEPS).all()
    fine = finding.losses < finding.initial_loss
    low, high = finding.stable
    np.testing.assert_array_equal(fine, (low <= finding.rates) & (finding.rates <= high))
    assert not fine[-1]


@pytest.mark.parametrize(
    ("loss", "low", "said"),
    [
        (bowl, 3.0, "No rate from 3 to 10 lowered the loss: try a lower one, such as low=0.0003"),
        (lambda x: jnp.sum(jnp.log(x - 1)), 1e-6, "not finite at the start"),
    ],
)
def test_where_no_rate_is_stable_it_says_what_to_try(loss, low, said):
    finding = gd.find_learning_rate(loss, np.ones(2), gd.GradientDescent(1.0), low, max_steps=20)
    assert not finding.found
    assert np.isnan([finding.suggestion, *finding.stable]).all()
    assert finding.rule is None
    assert said in finding.message
    assert "none: no rate is stable" in repr(finding)


def test_a_best_rate_at_the_end_of_the_range_is_pointed_out():
    options = {"count": 5, "max_steps": 20}
    below = gd.find_learning_rate(bowl, np.ones(2), gd.GradientDescent(1.0), high=0.01, **options)
    assert below.suggestion == below.rates[-1]
    assert "the highest that was tried: try high=1 as well" in below.message
    above = gd.find_learning_rate(bowl, np.ones(2), gd.GradientDescent(1.0), 0.9, 5.0, **options)
    assert above.suggestion == above.rates[0]
    assert "the lowest that was tried: try low=0.009 as well" in above.message


def test_of_equal_rates_the_first_to_be_there_under_bounds():
    # From 0 towards 3, which lies beyond the bound 1: rates from 1 / 6 on are there in one step.
    finding = gd.find_learning_rate(
        lambda x: jnp.sum((x - 3) ** 2), np.zeros(2), gd.GradientDescent(1.0), bounds=(-1.0, 1.0)
    )
    assert np.nanmin(finding.losses) == 8
    assert finding.suggestion == finding.rates[finding.rates > 1 / 6].min()


def test_the_rate_is_replaced_inside_a_chain():
    make = lambda rate: gd.chain(gd.ClipByGlobalNorm(0.5), gd.Momentum(rate, decay=0.5))
    finding = gd.find_learning_rate(bowl, np.full(2, 9.0), make(7.0), count=6, max_steps=30)
    assert finding.rule.learning_rate == finding.suggestion
    assert finding.rule.transforms[0].max_norm == 0.5
    assert finding.rule.rule.decay == 0.5
    grid = gd.grid(make, rate=finding.rates)
    runs = gd.sweep(bowl, np.full(2, 9.0), grid, 30, record=gd.Record())
    np.testing.assert_allclose(
        finding.losses, np.median(runs.history.loss[:, -3:], axis=1), rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (gd.CosineDecay(0.3, steps=40), lambda rate: gd.CosineDecay(rate, steps=40)),
        (
            gd.Warmup(gd.Constant(0.2), steps=10, init=0.1),
            lambda rate: gd.Warmup(gd.Constant(rate), steps=10, init=rate / 2),
        ),
        (
            lambda step: 4.0 / (1 + jnp.asarray(step, float)),
            lambda rate: gd.InverseTimeDecay(rate, rate=1.0),
        ),
    ],
)
def test_a_schedule_keeps_its_form_and_rates_are_its_highest(given, meant):
    options = {"low": 0.01, "high": 1.0, "count": 4, "max_steps": 40}
    finding = gd.find_learning_rate(bowl, np.ones(2), gd.Adam(given), **options)
    grid = gd.grid(lambda rate: gd.Adam(meant(rate)), rate=finding.rates)
    runs = gd.sweep(bowl, np.ones(2), grid, 40, record=gd.Record())
    expected = np.median(runs.history.loss[:, -4:], axis=1)
    np.testing.assert_allclose(finding.losses, expected, rtol=1e-3, atol=1e-9)
    used, told = finding.rule.learning_rate, meant(finding.suggestion)
    for step in (0, 5, 30):
        assert float(used(step)) == pytest.approx(float(told(step)), rel=1e-5)


def noisy(x, *, key):
    return jnp.sum((x - jax.random.normal(key, x.shape)) ** 2)


def test_a_stochastic_loss_takes_a_key():
    start, rule = np.full(50, 9.0), gd.GradientDescent(1.0)
    finding = gd.find_learning_rate(noisy, start, rule, key=jax.random.key(0), max_steps=60)
    again = gd.find_learning_rate(noisy, start, rule, key=jax.random.key(0), max_steps=60)
    other = gd.find_learning_rate(noisy, start, rule, key=jax.random.key(1), max_steps=60)
    np.testing.assert_array_equal(finding.losses, again.losses)
    assert np.all(finding.losses[:20] != other.losses[:20])
    # After 60 steps the mean loss is d (1 + r / (1 - r)) + (1 - 2 r)^120 |x - 0|^2 of the start.
    rates = finding.rates[finding.rates < 0.9]
    mean = 50 * (1 + rates / (1 - rates) + 81 * (1 - 2 * rates) ** 120)
    best = rates[np.argmin(mean)]
    assert best / 3 < finding.suggestion < best * 3


def test_what_else_it_takes_and_how_it_looks():
    def with_aux(params, scale):
        return scale * bowl(params["<x>"]), params["<x>"][0]

    finding = gd.find_learning_rate(
        with_aux, {"<x>": np.ones(2)}, gd.Adam(1.0), 0.1, 1.0, count=3, max_steps=1,
        args=(2.0,), has_aux=True, lanes=2,
    )  # fmt: skip
    assert finding.losses == pytest.approx([4 * 0.9**2, 4 * (1 - 0.1**0.5) ** 2, 0], abs=1e-6)
    assert max(map(len, str(finding).splitlines()[:-1])) <= 80
    html = finding._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith(f"<p>{finding.message}</p>")
    assert repr(pickle.loads(pickle.dumps(finding))) == repr(finding)
    assert repr(jax.tree.map(np.copy, finding)).startswith("suggestion")
    assert repr(jax.eval_shape(lambda f: f, dataclasses.replace(finding, rule=None))) == (
        "Finding(...)"
    )


def test_pictures_are_drawn_by_the_module_for_them(monkeypatch):
    drawn = []
    fake = types.SimpleNamespace(finder=lambda *given: drawn.append(given) or "axes")
    finding = gd.find_learning_rate(bowl, 1.0, gd.Adam(1.0), count=3, max_steps=1)
    monkeypatch.setitem(sys.modules, "jaxgd.plot", fake)
    assert finding.plot("ax") == "axes"
    assert drawn == [(finding, "ax")]


@gd.pytree
class NoRate:
    strength: float = gd.number(at_least=0)

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -self.strength * g, grads), state


def find(rule=None, **given):
    return gd.find_learning_rate(bowl, np.ones(2), rule or gd.Adam(1.0), **given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: find(optax.adam(0.1)), "rule must have a field learning_rate"),
        (lambda: find(gd.chain(gd.ClipByValue(1.0), optax.sgd(0.1))), "learning_rate"),
        (lambda: find(NoRate(1.0)), "a NoRate has none"),
        (lambda: find(gd.Adam), "rule must be an instance, got the class Adam"),
        (lambda: find(gd.ClipByValue(1.0)), "ClipByValue only transforms"),
        (lambda: find(gd.Adam(-1.0)), "rule.learning_rate must be a number >= 0"),
        (lambda: find(gd.Adam(gd.Constant(0.0))), "the schedule of Adam must have a finite rate"),
        (lambda: find(gd.Adam(lambda step: 1.0 / step.astype(float))), "its highest is inf"),
        (lambda: find(low=0.0), "low must be a finite learning rate > 0, got 0.0"),
        (lambda: find(low="x"), "low must be a finite learning rate > 0, got 'x'"),
        (lambda: find(high=np.inf), "high must be a finite learning rate > 0, got inf"),
        (lambda: find(low=1.0, high=0.1), "high must be so far above low that 43 rates differ"),
        (lambda: find(low=1.0, high=1.0 + 1e-15), "high must be so far above low"),
        (lambda: find(count=2), "count must be a whole number >= 3, got 2"),
        (lambda: find(max_steps=0), "max_steps must be a whole number >= 1, got 0"),
        (lambda: find(epochs=3), "epochs are passes over data"),
        (lambda: find(bounds=(2.0, 3.0)), "starts outside its bounds"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_ctrl_c_is_not_an_answer(monkeypatch):
    from jaxgd.tune import finder

    whole = finder.sweep

    def interrupted(*given, **options):
        runs = whole(*given, **options)
        return dataclasses.replace(runs, status=np.full_like(runs.status, S.INTERRUPTED))

    monkeypatch.setattr(finder, "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find(count=3, max_steps=1)


@pytest.mark.parametrize("around", [gd.average, lambda rule: gd.accumulate(rule, every=2)])
def test_the_rate_of_a_rule_inside_another_is_found(around):
    bowl = gd.landscapes.Quadratic()
    finding = gd.find_learning_rate(bowl, bowl.start, around(gd.Momentum(1.0)), count=9)
    assert finding.rule.rule.learning_rate == finding.suggestion
    assert finding.stable[0] <= finding.suggestion <= finding.stable[1]


def test_a_schedule_inside_an_accumulation_counts_updates():
    halving = gd.ExponentialDecay(1.0, rate=0.5)
    rule = gd.accumulate(gd.GradientDescent(halving), every=4)
    bowl = gd.landscapes.Quadratic()
    found = gd.find_learning_rate(bowl, bowl.start, rule, count=9).rule.rule.learning_rate
    rates = [float(found(step)) for step in range(3)]
    np.testing.assert_allclose(np.divide(rates, rates[0]), [1, 0.5, 0.25], rtol=1e-6)


def test_a_rate_for_mini_batches():
    """Of the digits network of the benchmarks, in batches: within a factor of 3 of the best."""
    x, label = load_digits(return_X_y=True)
    arrays = ((x / 16).astype(np.float32)[:512], label.astype(np.int32)[:512])

    def loss(w, batch):
        pictures, digit = batch
        scores = jax.nn.log_softmax(pictures @ w)
        return -jnp.mean(jnp.take_along_axis(scores, digit[:, None], 1))

    data = gd.Batches(arrays, 64, jax.random.key(0), shared=True)
    start = jnp.zeros((64, 10), jnp.float32)
    finding = gd.find_learning_rate(loss, start, gd.Momentum(1.0), data=data, epochs=5)
    rates = np.geomspace(1e-3, 10, 60)
    fine = gd.sweep(loss, start, gd.grid(gd.Momentum, learning_rate=rates), data=data, epochs=5)
    whole = np.array([loss(w, arrays) for w in fine.params])
    best = rates[np.nanargmin(whole)]
    assert best / 3 < finding.suggestion < 3 * best
    compared = gd.compare(
        loss, start, {"found": finding.rule, "slow": gd.Momentum(1e-4)}, data=data, epochs=5
    )
    assert "found" in str(compared)
