"""A run in two parts is the run in one, bit by bit, and no array of the user's is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_cases import WALK, same_bits, script_of, scripted, untimed

import jaxgd as gd

END = 150
CUTS = (0, 1, 40, 63, 64, 65, 128, 149, 150)
FULL = gd.Record(params=True)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def start():
    return np.array([-1.2, 1.0, 0.3])


def joined(first, second):
    """The history of both, the row of the cut once."""
    cut = int(second.history.step[0]) if len(second.history) else None
    once = slice(None, -1) if int(first.history.step[-1]) == cut else slice(None)
    return jax.tree.map(
        lambda a, b: np.concatenate([a[once], b]),
        _series(first.history),
        _series(second.history),
    )


def _series(history):
    return history.step, history.loss, history.grad_norm, history.params


def check_parts(whole, first, second):
    assert same_bits(joined(first, second), _series(whole.history))
    for name in ("params", "loss", "grad_norm", "at_step", "steps", "status", "state"):
        assert same_bits(getattr(second, name), getattr(whole, name)), name


RULES = {
    "adam": gd.Adam(gd.ExponentialDecay(0.05, rate=0.9, every=30)),
    "momentum": gd.Momentum(gd.CosineDecay(1e-3, steps=120), nesterov=True),
    "lion": gd.Lion(gd.Warmup(gd.Constant(0.02), steps=70)),
    "clipped": gd.chain(gd.ClipByGlobalNorm(1.0), gd.RMSProp(0.01, momentum=0.5)),
}


@pytest.mark.parametrize("name", RULES)
def test_two_parts_are_the_whole(name):
    rule, bounds = RULES[name], (-2.0, 1.3) if name == "lion" else None
    options = {
        "record": gd.Record(every=3, params=True) if name == "momentum" else FULL,
        "keep": "last" if name == "adam" else "best",
        "bounds": bounds,
        "engine": gd.engines.Plain(64),
    }
    whole = gd.minimize(rosenbrock, start(), rule, END, **options)
    for cut in CUTS:
        first = gd.minimize(rosenbrock, start(), rule, cut, **options)
        assert (first.steps, first.evaluations) == (cut, cut + 1)
        second = gd.minimize(rosenbrock, start(), rule, END, state=first.state, **options)
        check_parts(whole, first, second)
        assert second.evaluations == END - cut + 1
        assert second.compile_seconds == 0


@pytest.mark.parametrize(("chunk", "keep"), [(7, "best"), (64, "last")])
def test_the_counts_of_the_tests_go_on_across_the_cut(chunk, keep):
    """Losses fall by 1 a row, but stay the same from row 60 on: ftol is met from row 61."""
    script = script_of(160)
    script["loss"][60:] = script["loss"][60]

    def run(max_steps, patience, state=None):
        stop = gd.Stop(ftol=0.5, xtol=1e-3, patience=patience)
        return gd.minimize(
            scripted, np.zeros(3), WALK, max_steps, args=(script,), stop=stop, record=FULL,
            keep=keep, engine=gd.engines.Plain(chunk), state=state,
        )  # fmt: skip

    for patience in (1, 3, 4):
        whole = run(150, patience)
        assert (whole.status, whole.steps) == (gd.Status.CONVERGED_LOSS, 60 + patience)
        for cut in range(58, 60 + patience):
            first = run(cut, patience)
            assert first.status == gd.Status.MAX_STEPS
            check_parts(whole, first, run(150, patience, first.state))
        again = run(150, patience, whole.state)  # what ended it is still true
        assert (again.status, again.steps, again.evaluations) == (whole.status, whole.steps, 1)
        longer = run(150, patience + 2, whole.state)
        assert longer.steps == 60 + patience + 2


def test_the_best_may_lie_in_the_first_part():
    options = {"args": (script_of(160, losses={10: -5.0, 100: -5.0}),), "record": FULL}
    first = gd.minimize(scripted, np.zeros(3), WALK, 60, **options)
    second = gd.minimize(scripted, np.zeros(3), WALK, 150, state=first.state, **options)
    assert (second.at_step, second.loss, second.grad_norm) == (10, -5.0, 1.0)
    np.testing.assert_array_equal(second.params, -10.0)
    third = gd.minimize(scripted, np.zeros(3), WALK, 155, state=second.state, **options)
    assert third.at_step == 10
    np.testing.assert_array_equal(third.params, -10.0)
    lower = options | {"args": (script_of(160, losses={10: -5.0, 100: -6.0}),)}
    assert gd.minimize(scripted, np.zeros(3), WALK, 150, state=first.state, **lower).at_step == 100


def test_a_part_may_record_what_the_first_did_not():
    args = (script_of(160, losses={10: -5.0}, slopes={10: 4.0}),)
    first = gd.minimize(scripted, np.zeros(3), WALK, 60, args=args, record=None)
    assert first.history is None
    second = gd.minimize(scripted, np.zeros(3), WALK, 90, args=args, state=first.state)
    assert (second.at_step, second.loss, second.grad_norm) == (10, -5.0, 4.0)
    np.testing.assert_array_equal(second.history.step, np.arange(60, 91))
    stop = gd.Stop(xtol=1 / 70.5, gtol=0.5)
    tested = gd.minimize(scripted, np.zeros(3), WALK, 90, args=args, state=first.state, stop=stop)
    assert (tested.status, tested.steps) == (gd.Status.CONVERGED_PARAMS, 70)


def test_a_state_survives_the_host():
    def run(max_steps, state=None):
        return gd.minimize(rosenbrock, start(), RULES["adam"], max_steps, state=state)

    state = run(70).state
    host = jax.tree.map(lambda leaf: np.asarray(leaf).copy(), state)
    assert same_bits(untimed(run(END, host)), untimed(run(END, state)))
    assert same_bits(run(END, jax.tree.map(jnp.asarray, host)).params, run(END).params)


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        (np.zeros(4), gd.Adam(0.1)),
        (np.zeros(3, np.float32), gd.Adam(0.1)),
        ([np.zeros(3)], gd.Adam(0.1)),
        (np.zeros(3), gd.Momentum(0.1)),
    ],
)
def test_a_state_of_another_run_is_an_error(params, rule):
    def flat(x):
        return jnp.sum(jax.tree.leaves(x)[0] ** 2)

    state = gd.minimize(flat, np.ones(3), gd.Adam(0.1), 3).state
    with pytest.raises(ValueError, match="state belongs to another run"):
        gd.minimize(flat, params, rule, 10, state=state)


def test_a_state_has_a_step_and_a_type():
    result = gd.minimize(rosenbrock, start(), gd.Adam(0.1), 10)
    with pytest.raises(ValueError, match=r"max_steps.*10, got 9"):
        gd.minimize(rosenbrock, start(), gd.Adam(0.1), 9, state=result.state)
    same = gd.minimize(rosenbrock, start(), gd.Adam(0.1), 10, state=result.state)
    assert (same.steps, same.evaluations, len(same.history)) == (10, 1, 1)
    assert same_bits(same.params, result.params)
    with pytest.raises(TypeError, match="state"):
        gd.minimize(rosenbrock, start(), gd.Adam(0.1), 20, state=result)


def test_a_continued_run_may_have_another_learning_rate():
    first = gd.minimize(rosenbrock, start(), gd.Momentum(1e-3), 20, keep="last", record=FULL)
    second = gd.minimize(
        rosenbrock, start(), gd.Momentum(0.0), 21, keep="last", record=FULL, state=first.state
    )
    assert second.compile_seconds == 0
    assert same_bits(second.params, first.params)  # a rate of 0 moves nothing
    assert second.history.learning_rate[0] == 0


def steep(x):
    return jnp.sum(x**2) + 1e-9 * jnp.sum(jnp.sqrt(x + 1))  # NaN below -1


def test_a_run_that_failed_goes_on_at_a_lower_rate():
    failed = gd.minimize(steep, np.full(2, 0.5), gd.GradientDescent(1.02), 50, record=FULL)
    assert gd.Status(int(failed.status)) == gd.Status.NON_FINITE
    assert failed.steps > 2
    last_good = int(failed.steps) - 1
    assert int(failed.state.carry.step) == last_good
    options = {"state": failed.state, "record": FULL}
    again = gd.minimize(steep, np.zeros(2), gd.GradientDescent(0.1), 150, **options)
    assert gd.Status(int(again.status)) == gd.Status.MAX_STEPS
    assert again.history.step[0] == last_good
    assert same_bits(again.history.params[0], failed.history.params[-2])
    assert again.loss < failed.loss
    once_more = gd.minimize(steep, np.zeros(2), gd.GradientDescent(1.02), 50, **options)
    assert (once_more.status, once_more.steps) == (failed.status, failed.steps)


def test_what_the_user_holds_stays_alive_and_unchanged():
    bounds, scale = (jnp.full(3, -2.0), np.full(3, 2.0)), jnp.asarray(1.5)
    rate = jnp.asarray(0.01)
    x, host = jnp.asarray(start()), start()

    def loss(x, scale):
        return scale * rosenbrock(x)

    def run(params, **options):
        return gd.minimize(
            loss, params, gd.Adam(rate), args=(scale,), bounds=bounds, record=FULL, **options
        )

    first = run(x, max_steps=70)
    kept = jax.tree.map(np.array, untimed(first))
    others = [run(host, max_steps=70), run(first.params, max_steps=0)]
    for _ in range(3):
        others.append(run(x, max_steps=100, state=first.state))
    assert same_bits(kept, untimed(first))
    assert same_bits(untimed(others[-1]), untimed(others[-2]))
    assert same_bits(others[0].params, first.params)
    for mine, value in ((x, start()), (host, start()), (bounds[0], -2.0), (bounds[1], 2.0)):
        np.testing.assert_array_equal(mine, value)
    assert (scale, rate) == (1.5, 0.01)
    host[:] = 0  # nor does a result share memory with what was given
    np.testing.assert_array_equal(others[0].history.params[0], start())
    for params in (x, start()):
        assert same_bits(run(params, max_steps=0).params, start())


def test_the_best_so_far_is_judged_by_the_args_of_this_call():
    """As in a penalty method, whose loss is another one at each call."""

    def penalised(x, weight):
        return jnp.sum(x**2 + weight * (x - 1) ** 2)

    state = None
    for i, weight in enumerate((1.0, 10.0, 100.0)):
        options = {"args": (weight,), "state": state}
        result = gd.minimize(penalised, np.zeros(1), gd.Adam(0.01), 1000 * (i + 1), **options)
        np.testing.assert_allclose(result.params, weight / (1 + weight), rtol=1e-3)
        np.testing.assert_allclose(result.loss, penalised(result.params, weight), rtol=1e-12)
        state = result.state


def test_a_best_so_far_where_the_loss_is_not_finite_any_more_is_dropped():
    def loss(x, edge):
        return jnp.sum(jnp.sqrt(x - edge)) + jnp.sum(x**2)

    class Climb:
        def init(self, params):
            return ()

        def update(self, grads, state, params):
            return 0.1 * jnp.ones_like(grads), state

    climb = Climb()
    first = gd.minimize(loss, np.array([0.5]), climb, 5, args=(0.0,))
    assert first.at_step == 0
    second = gd.minimize(loss, np.array([0.5]), climb, 9, args=(0.55,), state=first.state)
    assert second.at_step == 5
    np.testing.assert_allclose(second.loss, loss(second.params, 0.55), rtol=1e-12)


def test_a_state_must_lie_inside_new_bounds():
    def loss(p):
        return jnp.sum((p["x"] - 3) ** 2)

    first = gd.minimize(loss, {"x": np.zeros(2)}, gd.Adam(0.1), 100)
    options = {"state": first.state, "bounds": (-1.0, 1.0)}
    with pytest.raises(ValueError, match=r"params\['x'\]\[0\] starts outside its bounds"):
        gd.minimize(loss, {"x": np.zeros(2)}, gd.Adam(0.1), 110, **options)
    wide = gd.minimize(loss, {"x": np.zeros(2)}, gd.Adam(0.1), 110, state=first.state,
                       bounds=(-1.0, 4.0))  # fmt: skip
    assert wide.steps == 110


def test_a_state_of_another_rule_is_refused_though_its_form_is_the_same():
    state = gd.minimize(rosenbrock, start(), gd.Adam(0.01), 5).state
    with pytest.raises(ValueError, match="another run: one of Adam, got the rule NAdam"):
        gd.minimize(rosenbrock, start(), gd.NAdam(0.01), 9, state=state)
