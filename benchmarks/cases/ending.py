"""Many runs that end by themselves, at steps of their own."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxgd as gd
from benchmarks.case import BEST, Case, Target, gather
from benchmarks.measure import LIMIT, OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.solvers import minimised
from benchmarks.problems import ROSENBROCK, SIZE, bowl, losses_at, rosenbrock

ENDING, KEEPING = 'jaxgd, keep="last", gtol', BEST
"""Our two rows: both test the gradient at every step, since that is the work."""


def optax_while(loss: Callable[[Any], Any], rule: Any, gtol: float, most: int) -> Any:
    """A run of optax until no entry of the gradient is above `gtol`: x -> (x, steps)."""
    optax = needed("optax")

    def body(carry: Any) -> Any:
        x, state, n, _ = carry
        g = jax.grad(loss)(x)
        done = jnp.max(jnp.abs(g)) <= gtol
        updates, state = rule.update(g, state, x)
        return jnp.where(done, x, optax.apply_updates(x, updates)), state, n + ~done, done

    def run(x: Any) -> Any:
        x, _, n, _ = lax.while_loop(
            lambda carry: ~carry[3] & (carry[2] < most), body, (x, rule.init(x), 0, False)
        )
        return x, n

    return run


def told(steps: Any) -> str:
    """How the steps are spread."""
    steps = np.asarray(steps)
    return f"mean {steps.mean():,.0f}, median {np.median(steps):,.0f}, largest {steps.max():,}"


def early(quick: bool) -> Case:
    """Rosenbrock under Adam until the gradient is small."""
    runs, most, rate = (64, 400, 5e-2) if quick else (2048, 10_000, 2e-2)
    gtol, atol = (10.0, 1e-2) if quick else (1e-2, 5e-5)
    starts, losses = ROSENBROCK.starts(runs), losses_at(rosenbrock)
    x, steps = jnp.asarray(starts), {}
    call = functools.partial(gd.multistart, rosenbrock, starts, gd.Adam(rate))

    def with_optax() -> Contender:
        rule = needed("optax").adam(rate)
        loop = jax.jit(jax.vmap(optax_while(rosenbrock, rule, gtol, most)))
        name = "optax, jit(vmap(while_loop)), gtol"
        return Contender(name, PEER, lambda: loop(x), lambda out: losses(out[0]))

    def with_optimistix() -> Contender:
        optimistix, optax = needed("optimistix"), needed("optax")
        solver = optimistix.OptaxMinimiser(optax.adam(rate), rtol=0.0, atol=atol)
        loop = jax.jit(jax.vmap(functools.partial(minimised, rosenbrock, solver, most)))

        def run() -> Any:
            x_end, steps["optimistix, which tests moves and losses"] = loop(x)
            return x_end

        return Contender("optimistix, OptaxMinimiser", PEER, run)

    def ending() -> gd.Runs:
        ended = call(most, keep="last", stop=gd.Stop(gtol=gtol))
        steps["jaxgd"] = ended.steps
        return ended

    def fixed() -> gd.Runs:
        return call(round(float(np.mean(steps["jaxgd"]))), keep="last")

    best = functools.partial(call, most, keep="best", stop=gd.Stop(gtol=gtol))
    rivals, skipped = gather((with_optax, with_optimistix))
    own = (
        Contender(ENDING, OURS, ending, _losses),
        Contender(KEEPING, OURS, best, _losses),
        Contender("jaxgd, no tests, the mean steps for all", LIMIT, fixed),
    )
    return Case(
        f"{runs:,} runs of rosenbrock, {SIZE} parameters, Adam until gtol {gtol:g}",
        (*rivals, *own),
        (
            Target("optimistix", faster=5, row=ENDING),
            Target("limit", slower=1.3, row=ENDING),
            Target("optimistix", faster=3, row=KEEPING),
        ),
        (*skipped, "the limit is ours without tests, for as many steps together"),
        lambda: [f"steps of {name}: {told(of)}" for name, of in steps.items()],
    )


def _losses(runs: gd.Runs) -> Any:
    return runs.loss


def by_hand(x: Any, rate: Any, gtol: float, most: int) -> tuple[Any, Any]:
    """Gradient descent until it has ended."""

    def body(carry: Any) -> Any:
        x, n, _ = carry
        g = jax.grad(bowl)(x)
        done = jnp.max(jnp.abs(g)) <= gtol
        return jnp.where(done, x, x - rate * g), n + ~done, done

    return lax.while_loop(lambda c: ~c[2] & (c[1] < most), body, (x, 0, False))[:2]


def heavy_tail(quick: bool) -> Case:
    """One run in twenty needs 20 times the steps."""
    runs, gtol, most = (256, 1e-1, 20_000) if quick else (8192, 1e-4, 20_000)
    starts = np.asarray(jax.random.normal(jax.random.key(0), (runs, SIZE)))
    slow = np.asarray(jax.random.uniform(jax.random.key(1), (runs,))) < 0.05
    rates = np.where(slow, 0.005, 0.1).astype(np.float32)
    x, of_run, losses = jnp.asarray(starts), jnp.asarray(rates), losses_at(bowl)
    steps: dict[str, Any] = {}

    def jitted(one: Callable[[Any, Any], Any], name: str) -> Contender:
        flat = jax.jit(jax.vmap(one))

        def run() -> Any:
            x_end, steps[name] = flat(x, of_run)
            return x_end

        return Contender(name, PEER, run, losses)

    def with_while() -> Contender:
        return jitted(lambda x, rate: by_hand(x, rate, gtol, most), "jit(vmap(while_loop))")

    def with_optimistix() -> Contender:
        # Its test is of the move, rate |g|: with this tolerance it is the same test.
        optimistix = needed("optimistix")

        def one(x: Any, rate: Any) -> Any:
            solver = optimistix.GradientDescent(rate, rtol=0.0, atol=rate * gtol)
            return minimised(bowl, solver, most, x)

        return jitted(one, "optimistix, GradientDescent")

    def ours(**options: Any) -> gd.Runs:
        rule, axes = gd.GradientDescent(rates), gd.Axes(rule=0)
        stop = gd.Stop(gtol=gtol)
        return gd.minimize_many(bowl, starts, rule, most, axes=axes, stop=stop, **options)

    def ending() -> gd.Runs:
        ended = ours(keep="last")
        steps["jaxgd"] = ended.steps
        return ended

    best = functools.partial(ours, keep="best")
    rivals, skipped = gather((with_while, with_optimistix))
    return Case(
        f"{runs:,} runs of gradient descent, of which one in twenty needs 20 times the steps",
        (
            *rivals,
            Contender(ENDING, OURS, ending, _losses),
            Contender(KEEPING, OURS, best, _losses),
        ),
        (Target(faster=20, row=ENDING), Target(faster=12, row=KEEPING)),
        tuple(skipped),
        lambda: [f"steps of {name}: {told(of)}" for name, of in steps.items()],
    )


ENDINGS = {"early-stop": early, "heavy-tail": heavy_tail}
