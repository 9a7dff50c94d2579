"""One run: Rosenbrock under Adam, against a hand-written scan with the update inlined."""

import functools
import time

import jax
import jax.numpy as jnp
from jax import lax

import jaxgd as gd
from benchmarks.measure import Timing, interleaved, save, table

STEPS, FEW = 10_000, 10
SIZES = (2, 10, 100, 1000)
HAND, STACKED = "hand-written scan", "the same, stacked history"


def rosenbrock(x):
    """The sum of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def hand_written(steps, history):
    """What a user would write who wants speed: Adam inlined, numbers compiled in."""

    def step(carry, _):
        x, m, v, t = carry
        loss, g = jax.value_and_grad(rosenbrock)(x)
        t = t + 1
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        return (x - 1e-3 * m_hat / (jnp.sqrt(v_hat) + 1e-8), m, v, t), loss if history else None

    @jax.jit
    def run(x):
        zero = jnp.zeros_like(x)
        (x, *_), losses = lax.scan(step, (x, zero, zero, jnp.float32(0)), None, length=steps)
        return x, losses

    return run


def contenders(size, steps):
    """Calls to time, by name."""
    start = jnp.full(size, -1.2).at[1::2].set(1.0)

    def ours(**options):
        result = gd.minimize(rosenbrock, start, gd.Adam(1e-3), max_steps=steps, **options)
        return result.params

    loss_only = gd.Record(grad_norm=False)
    return {
        HAND: functools.partial(hand_written(steps, False), start),
        STACKED: functools.partial(hand_written(steps, True), start),
        'jaxgd, keep="last"': functools.partial(ours, keep="last", record=loss_only),
        'jaxgd, keep="best"': functools.partial(ours, keep="best", record=loss_only),
        "jaxgd, defaults": ours,
    }


def long_and_short(size, repetitions):
    """Timings of runs of many steps, and of runs of few, each right after its long one.

    What a call costs by itself depends on what ran before it: where the long run has swept the
    caches it is half as much again. So it is measured there, to be taken off the long run's time.
    """
    long, short = contenders(size, STEPS), contenders(size, FEW)
    both = {}
    for name in long:
        both[name, STEPS], both[name, FEW] = long[name], short[name]
    timings = interleaved(both, repetitions)
    return ({name: timings[name, steps] for name in long} for steps in (STEPS, FEW))


def compile_seconds(size):
    """Seconds from a fresh loss to a compiled program: hand-written with history, and ours."""
    start = jnp.zeros(size)
    began = time.perf_counter()
    hand_written(STEPS, True).lower(start).compile()
    by_hand = time.perf_counter() - began
    fresh = functools.partial(rosenbrock)
    return by_hand, gd.minimize(fresh, start, gd.Adam(1e-3), max_steps=1).compile_seconds


def main(quick):
    """Measure, print and save."""
    repetitions = 3 if quick else 7
    figures, rows = [], []
    for size in SIZES:
        whole, few = long_and_short(size, repetitions)
        by_hand, ours = compile_seconds(size)
        base = _per_step(whole[STACKED], few[STACKED])
        for name, timing in whole.items():
            per_step = _per_step(timing, few[name])
            ratio, whole_ratio = per_step / base, timing.median / whole[STACKED].median
            figures.append(
                {
                    "parameters": size,
                    "contender": name,
                    "us_per_step": per_step * 1e6,
                    "ratio_to_stacked": ratio,
                    "whole_call_ms": timing.median * 1e3,
                    "whole_call_quartiles_ms": [timing.low * 1e3, timing.high * 1e3],
                    "whole_call_ratio": whole_ratio,
                    "call_of_10_steps_ms": few[name].median * 1e3,
                    "compile_s": ours if name.startswith("jaxgd") else by_hand,
                }
            )
            cells = (
                per_step * 1e6,
                ratio,
                timing.median * 1e3,
                whole_ratio,
                few[name].median * 1e3,
            )
            rows.append([str(size), name, *(f"{cell:.3f}" for cell in cells)])
        print(f"{size} parameters: compiled in {by_hand:.2f} s by hand, {ours:.2f} s by jaxgd")
    head = ["parameters", "contender", "µs per step", "ratio", "ms per call", "ratio of calls", "ms per call of 10 steps"]  # fmt: skip  # noqa: E501
    report = (
        f"Adam on Rosenbrock, {STEPS:,} steps, warm, medians of {repetitions} interleaved "
        "repetitions, float32.\n"
        f"µs per step: the time of {STEPS:,} steps less that of {FEW} right after, by the steps "
        "between.\n"
        f"Ratios: to the {STACKED.replace('the same', HAND)}.\n\n" + table(head, rows)
    )
    print(report)
    if not quick:
        print("written:", *save("single", report, figures))


def _per_step(whole: Timing, few: Timing) -> float:
    return (whole.median - few.median) / (STEPS - FEW)
