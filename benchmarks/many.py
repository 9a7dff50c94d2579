"""Many runs: lanes against what users write with jit and vmap."""

import functools
import json
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxgd as gd
from benchmarks.measure import interleaved, save, table

RUNS, SIZE, STEPS = 4096, 10, 1000
RATES = np.logspace(-4, 0, 64)


def rosenbrock(x):
    """The sum of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rastrigin(x):
    """A bowl with a lattice of local minima."""
    return 10 * x.shape[-1] + jnp.sum(x * x - 10 * jnp.cos(2 * jnp.pi * x))


def bowl(x):
    """Smooth, and not quadratic."""
    return 0.5 * jnp.sum(x * x) + 0.1 * jnp.sum(jnp.exp(-x * x))


def by_hand(loss):
    """Adam inlined, its numbers compiled in; nothing is tested, kept or recorded."""

    def one(x):
        def step(carry, _):
            x, m, v, t = carry
            g, t = jax.grad(loss)(x), t + 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
            return (x - 1e-2 * m_hat / (jnp.sqrt(v_hat) + 1e-8), m, v, t), None

        zero = jnp.zeros_like(x)
        return lax.scan(step, (x, zero, zero, jnp.float32(0)), None, length=STEPS)[0][0]

    return jax.jit(jax.vmap(one))


def optax_loop(loss, rate, steps):
    """One run of optax's Adam, to be vmapped or jitted."""
    import optax

    rule = optax.adam(rate)

    def one(x):
        def step(carry, _):
            x, state = carry
            updates, state = rule.update(jax.grad(loss)(x), state, x)
            return (optax.apply_updates(x, updates), state), None

        return lax.scan(step, (x, rule.init(x)), None, length=steps)[0][0]

    return one


def same_steps(loss, repetitions):
    """Case 1: every run takes all steps."""
    starts = np.asarray(jax.random.normal(jax.random.key(0), (RUNS, SIZE)))
    ours = functools.partial(gd.multistart, loss, starts, gd.Adam(1e-2), STEPS)
    contenders = {
        "jit(vmap(scan)) by hand": functools.partial(by_hand(loss), starts),
        "jit(vmap(scan)) of optax": functools.partial(
            jax.jit(jax.vmap(optax_loop(loss, 1e-2, STEPS))), starts
        ),
        'jaxgd, keep="last"': lambda: ours(keep="last").loss,
        "jaxgd": lambda: ours().loss,
    }
    return interleaved(contenders, repetitions)


def flat_while(starts, rates, gtol, most):
    """Gradient descent from many starts until all have ended."""

    def one(x, rate):
        def body(carry):
            x, n, _ = carry
            g = jax.grad(bowl)(x)
            done = jnp.max(jnp.abs(g)) <= gtol
            return jnp.where(done, x, x - rate * g), n + ~done, done

        return lax.while_loop(lambda c: ~c[2] & (c[1] < most), body, (x, 0, False))

    return jax.vmap(one)(starts, rates)[:2]


def heavy_tail(repetitions):
    """Case 2: one run in twenty needs 20 times the steps."""
    runs, gtol, most = 8192, 1e-4, 20_000
    starts = np.asarray(jax.random.normal(jax.random.key(0), (runs, SIZE)))
    slow = np.asarray(jax.random.uniform(jax.random.key(1), (runs,))) < 0.05
    rule = gd.GradientDescent(np.where(slow, 0.005, 0.1).astype(np.float32))
    flat = jax.jit(flat_while, static_argnums=(2, 3))
    axes, stop = gd.Axes(rule=0), gd.Stop(gtol=gtol)

    def ours(**options):
        return gd.minimize_many(bowl, starts, rule, most, axes=axes, stop=stop, **options)

    lanes, steps = ours(), np.asarray(flat(starts, rule.learning_rate, gtol, most)[1])
    told = (
        f"steps: mean {steps.mean():.0f}, median {np.median(steps):.0f}, largest {steps.max()}; "
        f"the same in lanes: {bool(np.all(lanes.steps == steps))}"
    )
    contenders = {
        "jit(vmap(while_loop))": lambda: flat(starts, rule.learning_rate, gtol, most),
        'jaxgd, keep="last"': lambda: ours(keep="last").loss,
        "jaxgd": lambda: ours().loss,
    }
    return interleaved(contenders, repetitions), told


def learning_rates(repetitions):
    """Case 3: 64 learning rates, from a fresh start of the loss: compilation is what it costs."""
    start = jnp.full(SIZE, -1.2).at[1::2].set(1.0)

    def loop_by_loop():
        return [jax.jit(optax_loop(rosenbrock, float(rate), STEPS))(start) for rate in RATES]

    def ours():
        fresh = functools.partial(rosenbrock)
        return gd.sweep(fresh, start, gd.grid(gd.Adam, learning_rate=RATES), STEPS).loss

    return interleaved(
        {"64 calls of a jitted optax loop": loop_by_loop, "jaxgd": ours}, repetitions
    )


MILLION = 1_000_000


def million():
    """Case 4, in a process of its own: seconds and the peak of resident memory."""
    starts = np.random.default_rng(0).normal(size=(MILLION, 2)).astype(np.float32)
    before = _peak()
    gd.multistart(rosenbrock, starts[:10], gd.Adam(1e-2), 200)
    began = time.perf_counter()
    runs = gd.multistart(rosenbrock, starts, gd.Adam(1e-2), 200)
    seconds = time.perf_counter() - began
    assert np.all(runs.steps == 200)
    print(json.dumps({"seconds": seconds, "before_mib": before, "peak_mib": _peak()}))


def _peak():
    """MiB; not from resource, which counts what the parent had."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(quick):
    """Measure, print and save."""
    repetitions = 3 if quick else 7
    cases = {}
    for loss in (rosenbrock, rastrigin):
        name = f"{loss.__name__}, {RUNS:,} starts x {SIZE} parameters x {STEPS:,} Adam steps"
        cases[name] = same_steps(loss, repetitions)
    tail, told = heavy_tail(repetitions)
    cases["8,192 runs, of which one in twenty needs 20 times the steps"] = tail
    cases["64 learning rates, compilation included"] = learning_rates(2 if quick else 3)
    rows, figures = [], []
    for name, timings in cases.items():
        base = next(iter(timings.values())).median
        for contender, timing in timings.items():
            figures.append(
                {
                    "case": name,
                    "contender": contender,
                    "ms": timing.median * 1e3,
                    "quartiles_ms": [timing.low * 1e3, timing.high * 1e3],
                    "times_as_fast_as_the_first": base / timing.median,
                }
            )
            cells = [f"{timing.median * 1e3:,.1f}", f"{base / timing.median:.2f}"]
            rows.append([name, contender, *cells])
    command = [sys.executable, "-c", "from benchmarks.many import million; million()"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    big = json.loads(done.stdout)
    figures.append({"case": "one million starts", **big})
    report = (
        f"Float32, warm unless said, medians of {repetitions} interleaved repetitions (fewer where "
        "compilation counts).\n\n"
        + table(["case", "contender", "ms", "times as fast as the first"], rows)
        + f"\n\nThe heavy tail: {told}."
        + f"\n\nOne million starts x 2 parameters x 200 Adam steps: {big['seconds']:.1f} s, peak "
        f"resident memory {big['peak_mib']:,.0f} MiB (before the first run "
        f"{big['before_mib']:,.0f} MiB)."
    )
    print(report)
    if not quick:
        print("written:", *save("many", report, figures))
