"""What calls cost besides their steps: compilation, dispatch, and the probe of a GPU."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import LAST, Case, SkippedError, Target, gather
from benchmarks.cases.one import start_of
from benchmarks.measure import OTHER, OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.scan import adam_by_hand, optax_loop
from benchmarks.problems import ROSENBROCK, SIZE, rosenbrock

ROOT = pathlib.Path(__file__).parent.parent.parent


def rates(quick: bool) -> Case:
    """64 learning rates, compilation included on all sides."""
    count, steps = (4, 50) if quick else (64, 1000)
    values = np.logspace(-4, -1, count).astype(np.float32)
    start = jnp.asarray(start_of(SIZE))
    each = "optax, a jitted loop for each rate"

    def one_by_one() -> Contender:
        optax = needed("optax")

        def run() -> Any:
            loops = (optax_loop(rosenbrock, optax.adam(float(r)), steps, False) for r in values)
            return [jax.jit(loop)(start) for loop in loops]

        return Contender(each, PEER, run, lambda outs: [rosenbrock(x) for x, _ in outs])

    def together() -> Contender:
        optax = needed("optax")

        def run() -> Any:
            loop = jax.vmap(
                lambda rate: optax_loop(rosenbrock, optax.adam(rate), steps, False)(start)[0]
            )
            return jax.jit(loop)(values)

        name = "rates as a traced argument, jit(vmap(scan)) of optax"
        return Contender(name, PEER, run, jax.vmap(rosenbrock))

    def ours() -> Any:
        fresh = functools.partial(rosenbrock)  # programs live as long as their loss
        grid = gd.grid(gd.Adam, learning_rate=values)
        return gd.sweep(fresh, start, grid, steps, keep="last")

    rivals, notes = gather((one_by_one, together))
    return Case(
        f"{count} learning rates of Adam, rosenbrock, {steps:,} steps, compilation included",
        (*rivals, Contender(LAST, OURS, ours, lambda runs: runs.loss)),
        (Target(each, faster=20),),
        tuple(notes),
        repetitions=3,
    )


def second_call(quick: bool) -> Case:
    """A call of ten steps, when all has been compiled."""
    del quick
    start, steps = jnp.asarray(start_of(2)), 10
    loop = jax.jit(adam_by_hand(rosenbrock, 1e-3, steps, history=True))
    bare = "a bare jitted call"
    call = functools.partial(gd.minimize, rosenbrock, start, gd.Adam(1e-3), steps)
    losses = gd.Record(grad_norm=False)
    own = functools.partial(call, keep="last", record=losses)
    batch = 20
    return Case(
        f"{batch} calls, one after another, of {steps} steps of a run of 2 parameters",
        (
            Contender(bare, PEER, lambda: _again(lambda: loop(start), batch)),
            Contender(LAST, OURS, lambda: _again(own, batch)),
            Contender("jaxgd, defaults", OURS, lambda: _again(call, batch)),
        ),
        (Target(bare, excess=0.3e-3 * batch),),
    )


def _again(call: Any, times: int) -> None:
    for _ in range(times):
        jax.block_until_ready(call())


FIRST = """
import json, sys, time
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
from benchmarks.cases import calls
ready = calls.to_be_called(sys.argv[1])
jax.block_until_ready(jnp.zeros(3) + 1)
began = time.perf_counter()
jax.block_until_ready(ready())
print(json.dumps(time.perf_counter() - began))
"""


def to_be_called(who: str) -> Any:
    """The call that a fresh process times."""
    start, steps = jnp.asarray(start_of(SIZE)), 1000
    if who == "ours":
        return functools.partial(gd.minimize, rosenbrock, start, gd.Adam(1e-3), steps)
    loop = jax.jit(optax_loop(rosenbrock, needed("optax").adam(1e-3), steps, history=True))
    return functools.partial(loop, start)


def first_call(quick: bool) -> Case:
    """The first call in a fresh process, what XLA compiled being on the disk."""
    del quick
    folder = tempfile.TemporaryDirectory(prefix="jaxgd-cache-")

    def fresh(who: str) -> tuple[float, None]:
        done = python(FIRST, who, folder.name)
        return json.loads(done), None

    def with_optax() -> Contender:
        needed("optax")
        run = functools.partial(fresh, "optax")
        return Contender("optax, jit(scan)", PEER, run, clocked=True)

    rivals, notes = gather([with_optax])
    name = "jaxgd, defaults"
    return Case(
        "the first call in a fresh process: 1,000 steps of 10 parameters, programs on the disk",
        (*rivals, Contender(name, OURS, functools.partial(fresh, "ours"), clocked=True)),
        (Target("", excess=0.15, row=name),),
        (*notes, "JAX is imported and its backend started before the clock starts"),
        repetitions=5,
    )


def python(code: str, *words: str) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ
    )
    return done.stdout


def command_buffers(quick: bool) -> Case:
    """Whether a GPU's loops gain by being one graph; a probe, with nothing of ours in it."""
    if jax.default_backend() != "gpu":
        raise SkippedError("a probe of GPUs")
    runs, steps = (64, 50) if quick else (4096, 1000)
    x = jnp.asarray(ROSENBROCK.starts(runs))
    loop = jax.vmap(adam_by_hand(rosenbrock, 1e-2, steps, history=False))
    kinds = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,COLLECTIVES,CONDITIONAL"
    forms = {"as it comes": None, "+WHILE": "+WHILE", "all kinds": f"{kinds},WHILE", "none": ""}
    rows = []
    for words, value in forms.items():
        chosen = {} if value is None else {"xla_gpu_enable_command_buffer": value}
        call = functools.partial(jax.jit(loop, compiler_options=chosen), x)
        rows.append(Contender(f"jit(vmap(scan)), command buffers: {words}", OTHER, call))
    return Case(f"rosenbrock, {runs:,} starts x {steps:,} steps, on a GPU", tuple(rows))


CALLS = {
    "rates": rates,
    "second-call": second_call,
    "first-call": first_call,
    "command-buffers": command_buffers,
}
