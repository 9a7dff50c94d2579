"""The runner of the benchmarks: what it decides, without running what it measures."""

import argparse
import itertools
import math

import numpy as np
import pytest

from benchmarks import runner
from benchmarks.case import BEST, LAST, Case, SkippedError, Target, both_rows, disagreements, gather
from benchmarks.case import judged as judge
from benchmarks.jobs import compiling, reusing
from benchmarks.measure import LIMIT, OTHER, OURS, PEER, Contender, Timing, interleaved, warmed
from benchmarks.scaling import slope
from benchmarks.soak import TOLD, rounds, slope_of, thinned, verdict


def contender(name, kind, run=lambda: 1.0):
    return Contender(name, kind, run, lambda loss: loss)


def timing(seconds, loss=1.0):
    return Timing(seconds, seconds, seconds, seconds, seconds, loss)


def case(**options):
    kinds = {LAST: OURS, BEST: OURS, "optax, jit": PEER, "torch": PEER, "C": LIMIT, "scipy": OTHER}
    return Case("work", tuple(contender(name, kind) for name, kind in kinds.items()), **options)


TIMES = {LAST: 0.1, BEST: 0.2, "optax, jit": 1.0, "torch": 0.5, "C": 0.05, "scipy": 0.01}


@pytest.mark.parametrize(
    ("target", "reached", "met"),
    [
        (Target(faster=5), 5, True),
        (Target(faster=6), 5, False),
        (Target("optax", faster=10), 10, True),
        (Target("limit", slower=1.9), 2, False),
        (Target("limit", slower=2), 2, True),
        (Target("optax", excess=0.1), -900, True),
        (Target("", excess=0.05), 100, False),
        (Target("jaxopt", faster=5), math.nan, None),
    ],
)
def test_targets_are_judged_by_the_medians(target, reached, met):
    (verdict,) = judge(case(targets=(target,)), {n: timing(t) for n, t in TIMES.items()})
    np.testing.assert_allclose(verdict.reached, reached)
    assert verdict.met is met


def test_of_the_second_row_a_share_is_wanted_and_nothing_of_the_limit():
    targets = both_rows(Target(faster=10), Target("limit", slower=2))
    assert [(t.row, t.faster) for t in targets] == [(LAST, 10), (LAST, None), (BEST, 6)]


@pytest.mark.parametrize(
    ("losses", "who"),
    [
        ({}, []),
        ({"torch": 1.2}, ["torch"]),
        ({"torch": math.nan, "scipy": 9.0}, []),
        ({BEST: 0.5}, []),
        ({BEST: 1.5}, [BEST]),
        ({LAST: 0.5}, [LAST]),
    ],
)
def test_who_ends_elsewhere_is_named_but_for_what_is_better_by_keeping_the_best(losses, who):
    told = disagreements(case(), dict.fromkeys(TIMES, 1.0) | losses)
    assert len(told) == len(who)
    assert all(line.startswith(name) for line, name in zip(told, who, strict=True))


def test_a_peer_that_cannot_run_is_left_out_and_said_but_not_ours():
    def fails():
        raise RuntimeError("no\nmore")

    warm = warmed([contender("good", PEER), contender("bad", PEER, fails)])
    assert [one.name for one in warm.going] == ["good"]
    assert warm.failed == ("bad: skipped, RuntimeError: no",)
    with pytest.raises(RuntimeError):
        warmed([contender(LAST, OURS, fails)])


def test_a_missing_peer_is_said_once():
    def missing():
        raise SkippedError("torch: skipped")

    made, notes = gather([missing, lambda: contender("good", PEER), missing])
    assert [one.name for one in made] == ["good"]
    assert notes == ["torch: skipped"]


def test_repetitions_are_interleaved_and_a_slow_one_sits_out():
    calls = []

    def clocked(name, seconds):
        def run():
            calls.append(name)
            return seconds, 1.0

        return Contender(name, PEER, run, lambda loss: loss, clocked=True)

    timings = interleaved(warmed([clocked("a", 1.0), clocked("b", 9.0)]), 3, longest=10)
    assert calls == ["a", "b", "a", "b", "a", "b", "a"]
    assert (timings["a"].median, timings["b"].median) == (1.0, 9.0)


def test_a_slope_is_the_exponent():
    assert slope([1, 10, 100], [3, 300, 30_000]) == pytest.approx(2)
    assert slope([1, 1], [2, 3]) is None


SOME_JOBS = (
    compiling.a_lambda, compiling.a_bound_method, compiling.a_loss_that_raises,
    compiling.the_command_line, reusing.batches_from_the_disk, reusing.a_source_that_fails,
    reusing.callbacks, reusing.other_numbers,
)  # fmt: skip


@pytest.mark.promotion
def test_what_a_process_holds_is_the_same_after_each_round_of_mixed_jobs(tmp_path):
    _, second, third = itertools.islice(rounds(tmp_path, math.inf, SOME_JOBS), 3)
    counts = ("arrays", "programs", "losses", "brought", "threads", "descriptors")
    assert {name: third[name] for name in counts} == {name: second[name] for name in counts}
    # JAX may throw out what other tests have left with it.
    assert third["executables"] <= second["executables"]


def test_a_soak_that_holds_more_and_more_is_not_flat():
    held = [dict.fromkeys(TOLD, 5) for _ in range(90)]
    series = [
        {"round": n, "jobs": 10 * n, "compiled": n, "seconds": n, "memory": 100 + n / 10, **row}
        for n, row in enumerate(held)
    ]
    series[50]["memory"] = 900
    told = verdict(series)
    assert told["flat"]
    assert told["memory_mib"]["per_1000_jobs"] == pytest.approx(10)
    for row in series[60:]:
        row["programs"] += 1
    assert not verdict(series)["flat"]


def test_a_series_is_thinned_to_its_ends_and_some_between():
    assert thinned([1, 2, 3], 3) == [1, 2, 3]
    assert thinned(list(range(101)), 5) == [0, 25, 50, 75, 100]
    assert slope_of([1], [2]) is None


@pytest.mark.parametrize(
    ("case", "device", "said"),
    [(["nothing"], "cpu", "no case is called nothing"), ([], "gpu", "sees no GPU")],
)
def test_the_command_refuses_in_one_line(case, device, said, monkeypatch, capsys):
    monkeypatch.setattr(runner, "has_gpu", lambda: False)
    options = argparse.Namespace(case=case, device=device, list=False, quick=True, repetitions=None)
    assert runner.run(options) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
