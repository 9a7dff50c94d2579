"""When checkpoints are made, where they lie, and how a run goes on from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from disk_cases import break_off, differences, files, saying, steps_in
from kept_jobs import examples, line, valley, wells

import jaxgd as gd
from jaxgd import checkpoint as kept
from jaxgd import crew
from jaxgd.ledger import Ledger

START = np.array([-1.2, 1.0])
RULE = gd.Adam(0.05)


def run(directory, max_steps=60, *, every=20, stay=2, **options):
    checkpoint = None if directory is None else gd.Checkpoint(directory, every=every, keep=stay)
    return gd.minimize(valley, START, RULE, max_steps, checkpoint=checkpoint, **options)


def test_every_so_many_steps_exactly_and_at_the_end(tmp_path):
    run(tmp_path, 450, every=100, stay=9)
    assert steps_in(tmp_path) == [100, 200, 300, 400, 450]
    run(tmp_path, 650, every=np.int64(100), stay=9)
    assert steps_in(tmp_path) == [100, 200, 300, 400, 450, 500, 600, 650]


def test_the_latest_few_stay_and_what_is_not_ours_too(tmp_path):
    others = ["notes.txt", "checkpoint-1.npz", "checkpoint-000001-old.npz", "checkpoint-000002"]
    for name in others:
        (tmp_path / name).write_text("mine")
    for stay, steps in ((1, [450]), (3, [550, 600, 650])):
        run(tmp_path, steps[-1], every=50, stay=stay)
        assert steps_in(tmp_path) == steps
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    ours = {path.name for path in files(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == {"lock", *others, *ours}


def test_every_so_many_seconds_but_never_for_more_than_a_share_of_the_time(tmp_path, monkeypatch):
    options = {"stay": 10**6, "record": None}
    run(tmp_path / "a", 20_000, every=1e9, **options)
    assert steps_in(tmp_path / "a") == [20_000]
    monkeypatch.setattr(kept, "SHARE", 1e12)
    run(tmp_path / "b", 20_000, every=1e-9, **options)
    assert len(files(tmp_path / "b")) == 2
    monkeypatch.setattr(kept, "SHARE", 0.0)
    watch = {"callback": lambda result: False}  # short calls in the beginning
    run(tmp_path / "c", 20_000, every=1e-9, **options, **watch)
    steps = steps_in(tmp_path / "c")
    assert len(steps) > 2
    assert steps == sorted(set(steps))


def test_the_directory_is_made_and_must_be_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("deep/down", 20)
    assert steps_in(tmp_path / "deep" / "down") == [20]
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", str(tmp_path / "file" / "below")):
        with pytest.raises(ValueError, match="is no directory"):
            run(path)
    assert not (tmp_path / "file").read_text()


BAD = {
    "directory": [(None, TypeError), (3, TypeError), ("", ValueError), ("a\0b", ValueError)],
    "every": [
        (0, ValueError), (-1.0, ValueError), (np.inf, ValueError), (np.nan, ValueError),
        ("1", TypeError), (True, TypeError), (np.ones(2), TypeError), (1j, TypeError),
    ],
    "keep": [(0, ValueError), (1.5, ValueError), (None, TypeError), (True, TypeError)],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    for value, kind in BAD[name]:
        with pytest.raises(kind, match=name):
            gd.Checkpoint(**({"directory": "somewhere"} | {name: value}))


@pytest.mark.parametrize("given", ["somewhere", True, gd.Checkpoint])
def test_a_checkpoint_is_one(given):
    with pytest.raises(TypeError, match=r"checkpoint must be a gd\.Checkpoint"):
        gd.minimize(valley, START, RULE, 10, checkpoint=given)
    with pytest.raises(TypeError, match=r"checkpoint must be a gd\.Checkpoint"):
        gd.multistart(wells, START[:, None], RULE, 10, checkpoint=given)


def test_an_iterator_cannot_be_read_again(tmp_path):
    data = gd.Batches(iter([{"x": np.ones((2, 2)), "y": np.ones(2)}] * 30))
    with pytest.raises(ValueError, match="function that makes one"):
        gd.minimize(line, START, RULE, 20, data=data, checkpoint=gd.Checkpoint(tmp_path))


def test_a_source_is_read_again(tmp_path):
    whole = examples()

    def batches():
        for first in range(0, 200, 20):
            yield {name: array[first : first + 20] for name, array in whole.items()}

    def go(checkpoint=None, **options):
        data = gd.Batches(batches)
        start = np.zeros(3, np.float32)
        return gd.minimize(line, start, RULE, 37, data=data, checkpoint=checkpoint, **options)

    here = functools.partial(go, gd.Checkpoint(tmp_path, every=8))
    break_off(here, 17)
    assert 0 < steps_in(tmp_path)[-1] < 37
    assert not differences(go(), here())


@pytest.mark.parametrize("options", [{}, {"keep": "last", "record": None}], ids=["best", "last"])
def test_more_steps_continue_a_run_that_has_ended(tmp_path, options):
    run(tmp_path, 60, **options)
    assert not differences(run(None, 130, **options), run(tmp_path, 130, **options))
    with pytest.raises(ValueError, match="max_steps must be at least 130"):
        run(tmp_path, 129, **options)


def test_a_run_that_has_ended_is_returned_again_at_once(tmp_path):
    for options in ({}, {"stop": gd.Stop(gtol=1e6)}, {"stop": gd.Stop(target=3.0)}):
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        first, again = run(directory, **options), run(directory, **options)
        assert not differences(first, again)
        assert again.compile_seconds == 0
        assert not differences(run(None, **options), again)


def test_runs_that_have_ended_are_returned_again_at_once(tmp_path):
    def go(checkpoint=None):
        starts = np.linspace(-2, 2, 10)[:, None]
        return gd.multistart(wells, starts, RULE, 100, lanes=4, checkpoint=checkpoint)

    here = gd.Checkpoint(tmp_path, every=100)
    first = go(here)
    before = files(tmp_path)
    again = go(here)
    assert not differences(first, again)
    assert not differences(go(), again)
    assert again.compile_seconds == 0
    assert files(tmp_path) == before


def test_what_may_differ_when_a_run_goes_on(tmp_path):
    """Tolerances, the engine, the time limit, who watches, and how the checkpoints are made."""
    first = {"stop": gd.Stop(gtol=1e-12, patience=3), "engine": gd.engines.Plain(8)}
    break_off(functools.partial(run, tmp_path, 70, **first), 41)
    assert steps_in(tmp_path)[-1] == 40
    then = {"stop": gd.Stop(gtol=1e-9, patience=2), "engine": gd.engines.Cpu(16)}
    more = run(tmp_path, 70, every=7.0, stay=1, time_limit=1e6, progress=True, **then)
    assert not differences(run(None, 70, **then), more)


def test_a_state_begins_a_run_that_is_kept(tmp_path):
    early = run(None, 50)

    def go(directory, **options):
        return run(directory, 190, state=early.state, **options)

    break_off(functools.partial(go, tmp_path), 100)
    assert steps_in(tmp_path)[-1] >= 80
    more, straight = go(tmp_path), go(None)
    assert not differences(straight, more)
    assert int(more.evaluations) == 141


@pytest.mark.float32
def test_in_float64(tmp_path):
    def go(directory, **options):
        with jax.enable_x64(True):
            return run(directory, 90, record=gd.Record(params=True), **options)

    break_off(functools.partial(go, tmp_path), 45)
    more = go(tmp_path)
    assert more.history.params.dtype == np.float64
    assert not differences(go(None), more)
    with pytest.raises(ValueError, match="float64"):
        run(tmp_path, 90, record=gd.Record(params=True))


def test_other_threads_and_lanes_begin_runs_again_that_were_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "CALL_SECONDS", 0.0)  # short calls, and many looks between them
    monkeypatch.setattr(crew, "LOOK_SECONDS", 0.0)

    def go(checkpoint=None, lanes=4, **options):
        starts = np.random.default_rng(1).uniform(-2, 2, (60, 1))
        return gd.multistart(
            wells, starts, gd.Adam(0.01), 3000, lanes=lanes, checkpoint=checkpoint,
            record=gd.Record(every=50), stop=gd.Stop(gtol=1e-4), **options,
        )  # fmt: skip

    here = gd.Checkpoint(tmp_path, every=1)
    stopped = go(here, callback=lambda runs: np.sum(runs.status != gd.Status.RUNNING) > 9)
    ended = ~np.isin(stopped.status, (gd.Status.STOPPED, gd.Status.NOT_STARTED))
    assert 9 < ended.sum() < 60
    counts, known = [], Ledger.absorb
    monkeypatch.setattr(Ledger, "absorb", lambda *a: counts.append(a[2]) or known(*a))
    with saying("made by .* x 4 lanes, goes on with .* x 8 lanes: runs .* begin again"):
        more = go(here, lanes=8)
    assert 60 - ended.sum() <= sum(counts) <= 50  # those too that had ended in their lanes
    monkeypatch.undo()
    straight = go()
    np.testing.assert_array_equal(more.status, straight.status)
    np.testing.assert_allclose(more.loss, straight.loss, rtol=1e-4)
    np.testing.assert_allclose(more.params, straight.params, rtol=1e-3)
    assert more.history.loss.shape == straight.history.loss.shape


@pytest.mark.parametrize("keep", [None, "best", "last"])
def test_evaluations_without_a_better_value_are_counted_on(keep, tmp_path):
    """Whichever iterate is returned: whether a value is better is known from before."""
    stop = gd.EarlyStop("away", patience=4)
    record = gd.Record(evaluate=gd.Evaluate(lambda x: {"away": x[0]}, every=10, stop=stop))

    def go(directory, max_steps=200, **options):
        return run(directory, max_steps, keep=keep, record=record, **options)

    straight, early = go(None), go(None, 25)
    break_off(functools.partial(go, tmp_path), 21)
    assert steps_in(tmp_path) == [20]
    assert not differences(straight, go(tmp_path))
    assert straight.status == gd.Status.STOPPED
    assert not differences(straight, go(None, state=early.state), ("history", "evaluations"))


@pytest.mark.parametrize("ended", ["in the middle", "at its end"])
def test_a_stochastic_run_that_fails_at_once_goes_back_as_if_it_had_not_been_ended(ended, tmp_path):
    def cliff(x, *, key):
        return -x + jnp.where(x > 4.5, jnp.nan, 0.0) + 0.0 * jax.random.normal(key)

    def go(directory, max_steps=20, **options):
        checkpoint = None if directory is None else gd.Checkpoint(directory, every=100)
        rule = gd.GradientDescent(1.0)
        return gd.minimize(
            cliff, 0.0, rule, max_steps, key=jax.random.key(0), checkpoint=checkpoint, **options
        )

    if ended == "at its end":
        assert go(tmp_path, 5).steps == 5
    else:
        assert go(tmp_path, callback=lambda result: result.steps == 5).steps == 5
    failed = go(tmp_path)
    assert (failed.status, failed.steps, failed.at_step) == (gd.Status.NON_FINITE, 5, 4)
    assert not differences(go(None), failed)


def test_the_metrics_of_a_run_that_failed_are_not_twice_in_its_history(tmp_path):
    def cliff(x):
        return -x + jnp.where(x > 4.5, jnp.nan, 0.0)

    def go(checkpoint=None):
        record = gd.Record(evaluate=gd.Evaluate(lambda x: {"x": x}, every=1))
        rule = gd.GradientDescent(1.0)
        return gd.minimize(cliff, 0.0, rule, 20, record=record, checkpoint=checkpoint)

    here, straight = gd.Checkpoint(tmp_path, every=100), go()
    assert straight.history.metric_step.tolist() == [0, 1, 2, 3, 4, 5]
    for _ in range(3):
        assert not differences(straight, go(here))
