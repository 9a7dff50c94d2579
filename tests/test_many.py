"""Many runs: what happens to each, whatever beside it, and how a job ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd

S = gd.Status
RULE = gd.GradientDescent(0.1)


def bowl(x):
    """NaN left of -9, as a whole; infinitely steep at 0, where it is finite."""
    return jnp.sum(x**2) + jnp.where(x[0] < -9, jnp.nan, 0.0)


def starts(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


def test_bad_starts_end_alone_with_no_step():
    points = starts(50)
    points[[3, 20]] = [[-10.0, 0.0], [np.nan, 1.0]]
    runs = gd.multistart(bowl, points, RULE, 100)
    bad = np.isin(np.arange(50), [3, 20])
    np.testing.assert_array_equal(runs.status, np.where(bad, S.NON_FINITE, S.MAX_STEPS))
    np.testing.assert_array_equal(runs.steps, np.where(bad, 0, 100))
    np.testing.assert_array_equal(runs.evaluations, np.where(bad, 1, 101))
    alone = gd.multistart(bowl, points[~bad], RULE, 100)
    np.testing.assert_array_equal(runs.params[~bad], alone.params)
    assert runs.message == "48 MAX_STEPS, 2 NON_FINITE"
    assert np.isfinite(runs.best.loss)


def test_only_when_all_fail_a_warning_says_so():
    points = np.full((5, 2), np.nan, np.float32)
    with pytest.warns(RuntimeWarning, match="every run became NaN or infinite: try a learning"):
        runs = gd.multistart(bowl, points, RULE, 100)
    assert runs.success_rate == 0
    assert runs.minima() == []
    assert "every run failed" in repr(runs)
    with pytest.warns(RuntimeWarning), pytest.raises(gd.RunFailed) as raised:
        gd.multistart(bowl, points, RULE, 100, throw=True)
    assert len(raised.value.result) == 5


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_goes_non_finite_returns_what_it_returns_alone(keep):
    rates = np.array([0.1, 1.5, 3.0], np.float32)  # the last two leave the bowl
    point = np.array([1.0, 1.0], np.float32)
    runs = gd.minimize_many(
        bowl, point, gd.GradientDescent(rates), 200, axes=gd.Axes(None, rule=0), keep=keep, lanes=2,
        record=gd.Record(),
    )  # fmt: skip
    for rate, one in zip(rates, runs, strict=True):
        alone = gd.minimize(bowl, point, gd.GradientDescent(rate), 200, keep=keep)
        fields = ("status", "steps", "at_step", "evaluations")
        assert [getattr(one, f) for f in fields] == [getattr(alone, f) for f in fields]
        np.testing.assert_allclose(one.params, alone.params, rtol=1e-6)
        np.testing.assert_allclose(one.loss, alone.loss, rtol=1e-6)
        np.testing.assert_allclose(one.grad_norm, alone.grad_norm, rtol=1e-6)
    assert runs.status.tolist() == [S.MAX_STEPS, S.NON_FINITE, S.NON_FINITE]


def test_a_loss_that_nobody_asks_for_is_looked_at_now_and_then():
    """NaN once, where its gradient is finite: unseen until it is NaN when it is looked at."""
    told = {"keep": "last", "lanes": 2, "engine": gd.engines.Cpu(8)}
    point, rule = np.array([[1.0, 1.0], [0.0, 0.0]], np.float32), gd.GradientDescent(1.5)
    seen = gd.multistart(bowl, point, rule, 11, record=gd.Record(), **told)
    assert seen.steps.tolist() == [5, 11]  # x is -32 there, and 64 a step later
    unseen = gd.multistart(bowl, point, rule, 8, **told)
    assert unseen.status.tolist() == [S.MAX_STEPS] * 2
    at_the_end = gd.multistart(bowl, point, rule, 9, **told)
    assert at_the_end.status.tolist() == [S.NON_FINITE, S.MAX_STEPS]
    assert at_the_end.at_step.tolist() == [8, 9]


def test_nobody_waits_for_the_slowest_and_nothing_is_lost():
    rates = np.where(np.arange(300) % 20 == 7, 0.002, 0.2)
    options = {"axes": gd.Axes(rule=0), "stop": gd.Stop(gtol=1e-3)}
    many = gd.minimize_many(bowl, starts(300), gd.GradientDescent(rates), 9000, **options)
    steps = {rate: many.steps[rates == rate] for rate in (0.002, 0.2)}
    assert steps[0.002].min() > 50 * steps[0.2].max()
    assert np.all(many.status == S.CONVERGED_GRADIENT)
    few = gd.minimize_many(bowl, starts(300), gd.GradientDescent(rates), 9000, lanes=3, **options)
    np.testing.assert_array_equal(few.steps, many.steps)
    np.testing.assert_allclose(few.params, many.params, rtol=1e-6, atol=1e-7)


def test_one_trace_serves_all_numbers():
    traces = []

    def loss(x, centre):
        traces.append(1)
        return jnp.sum((x - centre) ** 2)

    def run(count, rate, gtol, most, centre, **options):
        return gd.multistart(
            loss, starts(count), gd.Adam(rate), most, stop=gd.Stop(gtol=gtol), args=(centre,),
            **options,
        )  # fmt: skip

    assert run(7, 0.1, 1e-3, 50, 0.0).compile_seconds > 0
    first = len(traces)
    for numbers in ((1000, 0.1, 1e-3, 50, 0.0), (3, 0.01, 1e-2, 900, 1.0), (129, 1, 0, 1, 2.0)):
        assert run(*numbers).compile_seconds == 0
    enough = gd.Rediscovered(times=2, every=10)
    assert run(40, 0.1, 1e-3, 500, 0.0, enough=enough).compile_seconds == 0
    assert len(traces) == first
    assert run(9, 0.1, 1e-3, 500, 0.0, prune=gd.Halving(0.5, 10)).compile_seconds > 0
    assert run(9, 0.1, 1e-3, 300, 0.0, prune=gd.Halving(0.4, 7)).compile_seconds == 0


def noisy(x, *, key):
    return jnp.sum((x - jax.random.normal(key, x.shape, x.dtype)) ** 2)


def test_run_i_of_a_stochastic_loss_uses_fold_in_key_i():
    key = jax.random.key(5)
    runs = gd.multistart(noisy, starts(6), RULE, 40, key=key, lanes=4)
    keys = jax.random.split(jax.random.key(1), 6)
    raw = jax.random.key_data(keys)
    own = gd.multistart(noisy, starts(6), RULE, 40, key=key, lanes=4)
    np.testing.assert_array_equal(own.params, runs.params)
    for given in (keys, raw):
        mapped = gd.minimize_many(
            noisy, starts(6), RULE, 40, key=given, axes=gd.Axes(key=0), lanes=4
        )
        for i, start in enumerate(starts(6)):
            with_own = gd.minimize(noisy, start, RULE, 40, key=given[i], record=None)
            folded = gd.minimize(noisy, start, RULE, 40, key=jax.random.fold_in(key, i))
            for one, alone in ((mapped[i], with_own), (runs[i], folded)):
                assert (one.steps, one.evaluations, one.at_step) == (40, 40, 40)
                np.testing.assert_allclose(one.params, alone.params, rtol=2e-6, atol=1e-7)
                np.testing.assert_allclose(one.loss, alone.loss, rtol=1e-5)


def test_aux_and_histories_are_those_of_the_run_alone():
    def loss(params, scale):
        far = params["x"] - params["k"].astype(np.float32)
        return scale * jnp.sum(far**2), {"far": far, "sum": jnp.sum(params["x"])}

    points = {"x": starts(5), "k": np.arange(5, dtype=np.int32)}
    schedule = gd.ExponentialDecay(np.linspace(0.1, 0.3, 5), rate=0.9, every=10)
    options = {
        "has_aux": True,
        "record": gd.Record(every=7, params=True),
        "stop": gd.Stop(gtol=0.1),
    }
    axes = gd.Axes(rule=0, args=0)
    scales = np.array([1.0, 1.2, 0.7, 2.0, 1.5], np.float32)
    rule = gd.GradientDescent(schedule)
    runs = gd.minimize_many(loss, points, rule, 60, args=(scales,), axes=axes, lanes=2, **options)
    assert len(set(runs.steps.tolist())) > 2
    for i, one in enumerate(runs):
        start = {"x": points["x"][i], "k": points["k"][i]}
        rate = gd.ExponentialDecay(schedule.init[i], rate=0.9, every=10)
        alone = gd.minimize(loss, start, gd.GradientDescent(rate), 60, args=(scales[i],), **options)
        assert (one.status, one.steps) == (alone.status, alone.steps)
        for a, b in (
            (one.aux, alone.aux),
            (one.history, alone.history),
            (one.params, alone.params),
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6), a, b)


@pytest.mark.parametrize("stops_at", [1, 2])
def test_a_callback_sees_the_runs_so_far_and_stops_them(stops_at):
    seen = []

    def callback(runs):
        time.sleep(0.02)
        seen.append(np.bincount(runs.status, minlength=12))
        return len(seen) == stops_at

    runs = gd.multistart(
        bowl, starts(2000), gd.GradientDescent(1e-6), 10**6, callback=callback, lanes=8,
        devices=jax.devices()[:1],
    )  # fmt: skip
    assert len(seen) == stops_at
    assert seen[0].sum() == 2000
    counts = np.bincount(runs.status, minlength=12)
    assert 0 < counts[S.STOPPED] <= 16
    assert counts[S.STOPPED] + counts[S.NOT_STARTED] + counts[S.MAX_STEPS] == 2000
    waiting = runs.status == S.NOT_STARTED
    np.testing.assert_array_equal(runs.params[waiting], starts(2000)[waiting])
    assert np.all(np.isnan(runs.loss[waiting]))
    assert np.all(runs.steps[waiting] == 0)


def test_an_error_in_a_callback_ends_all_threads():
    def callback(_):
        raise RuntimeError("mine")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="mine"):
        gd.multistart(
            bowl, starts(500), gd.GradientDescent(1e-6), 10**7, callback=callback, lanes=8
        )
    assert threading.active_count() == before


def test_a_time_limit_ends_a_job_in_time():
    began = time.perf_counter()
    runs = gd.multistart(bowl, starts(4000), gd.GradientDescent(1e-6), 10**6, time_limit=0.3)
    assert time.perf_counter() - began - runs.compile_seconds < 20
    assert set(runs.status.tolist()) <= {S.TIME_LIMIT, S.NOT_STARTED, S.MAX_STEPS}
    assert np.any(runs.status == S.TIME_LIMIT)
    ran = runs.status == S.TIME_LIMIT
    assert np.all(runs.loss[ran] <= np.sum(starts(4000)[ran] ** 2, axis=1) + 1e-6)


def test_ctrl_c_returns_what_has_ended():
    """In a process of its own, whose main thread gets the signal."""
    code = """
        import numpy as np, jax.numpy as jnp, jaxgd as gd, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        rates = np.where(np.arange(600) < 64, 0.1, 1e-7)
        go = gd.GradientDescent(rates)
        def loss(x): return jnp.sum(x ** 2)
        stop, axes = gd.Stop(gtol=1e-3), gd.Axes(rule=0)
        ones, options = np.ones((600, 2)), {"axes": axes, "stop": stop, "lanes": 16}
        gd.minimize_many(loss, ones, go, 1, **options)
        print("ready", flush=True)
        runs = gd.minimize_many(loss, ones, go, 10 ** 8, **options)
        found = set(runs.status.tolist())
        counts = {gd.Status(s).name: int(np.sum(runs.status == s)) for s in found}
        print(counts, bool(np.all(runs.status[:64] == gd.Status.CONVERGED_GRADIENT)))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "ready"
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert told.startswith("{")
    counts, all_fast = told.rsplit(" ", 1)
    counts = json.loads(counts.replace("'", '"'))
    assert all_fast.strip() == "True"
    assert counts["CONVERGED_GRADIENT"] == 64
    assert counts["INTERRUPTED"] == 32 or counts["INTERRUPTED"] % 16 == 0
    assert sum(counts.values()) == 600


def in_a_process(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's peak of memory")
def test_a_million_starts_need_little_memory():
    told = in_a_process("""
        import json, numpy as np, jaxgd as gd
        starts = np.random.default_rng(0).normal(size=(10**6, 2)).astype(np.float32)
        def loss(x): return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        runs = gd.multistart(loss, starts, gd.Adam(0.01), 20)
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(json.dumps({"kib": int(peak.split()[1]), "ended": int((runs.steps == 20).sum())}))
    """)
    assert told["ended"] == 10**6
    assert told["kib"] < 2 * 2**20


@pytest.mark.parametrize("devices", [2, 8])
def test_any_number_of_devices_gives_the_same(devices):
    told = in_a_process(
        """
        import json, jax, jax.numpy as jnp, numpy as np, jaxgd as gd
        himmelblau = gd.landscapes.Himmelblau()
        def loss(x): return jnp.where(x[0] < -3.9, jnp.inf, himmelblau(x))
        starts = gd.starts.uniform(np.zeros(2), (-4.0, 4.0), 101)
        def run(devices, **more):
            return gd.multistart(loss, starts, gd.Adam(0.1), 300, devices=devices, **more)
        same, ran = True, []
        for more in ({"stop": gd.Stop(gtol=1e-4), "record": gd.Record(every=20)},
                     {"prune": gd.Halving(0.5, 100)}):
            one, many = run(jax.devices()[-1:], **more), run(None, **more)
            ran.append(many.engine)
            for a, b in zip(jax.tree.leaves((one.params, one.status, one.steps, one.history)),
                            jax.tree.leaves((many.params, many.status, many.steps, many.history))):
                same &= bool(np.array_equal(a, b, equal_nan=True))
        print(json.dumps({"same": same, "ran": ran}))
        """,
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
    )
    assert told["same"]
    for engine in told["ran"]:
        assert engine.startswith("cpu(")
        assert engine.endswith(f"lanes on each of {devices} devices")


def test_it_works_under_settings_of_the_users_own():
    points = starts(5)
    expected = gd.multistart(bowl, points, RULE, 30).params
    with jax.debug_nans(True), jax.transfer_guard("disallow"):
        np.testing.assert_array_equal(gd.multistart(bowl, points, RULE, 30).params, expected)
    with jax.enable_x64(True):
        wide = gd.multistart(bowl, points.astype(np.float64), RULE, 30)
    assert wide.params.dtype == wide.loss.dtype == np.float64
    np.testing.assert_allclose(wide.params, expected, rtol=1e-5)
    # Where nothing is compiled, a status is an int64 for JAX, not a Python number.
    with jax.disable_jit(), jax.numpy_dtype_promotion("standard"):
        slow = gd.multistart(bowl, points[:2], RULE, 3, lanes=2)
    np.testing.assert_allclose(slow.params, gd.multistart(bowl, points[:2], RULE, 3).params)


def test_no_lane_evaluates_what_nobody_has_given():
    """With an argument of 0 the loop of this loss would never end."""

    def loss(x, step):
        end = jax.lax.while_loop(lambda t: t < 1, lambda t: t + step, 0 * step)
        return jnp.sum((x - end) ** 2)

    given = np.array([0.5, 0.25, 0.375], np.float32)
    runs = gd.minimize_many(
        loss,
        np.ones(2, np.float32),
        RULE,
        20,
        args=(given,),
        axes=gd.Axes(None, args=0),
        time_limit=60,
    )
    assert runs.message == "3 MAX_STEPS"


def test_a_callback_may_look_at_everything_at_any_time():
    seen = []

    def callback(runs):
        seen.append((repr(runs), runs.message, runs.minima(), repr(runs[0])))

    slow = gd.GradientDescent(1e-6)
    prune = gd.Halving(0.5, every=20_000)
    gd.multistart(bowl, starts(700), slow, 60_000, callback=callback, prune=prune, lanes=8)
    assert seen
    assert any("RUNNING" in message for _, message, _, _ in seen)


def test_ctrl_c_is_never_swallowed():
    """Pressed while the loss is traced, nothing begins."""

    def loss(x):
        signal.raise_signal(signal.SIGINT)
        return jnp.sum(x**2)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        runs = gd.multistart(loss, starts(4), RULE, 100)
    finally:
        signal.signal(signal.SIGINT, before)
    assert runs.message == "4 NOT_STARTED. Interrupted from the keyboard"


def test_leaves_of_any_kind():
    def loss(p):
        parts = [jnp.sum((jnp.abs(leaf - 1) ** 2).astype(float)) for leaf in jax.tree.leaves(p)]
        return sum(parts), {"key": jax.random.key(1)}

    points = {
        "half": jnp.full((3, 2), 2, jnp.float16), "brain": jnp.full(3, 3, jnp.bfloat16),
        "complex": jnp.full((3, 1), 1j), "int": jnp.arange(3), "none": jnp.zeros((3, 0)),
    }  # fmt: skip
    runs = gd.multistart(loss, points, gd.Adam(0.1), 200, has_aux=True, lanes=2)
    assert jax.tree.map(lambda leaf: leaf.dtype, runs.params) == jax.tree.map(
        lambda leaf: leaf.dtype, points
    )
    np.testing.assert_allclose(runs.params["complex"], 1, atol=1e-2)
    np.testing.assert_allclose(runs.params["half"].astype(float), 1, atol=1e-2)
    assert runs.params["int"].tolist() == [0, 1, 2]
    assert runs.aux["key"].shape[0] == 3
    alone = gd.minimize(loss, jax.tree.map(lambda leaf: leaf[1], points), gd.Adam(0.1), 200, has_aux=True)  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(runs.loss[1], alone.loss, rtol=1e-4)


@pytest.mark.parametrize("most", [0, 40])
def test_of_a_stochastic_run_loss_and_norm_are_of_the_last_row(most):
    record = gd.Record(every=3)
    runs = gd.multistart(noisy, starts(2), RULE, most, key=jax.random.key(3), record=record)
    for i, start in enumerate(starts(2)):
        key = jax.random.fold_in(jax.random.key(3), i)
        alone = gd.minimize(noisy, start, RULE, most, key=key, record=record)
        np.testing.assert_allclose(runs.grad_norm[i], alone.grad_norm, rtol=1e-5)
        np.testing.assert_allclose(runs.loss[i], alone.loss, rtol=1e-5)
        assert len(runs[i].history) == len(alone.history)


def test_losses_are_not_kept_alive():
    import gc
    import weakref

    def loss(x):
        return jnp.sum(x**2)

    gd.multistart(loss, starts(3), RULE, 3)
    dead = weakref.ref(loss)
    del loss
    gc.collect()
    assert dead() is None
