"""What a callback sees is what a stop returns; time limits; failures that are raised."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_cases import WALK, same_bits, script_of, scripted, untimed

import jaxgd as gd

FULL = gd.Record(params=True)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def with_aux(x):
    return rosenbrock(x), {"twice": 2 * x}


def noisy(x, *, key):
    return rosenbrock(x + 0.01 * jax.random.normal(key, x.shape))


def start():
    return np.array([-1.2, 1.0])


class Stopper:
    """Answers true at the nth call; keeps copies of all that it was shown."""

    def __init__(self, at):
        self.at, self.seen = at, []

    def __call__(self, info):
        self.seen.append(jax.tree.map(np.array, untimed(info)))
        return len(self.seen) == self.at


OPTIONS = {
    "best": (rosenbrock, {}),
    "last": (rosenbrock, {"keep": "last", "record": FULL}),
    "aux": (with_aux, {"has_aux": True, "record": None}),
    "tests": (rosenbrock, {"stop": gd.Stop(ftol=0.0, xtol=0.0, patience=50)}),
    "noisy": (noisy, {"key": jax.random.PRNGKey(0), "record": FULL}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_callback_sees_what_a_stop_returns(name):
    loss, options = OPTIONS[name]
    for at in (1, 2, 4):
        stopper = Stopper(at)
        result = gd.minimize(loss, start(), gd.Momentum(1e-4), 10**6, callback=stopper, **options)
        assert gd.Status(int(result.status)) == gd.Status.STOPPED
        assert len(stopper.seen) == at
        last = stopper.seen[-1]
        assert gd.Status(int(last.status)) == gd.Status.RUNNING
        assert same_bits(untimed(result, status=0), untimed(last, status=0))
        steps = [int(info.steps) for info in stopper.seen]
        assert steps == sorted(set(steps))
        whole = gd.minimize(loss, start(), gd.Momentum(1e-4), steps[-1], **options)
        stochastic = name == "noisy"
        for field in ("params", "loss", "grad_norm", "aux", "at_step", "steps", "history"):
            assert same_bits(getattr(result, field), getattr(whole, field)), field
        assert result.evaluations == steps[-1] + (not stochastic)
        more = gd.minimize(
            loss, start(), gd.Momentum(1e-4), steps[-1] + 50, state=result.state, **options
        )
        straight = gd.minimize(loss, start(), gd.Momentum(1e-4), steps[-1] + 50, **options)
        assert same_bits(more.params, straight.params)


def test_what_a_callback_keeps_stays_readable():
    kept, copies = [], []

    def callback(info):
        kept.append(untimed(info))
        copies.append(jax.tree.map(np.array, untimed(info)))
        return len(kept) == 6

    for keep in ("best", "last"):
        kept.clear()
        copies.clear()
        gd.minimize(rosenbrock, start(), gd.Momentum(1e-4), 10**6, keep=keep, callback=callback)
        for info, copy in zip(kept, copies, strict=True):
            assert same_bits(info, copy)
        again = gd.minimize(
            rosenbrock, start(), gd.Momentum(1e-4), 10**5, keep=keep, state=kept[1].state
        )
        assert again.steps == 10**5


@pytest.mark.parametrize(("keep", "what"), [("best", "losses"), ("last", "slopes")])
def test_a_callback_before_a_row_that_is_not_finite(keep, what):
    """It comes after 1 step of a program of unknown speed, and after a chunk of a known one."""
    for bad in (1, 64, 65):
        stopper = Stopper(1)
        script = script_of(160, **{what: {bad: np.nan}})
        result = gd.minimize(
            scripted, np.zeros(3), WALK, 150, args=(script,), keep=keep, callback=stopper,
            engine=gd.engines.Plain(64),
        )  # fmt: skip
        assert np.all(np.isfinite(result.params))
        assert np.isfinite(result.loss)
        assert np.isfinite(result.grad_norm)
        if stopper.seen:
            seen = stopper.seen[0]
            for field in ("params", "loss", "grad_norm", "at_step", "steps", "history", "state"):
                assert same_bits(getattr(result, field), getattr(seen, field)), (bad, field)


def test_other_answers_go_on():
    quiet = gd.minimize(rosenbrock, start(), gd.Adam(1e-3), 20_000)
    for answer in (None, False, 0, ()):
        calls = []

        def callback(info, answer=answer, calls=calls):
            calls.append(int(info.steps))
            return answer

        result = gd.minimize(rosenbrock, start(), gd.Adam(1e-3), 20_000, callback=callback)
        assert gd.Status(int(result.status)) == gd.Status.MAX_STEPS
        assert len(calls) >= 2
        assert same_bits(untimed(result), untimed(quiet))


def test_an_error_in_a_callback_comes_through():
    handler = signal.getsignal(signal.SIGINT)

    def callback(info):
        raise KeyError(int(info.steps))

    x = jnp.asarray(start())
    with pytest.raises(KeyError):
        gd.minimize(rosenbrock, x, gd.Adam(1e-3), 10**6, callback=callback, progress=True)
    assert signal.getsignal(signal.SIGINT) is handler
    assert gd.minimize(rosenbrock, x, gd.Adam(1e-3), 10).steps == 10


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_time_limit_leaves_a_run_that_goes_on(keep):
    options = {"keep": keep, "record": gd.Record(every=1000)}
    result = gd.minimize(rosenbrock, start(), gd.Adam(1e-4), 2**31 - 1, time_limit=0.05, **options)
    assert gd.Status(int(result.status)) == gd.Status.TIME_LIMIT
    steps = int(result.steps)
    assert steps > 0
    assert result.evaluations == steps + 1
    whole = gd.minimize(rosenbrock, start(), gd.Adam(1e-4), steps, **options)
    for field in ("params", "loss", "at_step", "grad_norm", "history"):
        assert same_bits(getattr(result, field), getattr(whole, field)), field
    more = gd.minimize(
        rosenbrock, start(), gd.Adam(1e-4), steps + 100, state=result.state, **options
    )
    whole = gd.minimize(rosenbrock, start(), gd.Adam(1e-4), steps + 100, **options)
    for field in ("params", "loss", "at_step", "state"):
        assert same_bits(getattr(more, field), getattr(whole, field)), field


def test_throw_raises_for_failures_only():
    def run(loss=rosenbrock, rate=1e-3, **options):
        return gd.minimize(loss, start(), gd.GradientDescent(rate), throw=True, **options)

    with pytest.raises(gd.RunFailed, match="finite") as failure:
        run(rate=10.0, max_steps=50)
    result = failure.value.result
    assert gd.Status(int(result.status)) == gd.Status.NON_FINITE
    assert np.all(np.isfinite(result.params))
    assert str(failure.value) == result.message
    ends = [
        run(max_steps=10),
        run(max_steps=10, stop=gd.Stop(target=1e9)),
        run(max_steps=10**6, callback=lambda info: True),
        run(max_steps=2**31 - 1, time_limit=1e-3, record=None),
    ]
    names = [gd.Status(int(end.status)).name for end in ends]
    assert names == ["MAX_STEPS", "TARGET_REACHED", "STOPPED", "TIME_LIMIT"]
