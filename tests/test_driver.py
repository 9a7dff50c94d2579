"""Compiled programs: made once, held weakly; interruptions lose nothing."""

import functools
import gc
import operator
import os
import signal
import threading
import time
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd
from jaxgd import programs


def counted(function):
    """The function, and how often Python ran it."""
    calls = []

    def loss(*args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return loss, calls


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_numbers_never_retrace():
    chex.clear_trace_counter()

    @chex.assert_max_traces(n=3)
    def loss(x, scale):
        return scale * jnp.sum((x - 1) ** 2)

    def run(rate, b1=0.9, tolerance=1e-9, upper=2.0, steps=20, scale=1.0, decay=0.5):
        schedule = gd.ExponentialDecay(rate, rate=decay, every=10)
        return gd.minimize(
            loss,
            jnp.zeros(3),
            gd.Adam(schedule, b1=b1),
            max_steps=steps,
            args=(scale,),
            bounds=(-1.0, upper),
            stop=gd.Stop(gtol=tolerance),
        )

    first = run(0.1)
    for again in (
        run(0.2), run(1), run(jnp.float32(0.3)), run(np.float64(0.1), b1=0.5),
        run(0.1, tolerance=1), run(0.1, upper=5.0), run(0.1, steps=3), run(0.1, scale=2.0),
        run(0.1, decay=0.9),
    ):  # fmt: skip
        assert again.compile_seconds == 0.0
    assert first.compile_seconds > 0


def test_the_loss_is_traced_once():
    loss, calls = counted(rosenbrock)
    gd.minimize(loss, jnp.zeros(3), gd.Adam(0.1), max_steps=10)
    assert len(calls) == 1
    gd.minimize(loss, jnp.ones(3), gd.Adam(0.2), max_steps=1000)
    assert len(calls) == 1
    gd.minimize(loss, jnp.zeros(4), gd.Adam(0.1), max_steps=10)
    assert len(calls) == 2


def test_a_loss_with_aux_is_traced_once_too():
    loss, calls = counted(lambda x: (jnp.sum(x**2), {"twice": 2 * x}))
    for _ in range(2):
        result = gd.minimize(loss, jnp.ones(2), gd.Adam(0.1), max_steps=3, has_aux=True)
    assert len(calls) == 1
    np.testing.assert_allclose(result.aux["twice"], 2 * result.params)


X = np.zeros(3, np.float32)
STILL = gd.GradientDescent(1e-3)


def alive_after(make):
    """How many of the objects that `make` returns live on when nobody holds them."""
    refs = [weakref.ref(make(i)) for i in range(3)]
    gc.collect()
    return sum(ref() is not None for ref in refs)


def test_fresh_lambdas_leave_no_closure_alive():
    refs, before = [], len(programs._shelves)
    for i in range(20):
        captured = np.full(3, float(i), np.float32)
        loss = lambda x, captured=captured: jnp.sum((x - captured) ** 2)
        refs += [weakref.ref(loss), weakref.ref(captured)]
        gd.minimize(loss, X, STILL, max_steps=2)
        del loss, captured
    gc.collect()
    assert sum(ref() is not None for ref in refs) == 0
    assert len(programs._shelves) <= before


def test_programs_die_with_their_loss():
    def run(_):
        loss = lambda x: jnp.sum(x**2)
        gd.minimize(loss, X, STILL, max_steps=2)
        return next(iter(programs.shelf_of(loss)[0].programs.values()))

    assert alive_after(run) == 0


class Trainer:
    """Whose parts lead to one another."""

    def loss(self, x):
        return jnp.sum(x**2)

    def rate(self, step):
        return 0.1 / (1.0 + jnp.asarray(step, float))

    def activation(self, x):
        return jnp.tanh(x)


def through_rate(_):
    trainer = Trainer()
    gd.minimize(trainer.loss, X, gd.GradientDescent(trainer.rate), 2)
    return trainer


def through_args(_):
    trainer = Trainer()
    loss = lambda x, f: jnp.sum(f(x) ** 2)
    gd.minimize(loss, X, STILL, 2, args=(trainer.activation,))
    trainer.kept = loss
    return trainer


def through_itself(_):
    trainer = Trainer()
    gd.minimize(Trainer.loss.__get__(trainer), X, STILL, 2, args=())
    gd.minimize(lambda x, t: t.loss(x), X, STILL, 2, args=(trainer,))
    return trainer


def through_a_rate_that_mentions_the_loss(_):
    loss = lambda x: jnp.sum(x**2)
    gd.minimize(loss, X, gd.GradientDescent(lambda step: 0.1 if loss else 0.0), 2)
    return loss


def through_its_own_derivative(_):
    @jax.custom_vjp
    def loss(x):
        return jnp.sum(x**2)

    loss.defvjp(lambda x: (loss(x), x), lambda x, c: (2 * c * x,))
    gd.minimize(loss, X, STILL, 2)
    return loss


@pytest.mark.parametrize(
    "make",
    [through_rate, through_args, through_itself, through_a_rate_that_mentions_the_loss,
     through_its_own_derivative],
)  # fmt: skip
def test_what_leads_to_the_loss_does_not_keep_it_alive(make):
    assert alive_after(make) == 0


class Model:
    def __init__(self, target):
        self.target = target
        self.traces = 0

    def loss(self, x):
        self.traces += 1
        return jnp.sum((x - self.target) ** 2)

    def other(self, x):
        return jnp.sum((x + self.target) ** 2)


def test_a_bound_method_keeps_its_program_between_calls():
    model = Model(2.0)
    for _ in range(3):
        result = gd.minimize(model.loss, jnp.zeros(2), gd.Adam(0.5), max_steps=200)
    assert model.traces == 1
    np.testing.assert_allclose(result.params, 2, atol=1e-2)
    other = gd.minimize(model.other, jnp.zeros(2), gd.Adam(0.5), max_steps=200)
    np.testing.assert_allclose(other.params, -2, atol=1e-2)
    ref = weakref.ref(model)
    del model, result, other
    gc.collect()
    assert ref() is None


@pytest.mark.float32
def test_x64_has_programs_of_its_own_also_in_a_thread():
    gd.minimize(rosenbrock, np.zeros(2), gd.Adam(0.1), max_steps=5)
    results = []

    def work():
        with jax.enable_x64(True):
            results.append(gd.minimize(rosenbrock, np.zeros(2), gd.Adam(0.1), max_steps=5))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].params.dtype == np.float64
    again = gd.minimize(rosenbrock, np.zeros(2), gd.Adam(0.1), max_steps=5)
    assert again.params.dtype == np.float32


@pytest.fixture
def ctrl_c():
    """Python's own handler, also where the shell started us with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt_after(seconds):
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_a_hundred_interruptions_lose_nothing(ctrl_c):
    """Each time the run goes on where it was: all parts together are the run in one."""
    rule, start = gd.Adam(1e-4), jnp.full(10, -1.2)
    options = {"record": gd.Record(every=5000)}
    gd.minimize(rosenbrock, start, rule, max_steps=3000, **options)
    rng, state, rows, interrupted = np.random.default_rng(0), None, {}, 0
    while interrupted < 100:
        try:
            timer = interrupt_after(float(rng.uniform(0.02, 0.08)))
            result = gd.minimize(
                rosenbrock, start, rule, 2**31 - 1, state=state, time_limit=30, **options
            )
        except KeyboardInterrupt:  # on a busy machine, before the run had begun
            continue
        finally:
            timer.join()
        assert gd.Status(int(result.status)) == gd.Status.INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is ctrl_c
        interrupted, state = interrupted + 1, result.state
        rows |= dict(zip(result.history.step.tolist(), result.history.loss, strict=True))
    whole = gd.minimize(rosenbrock, start, rule, max_steps=int(result.steps), **options)
    for name in ("params", "loss", "grad_norm", "at_step", "steps"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(result, name))
    assert rows == dict(zip(whole.history.step.tolist(), whole.history.loss, strict=True))


def test_an_interruption_of_a_run_that_ends_by_itself_is_seen(ctrl_c):
    """In a loop of short runs one is bound to end before the flag is read."""
    gd.minimize(rosenbrock, X, STILL, 50)
    inside, interrupted = 0, int(gd.Status.INTERRUPTED)
    for _ in range(8):
        late = 0
        try:
            timer = interrupt_after(0.02)
            # As an int: comparing a NumPy scalar with an enum, NumPy swallows a KeyboardInterrupt.
            while int(gd.minimize(rosenbrock, X, STILL, 50).status) != interrupted:
                late += not timer.is_alive()
                assert late < 100  # the signal may be some microseconds behind its sender
            inside += 1
        except KeyboardInterrupt:  # between two runs
            pass
        timer.join()
    assert inside >= 3
    assert signal.getsignal(signal.SIGINT) is ctrl_c


def test_a_second_interruption_aborts(ctrl_c):
    pressed = []

    def callback(info):
        pressed.append(info.steps)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        gd.minimize(rosenbrock, jnp.zeros(2), gd.Adam(1e-4), max_steps=10**9, callback=callback)
    assert len(pressed) == 1


def test_a_time_limit_ends_a_long_run_and_the_state_goes_on():
    began = time.perf_counter()
    result = gd.minimize(
        rosenbrock, jnp.zeros(2), gd.Adam(1e-4), max_steps=2**31 - 1, time_limit=0.5, record=None
    )
    assert gd.Status(int(result.status)) == gd.Status.TIME_LIMIT
    assert result.run_seconds > 0.4
    assert time.perf_counter() - began < 60
    more = gd.minimize(
        rosenbrock,
        jnp.zeros(2),
        gd.Adam(1e-4),
        max_steps=int(result.steps) + 1000,
        state=result.state,
        record=None,
    )
    assert more.steps == result.steps + 1000


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *given: pytest.fail("it cannot be put back"))
    assert gd.minimize(rosenbrock, X, STILL, 5).steps == 5


class Family:
    def member(self, target, x):
        return jnp.sum((x - target) ** 2)

    near, far = functools.partialmethod(member, 5.0), functools.partialmethod(member, 7.0)


class Scaled:
    """Forwards what it does not have, as proxies do."""

    def __init__(self, loss, scale):
        self.loss, self.scale = loss, scale

    def __getattr__(self, name):
        return getattr(self.loss, name)

    def __call__(self, x):
        return self.loss(x * self.scale)


def test_losses_that_share_an_owner_are_told_apart():
    def ends(*losses):
        rule = gd.GradientDescent(0.1)
        return [float(gd.minimize(loss, 2.0, rule, 200, keep="last").params) for loss in losses]

    family, model = Family(), Model(3.0)
    np.testing.assert_allclose(ends(family.near, family.far), [5, 7], rtol=1e-3)
    np.testing.assert_allclose(ends(model.loss, model.other), [3, -3], rtol=1e-3)
    np.testing.assert_allclose(
        ends(Scaled(model.loss, 1.0), Scaled(model.loss, -1.0)), [3, -3], rtol=1e-3
    )
    rule = gd.GradientDescent(0.1)
    steps = [gd.minimize(f, 2.0, rule, 5).params for f in (operator.abs, operator.neg)]
    np.testing.assert_allclose(steps, [1.5, 2.5], rtol=1e-6)


def test_what_changes_in_a_loss_afterwards_is_not_seen():
    """As with jax.jit; a new instance, or an argument, is."""
    model = Model(3.0)
    rule = gd.GradientDescent(0.1)
    assert round(float(gd.minimize(model.loss, 0.0, rule, 200).params)) == 3
    model.target = 5.0
    assert round(float(gd.minimize(model.loss, 0.0, rule, 200).params)) == 3
    assert round(float(gd.minimize(Model(5.0).loss, 0.0, rule, 200).params)) == 5
