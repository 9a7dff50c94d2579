"""Metrics at set steps, stopping on them, and aux in the history: one run and many."""

import jax.numpy as jnp
import numpy as np
import pytest
from data_cases import FLOAT, KEY, RULE, examples, loss

import jaxgd as gd

W = jnp.zeros(3)
ARRAYS = examples(FLOAT)
HELD_OUT = {name: a[:7] for name, a in ARRAYS.items()}


def scores(w, batch):
    rest = batch["x"] @ w - batch["y"]
    return {"mse": jnp.mean(rest**2), "good": jnp.mean(jnp.abs(rest) < 0.2)}


def recording(every=3, stop=None, **rows):
    return gd.Record(evaluate=gd.Evaluate(scores, HELD_OUT, every, stop), **rows)


def expected(params):
    """The metrics of recorded params, by NumPy."""
    rest = params @ HELD_OUT["x"].T - HELD_OUT["y"]
    return np.mean(rest**2, -1), np.mean(np.abs(rest) < 0.2, -1)


@pytest.mark.parametrize("data", [None, gd.Batches(ARRAYS, 5, KEY)])
@pytest.mark.parametrize("steps", [9, 10])
def test_metrics_are_those_of_the_params_at_their_steps(data, steps):
    given = {"data": data} if data is not None else {"args": (ARRAYS,)}
    result = gd.minimize(loss, W, RULE, steps, record=recording(params=True), **given)
    history = result.history
    assert history.metric_step.tolist() == [0, 3, 6, 9]
    rows = [*history.params[:10:3]]
    if data is not None and steps == 9:  # its last iterate has no row
        rows.append(result.params)
    mse, good = expected(np.stack(rows[:4]))
    np.testing.assert_allclose(history.metrics["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(history.metrics["good"], good)


def test_metrics_need_no_other_row_and_change_none():
    plain = gd.minimize(loss, W, RULE, 10, args=(ARRAYS,))
    only = recording(loss=False, grad_norm=False)
    result = gd.minimize(loss, W, RULE, 10, args=(ARRAYS,), record=only)
    np.testing.assert_array_equal(result.params, plain.params)
    assert len(result.history) == 0
    assert result.history.metric_step.tolist() == [0, 3, 6, 9]


def test_of_a_run_that_ends_early_there_are_metrics_up_to_there():
    stop = gd.Stop(target=0.5)
    result = gd.minimize(loss, W, RULE, 1000, args=(ARRAYS,), stop=stop, record=recording(2))
    steps = result.history.metric_step
    assert result.status == gd.Status.TARGET_REACHED
    assert steps.tolist() == list(range(0, int(result.steps) + 1, 2))


def walk(w):
    return -w


WALK = gd.GradientDescent(0.1)


@pytest.mark.parametrize("rises", [False, True])
def test_a_run_stops_when_its_metric_has_not_improved_for_so_long(rises):
    sign = -1 if rises else 1

    def fn(w):
        return {"score": sign * jnp.abs(w - 0.5)}

    stop = gd.EarlyStop("score", patience=3, rises=rises)
    record = gd.Record(evaluate=gd.Evaluate(fn, every=1, stop=stop))
    result = gd.minimize(walk, 0.0, WALK, 100, record=record)
    assert result.status == gd.Status.STOPPED
    assert int(result.steps) == 8
    assert int(result.at_step) == 5
    np.testing.assert_allclose([result.params, result.loss], [0.5, -0.5], atol=1e-6)
    last = gd.minimize(walk, 0.0, WALK, 100, record=record, keep="last")
    np.testing.assert_allclose(last.params, 0.8, atol=1e-6)
    short = gd.minimize(walk, 0.0, WALK, 6, record=record)
    assert (short.status, int(short.at_step)) == (gd.Status.MAX_STEPS, 5)


def test_a_metric_that_is_nan_is_no_improvement():
    def fn(w):
        return {"score": jnp.where(w > 0.25, jnp.nan, -w)}

    record = gd.Record(evaluate=gd.Evaluate(fn, every=1, stop=gd.EarlyStop("score", 4)))
    result = gd.minimize(walk, 0.0, WALK, 100, record=record)
    assert (int(result.at_step), int(result.steps)) == (2, 6)


@pytest.mark.parametrize("prune", [None, gd.Halving(keep=0.5, every=4)])
def test_metrics_of_many_runs_are_those_of_each(prune):
    starts = np.random.default_rng(0).normal(size=(70, 3)).astype(FLOAT)
    record = recording(params=True)
    runs = gd.multistart(
        loss, starts, RULE, 9, data=gd.Batches(ARRAYS, 5, KEY), record=record, prune=prune
    )
    assert runs.history.metric_step.tolist() == [[0, 3, 6, 9]] * 70
    for at, step in enumerate([0, 3, 6]):
        there = np.flatnonzero(runs.steps >= step)
        mse, _ = expected(runs.history.params[there, step])
        np.testing.assert_allclose(runs.history.metrics["mse"][there, at], mse, rtol=1e-4)
    done = runs.status == gd.Status.MAX_STEPS
    mse, good = expected(runs.params[done])
    np.testing.assert_allclose(runs.history.metrics["mse"][done, 3], mse, rtol=1e-4)
    np.testing.assert_allclose(runs.history.metrics["good"][done, 3], good)
    assert np.isnan(runs.history.metrics["mse"][~done, 3]).all()
    assert np.sum(~done) == (0 if prune is None else 70 - 18)


def test_each_of_many_runs_stops_by_its_own_metric():
    def fn(w):
        return {"score": jnp.abs(w - 0.5)}

    starts = np.array([0.0, 0.2, -5.0], FLOAT)
    record = gd.Record(evaluate=gd.Evaluate(fn, every=1, stop=gd.EarlyStop("score", 2)))
    runs = gd.multistart(walk, starts, WALK, 20, record=record)
    assert [gd.Status(s).name for s in runs.status] == ["STOPPED", "STOPPED", "MAX_STEPS"]
    assert runs.at_step.tolist() == [5, 3, 20]
    np.testing.assert_allclose(runs.params, [0.5, 0.5, -3.0], atol=1e-5)
    np.testing.assert_allclose(
        runs.history.metrics["score"][0, :8], np.abs(0.1 * np.arange(8) - 0.5), atol=1e-6
    )
    assert np.isnan(runs.history.metrics["score"][0, 8:]).all()
    np.testing.assert_allclose(runs.loss, [-0.5, -0.5, 3.0], atol=1e-5)
    np.testing.assert_allclose(runs.grad_norm, 1)
    assert "STOPPED" in str(runs)
    assert runs[0].history.metric_step.tolist() == list(range(21))
    alone = gd.minimize(walk, starts[1], WALK, 20, record=record)
    assert (int(alone.at_step), int(alone.steps)) == (3, int(runs.steps[1]))


def with_aux(w, batch):
    rest = batch["x"] @ w - batch["y"]
    return jnp.mean(rest**2), {"largest": jnp.max(rest), "wrong": jnp.sum(rest > 0)}


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("engine", [gd.engines.Plain(chunk=3), gd.engines.Cpu()])
def test_aux_is_recorded_row_by_row(every, engine):
    record = gd.Record(every=every, params=True, aux=True)
    options = {"args": (ARRAYS,), "has_aux": True, "record": record}
    history = gd.minimize(with_aux, W, RULE, 9, engine=engine, **options).history
    rest = history.params @ ARRAYS["x"].T - ARRAYS["y"]
    np.testing.assert_allclose(history.aux["largest"], rest.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(history.aux["wrong"], np.sum(rest > 0, -1))
    pure = gd.descend(with_aux, W, RULE, 9, **options).history
    np.testing.assert_allclose(pure.aux["largest"], history.aux["largest"], rtol=1e-5)
    many = gd.multistart(with_aux, jnp.stack([W, W + 1]), RULE, 9, engine=engine, **options).history
    np.testing.assert_allclose(many.aux["largest"][0], history.aux["largest"], rtol=1e-5)
    np.testing.assert_array_equal(many.aux["wrong"][0], history.aux["wrong"])


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: gd.Record(evaluate=scores), TypeError, "record.evaluate must be a gd.Evaluate"),
        (lambda: gd.Record(evaluate=gd.Evaluate(3)), TypeError, "fn must be a function"),
        (lambda: recording(every=0), ValueError, "every"),
        (lambda: recording(stop=5), TypeError, "stop must be a gd.EarlyStop"),
        (
            lambda: recording(stop=gd.EarlyStop("acc", 2)),
            ValueError,
            r"one of \['good', 'mse'\], got 'acc'",
        ),
        (lambda: recording(stop=gd.EarlyStop("mse", 0)), ValueError, "patience"),
        (
            lambda: gd.Record(evaluate=gd.Evaluate(lambda w: jnp.sum(w**2))),
            TypeError,
            "metrics by name, a dict",
        ),
        (lambda: gd.Record(evaluate=gd.Evaluate(lambda w: {"w": w})), TypeError, "scalars by name"),
        (lambda: gd.Record(aux=True), ValueError, "give has_aux=True"),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_what_cannot_be_evaluated_is_refused(make, error, said, many):
    call, start = (gd.multistart, W[None]) if many else (gd.minimize, W)
    with pytest.raises(error, match=said):
        call(loss, start, RULE, 5, args=(ARRAYS,), record=make())


@pytest.mark.parametrize("rows", [{}, {"loss": False, "grad_norm": False}])
def test_one_of_many_runs_with_metrics_is_a_result(rows):
    starts = jnp.stack([W, W + 1])
    runs = gd.multistart(loss, starts, RULE, 8, args=(ARRAYS,), record=recording(4, **rows))
    alone = gd.minimize(loss, starts[1], RULE, 8, args=(ARRAYS,), record=recording(4, **rows))
    assert "runs" in str(runs)
    one = runs[1]
    assert one.history.metric_step.tolist() == alone.history.metric_step.tolist() == [0, 4, 8]
    assert len(one.history.step) == len(alone.history.step)
    mse = alone.history.metrics["mse"]
    np.testing.assert_allclose(one.history.metrics["mse"], mse, rtol=1e-5)
    assert np.isfinite(runs.history.metrics["mse"]).all()  # those of the last step too


def test_a_best_value_at_the_start_is_an_iterate_with_a_loss():
    def fn(w):
        return {"score": -w}

    watch = gd.Evaluate(fn, every=1, stop=gd.EarlyStop("score", 2))

    def bowl(w):
        return (w - 1.0) ** 2

    record = gd.Record(evaluate=watch)
    many = gd.multistart(bowl, jnp.array([6.0, 5.0]), WALK, 20, record=record)
    one = gd.minimize(bowl, 6.0, WALK, 20, record=record)
    assert many.at_step.tolist() == [0, 0]
    np.testing.assert_allclose(many.loss, [25.0, 16.0], rtol=1e-6)
    np.testing.assert_allclose([one.loss, one.grad_norm], [25.0, 10.0], rtol=1e-6)
    np.testing.assert_allclose(many.grad_norm, [10.0, 8.0], rtol=1e-6)


@pytest.mark.parametrize("cut", [2, 6, 7])
def test_a_run_that_is_continued_remembers_its_metric(cut):
    def fn(w):
        return {"score": jnp.abs(w - 0.5)}

    record = gd.Record(evaluate=gd.Evaluate(fn, every=1, stop=gd.EarlyStop("score", 3)))
    whole = gd.minimize(walk, 0.0, WALK, 100, record=record)
    part = gd.minimize(walk, 0.0, WALK, cut, record=record)
    rest = gd.minimize(walk, 0.0, WALK, 100, record=record, state=part.state)
    assert (int(rest.steps), int(rest.at_step)) == (int(whole.steps), int(whole.at_step)) == (8, 5)
    np.testing.assert_array_equal(rest.params, whole.params)


def test_a_metric_does_not_crown_an_iterate_whose_loss_is_not_finite():
    """Of log(w), which the metric sends below 0."""
    watch = gd.Evaluate(lambda w: {"score": w}, every=1, stop=gd.EarlyStop("score", 5))
    plain = gd.minimize(jnp.log, 1.0, gd.GradientDescent(0.45), 30)
    record = gd.Record(evaluate=watch)
    result = gd.minimize(jnp.log, 1.0, gd.GradientDescent(0.45), 30, record=record)
    assert result.status == gd.Status.NON_FINITE
    assert float(result.params) == float(plain.params)
    starts = jnp.array([1.0, 1.0])
    with pytest.warns(RuntimeWarning, match="every run"):
        many = gd.multistart(jnp.log, starts, gd.GradientDescent(0.45), 30, record=record)
    np.testing.assert_allclose(many.params, plain.params, rtol=1e-6)
    np.testing.assert_allclose(many.loss, plain.loss, rtol=1e-6)


def test_metrics_of_many_small_leaves():
    """As many as are packed, of which one is a scalar."""
    starts = [jnp.ones((3, 2))] * 49 + [jnp.ones(3)]

    def fn(leaves):
        return {"first": leaves[0][0], "last": leaves[-1]}

    def bowl(leaves):
        return sum(jnp.sum(leaf**2) for leaf in leaves)

    watch = gd.Evaluate(fn, every=2, stop=gd.EarlyStop("last", 9))
    record = gd.Record(evaluate=watch)
    runs = gd.multistart(bowl, starts, gd.GradientDescent(0.25), 4, record=record)
    np.testing.assert_allclose(runs.history.metrics["first"], [[1, 0.25, 0.0625]] * 3)
    np.testing.assert_allclose(runs.params[-1], 0.0625)
    one = gd.minimize(
        bowl, [leaf[0] for leaf in starts], gd.GradientDescent(0.25), 4, record=record
    )
    np.testing.assert_allclose(one.history.metrics["last"], [1, 0.25, 0.0625])


def test_aux_may_hold_numbers_of_python():
    def f(w):
        return w**2, {"weight": 0.5, "count": 3}

    options = {"has_aux": True, "record": gd.Record(aux=True)}
    one = gd.minimize(f, 1.0, WALK, 3, **options).history
    pure = gd.descend(f, 1.0, WALK, 3, **options).history
    many = gd.multistart(f, jnp.ones(2), WALK, 3, **options).history
    np.testing.assert_array_equal(one.aux["weight"], [0.5] * 4)
    np.testing.assert_array_equal(pure.aux["count"], [3] * 4)
    np.testing.assert_array_equal(many.aux["weight"], [[0.5] * 4] * 2)


def test_descend_has_no_metrics():
    with pytest.raises(ValueError, match=r"record\.evaluate is for minimize and many runs"):
        gd.descend(walk, 0.0, WALK, 5, record=recording())
