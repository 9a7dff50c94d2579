"""Losses with other shapes: a small network, a very large array, very many small ones."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import BEST, LAST, Case, Target, both_rows, gather
from benchmarks.limit import limit_copy
from benchmarks.measure import OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.scan import optax_loop
from benchmarks.peers.torch_loop import WithThreads, device, eager_loop
from benchmarks.problems import INPUTS, OUTPUTS, losses_at, network, network_starts
from benchmarks.settings import ADAM

RATE = 1e-2


def two_rows(call: Callable[..., Any], quick: bool) -> list[Contender]:
    """Our two rows, of a call that lacks nothing but what they differ in; one to be quick."""
    last = functools.partial(call, keep="last")
    best = functools.partial(call, keep="best", stop=gd.Stop(gtol=0.0))
    rows = [Contender(LAST, OURS, last, _loss), Contender(BEST, OURS, best, _loss)]
    return rows[:1] if quick else rows


def _loss(outcome: Any) -> Any:
    return outcome.loss


def optax_of(start: Any, steps: int, over: Callable[[Any], Any], loss: Any, ends: Any) -> Contender:
    """A jitted loop; `over` is `jax.vmap` or does nothing, `ends` gives the final losses."""
    needed("optax")
    loop = jax.jit(over(optax_loop(loss, ADAM.optax(RATE), steps, history=False)))
    start = jax.tree.map(jnp.asarray, start)
    return Contender("optax, jit", PEER, lambda: loop(start), lambda out: ends(out[0]))


def torch_of(
    leaves: list[Any], steps: int, form: str, loss: Callable[..., Any], ends: Callable[..., Any]
) -> Contender:
    """Eager; `loss` takes the leaves."""
    torch = needed("torch")
    tensors = [torch.tensor(leaf, device=device()) for leaf in leaves]

    def run(some: int) -> Any:
        return eager_loop(loss, lambda xs: ADAM.torch(xs, RATE, **{form: True}), tensors, some)

    chosen = WithThreads(lambda: run(steps), lambda: run(max(1, steps // 20)))
    return Contender(f"torch, eager {form}", PEER, chosen, lambda out: ends(out[0]))


def small_network(quick: bool) -> Case:
    """A perceptron of 49 parameters from many starts."""
    runs, steps = (32, 20) if quick else (4096, 100)
    starts, ends = network_starts(runs), losses_at(network)

    def torch_loss(b1: Any, b2: Any, w1: Any, w2: Any) -> Any:
        inputs, outputs = (w1.new_tensor(values) for values in (INPUTS, OUTPUTS))
        hidden = (inputs[:, None] * w1[:, None] + b1[:, None]).tanh()
        missed = (hidden @ w2[:, :, None])[..., 0] + b2[:, None] - outputs
        return (missed * missed).mean(-1)

    names = sorted(starts)

    def named(leaves: list[Any]) -> Any:
        return ends({name: leaf.numpy() for name, leaf in zip(names, leaves, strict=True)})

    rivals, notes = gather(
        [
            lambda: optax_of(starts, steps, jax.vmap, network, ends),
            lambda: torch_of([starts[n] for n in names], steps, "foreach", torch_loss, named),
            lambda: torch_of([starts[n] for n in names], steps, "fused", torch_loss, named),
        ]
    )
    call = functools.partial(gd.multistart, network, starts, gd.Adam(RATE), steps)
    words = f"a perceptron of 49 parameters at 32 points, {runs:,} starts x {steps} steps of Adam"
    return Case(
        words, (*rivals, *two_rows(call, quick)), both_rows(Target(faster=0.95)), tuple(notes)
    )  # fmt: skip


def wells(x: Any) -> Any:
    """The sum of (x^2 - 1)^2: so little work that the memory is what it costs."""
    return jnp.sum((x * x - 1) ** 2)


def eight_million(quick: bool) -> Case:
    """One run of a very large array."""
    size, steps = (10_000, 5) if quick else (8_000_000, 25)
    start = np.random.default_rng(0).uniform(-2, 2, size).astype(np.float32)

    def torch_loss(x: Any) -> Any:
        away = x * x - 1
        return (away * away).sum()

    rivals, notes = gather(
        [
            lambda: optax_of(start, steps, lambda loop: loop, wells, wells),
            lambda: torch_of([start], steps, "fused", torch_loss, _wells_of_one),
            lambda: limit_copy(size, steps),
        ]
    )
    x = jnp.asarray(start)
    call = functools.partial(gd.minimize, wells, x, gd.Adam(RATE), steps, record=None)
    return Case(
        f"one run of {size:,} parameters, {steps} steps of Adam, no history",
        (*rivals, *two_rows(call, quick)),
        both_rows(Target(faster=1.0), Target("limit", slower=1.9)),
        (*notes, "the limit copies the params and two moments at each step"),
    )


def _wells_of_one(leaves: list[Any]) -> Any:
    return wells(leaves[0].numpy())


def small_leaves(quick: bool) -> Case:
    """One run of a tree of many small arrays."""
    count, steps = (10, 50) if quick else (500, 500)
    draw = np.random.default_rng(0)
    start = [draw.uniform(-2, 2, 4).astype(np.float32) for _ in range(count)]

    def loss(leaves: Any) -> Any:
        return sum(wells(leaf) for leaf in leaves)

    def torch_loss(*leaves: Any) -> Any:
        torch = needed("torch")
        away = torch.cat(leaves).square() - 1
        return (away * away).sum()

    def ends(leaves: list[Any]) -> Any:
        return loss([leaf.numpy() for leaf in leaves])

    rivals, notes = gather(
        [
            lambda: optax_of(start, steps, lambda loop: loop, loss, loss),
            lambda: torch_of(start, steps, "foreach", torch_loss, ends),
            lambda: torch_of(start, steps, "fused", torch_loss, ends),
        ]
    )
    call = functools.partial(gd.minimize, loss, start, gd.Adam(RATE), steps, record=None)
    words = f"one run of {count} arrays of 4 numbers, {steps} steps of Adam, no history"
    return Case(
        words, (*rivals, *two_rows(call, quick)), both_rows(Target(faster=1.5)), tuple(notes)
    )


LARGE = {"network": small_network, "8-million": eight_million, "500-leaves": small_leaves}
