"""One run, with the loss of every step recorded."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import BEST, LAST, Case, Target, both_rows, gather
from benchmarks.limit import limit_one
from benchmarks.measure import OTHER, OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.scan import adam_by_hand, optax_loop
from benchmarks.peers.torch_loop import WithThreads, device, eager_loop
from benchmarks.problems import ROSENBROCK, rosenbrock
from benchmarks.settings import ADAM
from benchmarks.work import Work

RATE = 1e-3
"""So small that 10,000 steps do not end in rounding errors."""
SLOWLY = dataclasses.replace(ROSENBROCK, rates={"adam": RATE})
SIZES = (2, 10, 100, 200, 1000)
AIMS = {10: 5.0, 200: 3.5}
"""Times as fast as the best peer on jax 0.10."""
SLOW_LOOPS = "0.10."
"""The jax whose loops of several kernels are slow; on later ones there is less to gain."""


def start_of(size: int) -> np.ndarray:
    """The usual start: -1.2 and 1 in turn."""
    return np.where(np.arange(size) % 2, 1.0, -1.2).astype(np.float32)


def ours(start: np.ndarray, steps: int) -> list[Contender]:
    """Our two rows, and a call that names nothing."""
    call = functools.partial(gd.minimize, rosenbrock, start, gd.Adam(RATE), steps)
    losses = gd.Record(grad_norm=False)
    forms: dict[str, Any] = {
        LAST: functools.partial(call, keep="last", record=losses),
        BEST: functools.partial(call, keep="best", record=losses, stop=gd.Stop(gtol=0.0)),
        "jaxgd, defaults": call,
    }
    return [Contender(name, OURS, run, _last_loss) for name, run in forms.items()]


def _last_loss(result: gd.Result) -> Any:
    return result.history.loss[-1]


def scans(start: np.ndarray, steps: int) -> list[Any]:
    """Makers of the loops in JAX; that by hand is not a library, so it is shown, not compared."""
    x = jnp.asarray(start)

    def optax_scan() -> Contender:
        needed("optax")
        loop = jax.jit(optax_loop(rosenbrock, ADAM.optax(RATE), steps, history=True))
        return Contender("optax, jit(scan)", PEER, lambda: loop(x), lambda out: rosenbrock(out[0]))

    def by_hand() -> Contender:
        loop = jax.jit(adam_by_hand(rosenbrock, RATE, steps, history=True))
        name = "a scan by hand, Adam inlined"
        return Contender(name, OTHER, lambda: loop(x), lambda out: rosenbrock(out[0]))

    return [optax_scan, by_hand]


def torch_run(start: np.ndarray, steps: int) -> Contender:
    """Eager, fused Adam."""
    torch = needed("torch")
    x, loss = torch.tensor(start, device=device()), ROSENBROCK.torch()

    def run(some: int) -> Any:
        return eager_loop(
            loss, lambda xs: ADAM.torch(xs, RATE, fused=True), [x], some, history=True
        )

    chosen = WithThreads(lambda: run(steps), lambda: run(steps // 20))
    return Contender("torch, eager fused", PEER, chosen, lambda out: rosenbrock(out[0][0].numpy()))


def build(size: int, quick: bool) -> Case:
    """Rosenbrock under Adam, by all who can keep the losses."""
    steps, start = (500 if quick else 10_000), start_of(size)
    work = Work(SLOWLY, ADAM, 1, steps, history=True)
    makers = [
        *scans(start, steps),
        functools.partial(torch_run, start, steps),
        functools.partial(limit_one, work, start),
    ]
    rivals, notes = gather(makers)
    faster = AIMS.get(size, 1.0) if jax.__version__.startswith(SLOW_LOOPS) else 1.0
    aims = (Target(faster=faster), Target("limit", slower=2)) if size in AIMS else ()
    words = f"one run of rosenbrock, {size:,} parameters, {steps:,} steps of Adam, "
    own = ours(start, steps)[: 1 if quick and size != 10 else 3]  # compiling is what takes time
    words += "the loss of every step kept"
    return Case(words, (*rivals, *own), both_rows(*aims), tuple(notes))


ONE = {f"one-{size}": functools.partial(build, size) for size in SIZES}
