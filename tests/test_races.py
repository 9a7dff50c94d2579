"""Racing, and enough starts: by what the runs did alone."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd

S = gd.Status
LOSS = gd.landscapes.Himmelblau()
RULE = gd.Adam(0.05)


def starts(count):
    return gd.starts.uniform(np.zeros(2), (-4.0, 4.0), count, seed=1)


def test_halving_keeps_the_best_of_those_that_go_on():
    runs = gd.multistart(LOSS, starts(37), RULE, 90, prune=gd.Halving(keep=0.3, every=30))
    free = gd.multistart(LOSS, starts(37), RULE, 90, record=gd.Record())
    # What each would have returned at the two steps: the lowest loss of the rows before.
    best = [free.history.loss[:, :step].min(axis=1) for step in (30, 60)]
    alive = np.argsort(best[0], kind="stable")[:12]
    alive_then = alive[np.argsort(best[1][alive], kind="stable")[:4]]
    np.testing.assert_array_equal(np.flatnonzero(runs.steps > 30), np.sort(alive))
    np.testing.assert_array_equal(np.flatnonzero(runs.status == S.MAX_STEPS), np.sort(alive_then))
    assert sorted(set(runs.steps.tolist())) == [30, 60, 90]
    pruned = runs.status == S.PRUNED
    assert pruned.sum() == 33
    np.testing.assert_allclose(runs.loss[runs.steps == 30], best[0][runs.steps == 30], rtol=1e-6)
    np.testing.assert_array_equal(runs.evaluations, runs.steps + ~pruned)
    assert runs.log == (
        "At step 30, 12 of 37 runs went on",
        "At step 60, 4 of 12 runs went on",
    )


def test_the_bar_counts_those_that_were_dropped_too(capsys):
    gd.multistart(LOSS, starts(37), RULE, 90, prune=gd.Halving(keep=0.3, every=30), progress=True)
    assert "37.0/37.0" in capsys.readouterr().err


def test_a_run_that_is_never_dropped_does_not_know_of_the_race():
    stop = gd.Stop(gtol=1e-4)
    options = {"stop": stop, "record": gd.Record(), "lanes": 5}
    raced = gd.multistart(LOSS, starts(24), RULE, 900, prune=gd.Halving(0.9, 77), **options)
    no_choice = gd.Halving(0.9, 900)  # the same program, which pauses nobody
    free = gd.multistart(LOSS, starts(24), RULE, 900, prune=no_choice, **options)
    stayed = raced.status != S.PRUNED
    assert 0 < stayed.sum() < 24
    for name in ("params", "loss"):
        a, b = getattr(raced, name)[stayed], getattr(free, name)[stayed]
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_array_equal(raced.status[stayed], free.status[stayed])
    assert np.abs(raced.steps[stayed] - free.steps[stayed]).max() <= 1
    # In another lane it may be rounded otherwise: vectors have an end.
    np.testing.assert_allclose(raced.history.loss[stayed], free.history.loss[stayed], atol=1e-5)


def test_the_share_that_stays_is_rounded_up_but_not_for_the_share_s_own_rounding():
    runs = gd.multistart(LOSS, starts(100), RULE, 20, prune=gd.Halving(0.07, 10))
    assert runs.log == ("At step 10, 7 of 100 runs went on",)


@pytest.mark.parametrize("every", [90, 1000])
def test_a_race_with_no_step_to_choose_at_is_none(every):
    raced = gd.multistart(LOSS, starts(9), RULE, 90, prune=gd.Halving(0.5, every))
    assert raced.message == "9 MAX_STEPS"


def test_the_same_race_ends_the_same_in_any_number_of_lanes():
    prune = gd.Halving(keep=0.25, every=20)
    one, other = (
        gd.multistart(LOSS, starts(64), RULE, 100, prune=prune, lanes=lanes) for lanes in (3, 16)
    )
    np.testing.assert_array_equal(one.status, other.status)
    np.testing.assert_array_equal(one.steps, other.steps)


def test_a_job_ends_when_the_best_minimum_was_found_often_enough():
    stop = gd.Stop(gtol=1e-3)
    enough = gd.Rediscovered(times=9, every=20)
    runs = gd.multistart(LOSS, starts(200), RULE, 2000, stop=stop, enough=enough)
    made = runs.status != S.NOT_STARTED
    count = int(made.sum())
    assert count % 20 == 0
    assert 0 < count < 200
    np.testing.assert_array_equal(made, np.arange(200) < count)
    free = gd.multistart(LOSS, starts(200), RULE, 2000, stop=stop)
    np.testing.assert_array_equal(runs.params[made], free.params[made])
    best = runs.minima()[0].count
    assert best >= 9
    assert runs.log == (f"The best minimum was found {best} times in {count} runs",)
    fewer = gd.multistart(LOSS, starts(count - 20), RULE, 2000, stop=stop).minima()
    assert fewer[0].count < 9


def test_a_minimum_that_is_not_found_often_enough_ends_nothing():
    enough = gd.Rediscovered(times=40, every=16)
    runs = gd.multistart(LOSS, starts(39), RULE, 50, enough=enough)
    assert runs.message == "39 MAX_STEPS"


def test_both_together():
    runs = gd.multistart(
        LOSS, starts(100), RULE, 400, prune=gd.Halving(0.5, 200), enough=gd.Rediscovered(3, 50)
    )
    assert runs.log[0] == "At step 200, 25 of 50 runs went on"
    assert runs.log[1].startswith("The best minimum was found ")
    assert np.bincount(runs.status)[S.PRUNED] == 25
    assert np.bincount(runs.status)[S.NOT_STARTED] == 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prune": gd.Halving(keep=1.0)}, "prune.keep must be a share between 0 and 1, got 1.0"),
        ({"prune": gd.Halving(keep=jnp.ones(2))}, "prune.keep must be a share"),
        ({"prune": gd.Halving(every=0)}, "prune.every must be a whole number >= 1, got 0"),
        ({"prune": 0.5}, "prune must be a gd.Halving or None, got 0.5"),
        ({"enough": gd.Rediscovered(times=0)}, "enough.times must be a whole number >= 1, got 0"),
        ({"enough": gd.Rediscovered(every=1.5)}, "enough.every must be a whole number >= 1"),
        ({"enough": 3}, "enough must be a gd.Rediscovered or None, got 3"),
    ],
)
def test_bad_races_are_refused(options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        gd.multistart(LOSS, starts(5), RULE, 50, **options)
