"""What a run records, and what no record, callback or chunk may change."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_schedules
import pytest
from loop_cases import WALK, close, same_bits, untimed

import jaxgd as gd
from jaxgd.engines import Cost

FULL = gd.Record(params=True)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


gradient = jax.jit(jax.grad(rosenbrock))


def run(max_steps=150, rule=None, **options):
    rule = gd.Adam(0.05) if rule is None else rule
    return gd.minimize(rosenbrock, np.array([-1.2, 1.0, 0.3]), rule, max_steps, **options)


RATES = {
    "number": (3e-4, lambda t: 3e-4),
    "constant": (gd.Constant(3e-4), numpy_schedules.constant(3e-4)),
    "decay": (
        gd.ExponentialDecay(4e-4, rate=0.9, every=7, staircase=True),
        numpy_schedules.exponential_decay(4e-4, 0.9, 7, True),
    ),
    "cosine": (gd.CosineDecay(3e-4, steps=50), numpy_schedules.cosine_decay(3e-4, 50)),
    "callable": (lambda step: 1e-3 / (1 + step.astype(float)), lambda t: 1e-3 / (1 + t)),
}


@pytest.mark.parametrize("name", RATES)
def test_the_learning_rate_is_that_of_the_update_after_the_row(name):
    rate, expected = RATES[name]
    options = {"rule": gd.GradientDescent(rate), "keep": "last"}
    options["record"] = gd.Record(every=3, params=True)
    history = run(70, **options).history
    np.testing.assert_array_equal(history.step, np.arange(0, 71, 3))
    assert np.all(np.isfinite(history.loss))
    np.testing.assert_allclose(
        history.learning_rate, [expected(int(t)) for t in history.step], rtol=1e-12
    )
    first = gradient(history.params[0])
    after = run(1, **options).params
    np.testing.assert_allclose(history.params[0] - history.learning_rate[0] * first, after)


def test_the_learning_rate_of_a_chain_is_its_rules_and_foreign_rules_have_none():
    rule = gd.chain(gd.ClipByGlobalNorm(1.0), gd.Adam(gd.ExponentialDecay(0.1, rate=0.5)))
    np.testing.assert_allclose(run(3, rule).history.learning_rate, [0.1, 0.05, 0.025, 0.0125])
    assert run(3, WALK).history.learning_rate is None


def test_the_learning_rate_of_descend_works_inside_jit():
    def rates(init):
        rule = gd.GradientDescent(gd.ExponentialDecay(init, rate=0.5))
        return gd.descend(rosenbrock, np.zeros(3), rule, 3).history.learning_rate

    np.testing.assert_allclose(jax.jit(rates)(0.1), [0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize("chunk", [7, 64])
def test_rows_are_at_multiples_and_hold_what_every_row_holds(chunk):
    engine = gd.engines.Plain(chunk)
    whole = run(150, record=FULL, engine=engine).history
    for every in (3, 64, 1000):
        record = gd.Record(every=every, params=True)
        for steps in (0, 1, 64, 150):
            history = run(steps, record=record, engine=engine).history
            np.testing.assert_array_equal(history.step, np.arange(0, steps + 1, every))
            assert len(history) == steps // every + 1
            for name in ("loss", "grad_norm", "params"):
                close(getattr(history, name), getattr(whole, name)[: steps + 1 : every])


def test_recorded_params_are_those_of_shorter_runs():
    history = run(150, record=FULL, keep="last").history
    for steps in (0, 1, 63, 64, 65, 149, 150):
        shorter = run(steps, record=FULL, keep="last")
        assert same_bits(history.params[steps], shorter.params)
        assert same_bits(history.loss[steps], shorter.loss)
        assert same_bits(history.grad_norm[steps], shorter.grad_norm)
    np.testing.assert_allclose(history.loss, jax.vmap(rosenbrock)(history.params), rtol=1e-12)


@pytest.mark.parametrize(
    "record", [gd.Record(loss=False), gd.Record(grad_norm=False), gd.Record(params=True)], ids=str
)
def test_what_is_not_recorded_is_none(record):
    history = run(20, record=record).history
    for name in ("loss", "grad_norm", "params"):
        assert (getattr(history, name) is not None) == getattr(record, name)
    assert len(history) == 21


def test_nothing_recorded_is_no_history():
    for record in (None, gd.Record(loss=False, grad_norm=False)):
        assert run(20, record=record).history is None
        assert gd.descend(rosenbrock, np.zeros(3), gd.Adam(0.1), 2, record=record).history is None
    with pytest.raises(ValueError, match=r"record\.every"):
        run(20, record=gd.Record(every=0))


def test_the_history_has_the_form_of_the_params():
    def loss(params):
        return jnp.sum(params["w"] ** 2) + params["b"] ** 2

    result = gd.minimize(loss, {"w": np.ones((2, 3)), "b": 1.0}, gd.Adam(0.1), 10, record=FULL)
    assert jax.tree.map(jnp.shape, result.history.params) == {"w": (11, 2, 3), "b": (11,)}


def test_no_onlooker_changes_a_bit(capfd):
    """Of what is returned: with a bar, a callback, and other records, once and again."""
    plain = run(5000, gd.Adam(1e-3))
    for options in ({}, {"progress": True}, {"callback": lambda info: None}, {"time_limit": 1e6}):
        assert same_bits(untimed(run(5000, gd.Adam(1e-3), **options)), untimed(plain)), options
    bar = capfd.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert re.search(r"5.00k/5.00k .*steps/s, loss=\S+, rate=0.001\]", bar), bar
    for record in (None, FULL, gd.Record(every=7, loss=False)):
        other = run(5000, gd.Adam(1e-3), record=record)
        for name in ("params", "loss", "at_step", "steps", "status", "evaluations"):
            assert same_bits(getattr(other, name), getattr(plain, name)), (record, name)
        close(other.grad_norm, plain.grad_norm)


def test_another_chunk_changes_rounding_at_most():
    def bowl(x):  # rounding does not grow on the way to its minimum
        return jnp.sum(jnp.cosh(x - 1)) + 0.1 * jnp.sum(x) ** 2

    def of(chunk):
        engine = gd.engines.Plain(chunk)
        return gd.minimize(bowl, np.linspace(-2, 2, 5), gd.Adam(0.05), 300, engine=engine)

    base = of(64)
    for chunk in (1, 7, None):
        other = of(chunk)
        for a, b in ((other.params, base.params), (other.loss, base.loss)):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        np.testing.assert_allclose(other.history.loss, base.history.loss, rtol=1e-12)
        assert (other.steps, other.status) == (base.steps, base.status)


@pytest.mark.parametrize("steps", [3, 77, 300, 20_000])
def test_the_loss_of_the_best_is_its_loss(steps):
    result = run(steps, gd.Momentum(2e-3, decay=0.95), record=FULL)
    at = int(result.at_step)
    assert at == np.argmin(result.history.loss)
    assert same_bits(result.params, result.history.params[at])
    assert same_bits(result.loss, result.history.loss[at])
    np.testing.assert_allclose(result.loss, rosenbrock(result.params), rtol=1e-12, atol=1e-25)
    norm = np.max(np.abs(gradient(result.params)))
    np.testing.assert_allclose(result.grad_norm, norm, rtol=1e-9, atol=1e-12)


def test_a_vmapped_descent_has_the_rates_of_each_run():
    def rates(rate):
        return gd.descend(rosenbrock, np.zeros(3), gd.Adam(rate), 3).history.learning_rate

    decays = jax.vmap(lambda init: rates(gd.ExponentialDecay(init, rate=0.5)))(np.array([1.0, 2.0]))
    np.testing.assert_allclose(decays, [[1, 0.5, 0.25, 0.125], [2, 1, 0.5, 0.25]])
    fixed = jax.vmap(rates)(np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(fixed, np.repeat([[0.1], [0.2], [0.3], [0.4]], 4, axis=1))


def test_a_schedule_may_close_over_a_traced_value_in_descend():
    def rates(a):
        rule = gd.GradientDescent(lambda step: a * 0.5 ** step.astype(float))
        return gd.descend(rosenbrock, np.zeros(3), rule, 2).history.learning_rate

    np.testing.assert_allclose(jax.jit(rates)(0.1), [0.1, 0.05, 0.025])


def test_a_history_is_a_tree_of_rows():
    history = run(9, rule=gd.Adam(gd.CosineDecay(0.1, steps=9)), record=FULL).history
    head = jax.tree.map(lambda rows: rows[:4], history)
    assert all(len(rows) == 4 for rows in jax.tree.leaves(head))
    assert len(jax.tree.leaves(head)) == 5


def test_params_may_be_recorded_far_apart():
    result = run(70, record=gd.Record(every=2**31 - 1, params=True))
    np.testing.assert_array_equal(result.history.step, [0])
    np.testing.assert_array_equal(result.history.params, [[-1.2, 1.0, 0.3]])


def test_large_params_are_recorded_in_little_memory():
    sizes = gd.engines.Plain().sizes(Cost(10**7, 4, 40 * 2**20, 1, goes_back=True))
    assert sizes.room + sizes.chunk <= 8
    assert gd.engines.Plain().sizes(Cost(10**3, 4, 40 * 2**20, 10**4, goes_back=True)).chunk > 100
