"""optax under `jit(scan)` and `jit(vmap(scan))`, and the scan with the update written by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.measure import PEER, Contender
from benchmarks.peers import needed
from benchmarks.problems import losses_at
from benchmarks.work import Work


def optax_loop(loss: Callable[[Any], Any], rule: Any, steps: int, history: bool) -> Any:
    """One run: params -> (params, the losses of the steps or None)."""
    optax = needed("optax")

    def run(x: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            x, state = carry
            value, g = jax.value_and_grad(loss)(x)
            updates, state = rule.update(g, state, x)
            return (optax.apply_updates(x, updates), state), value if history else None

        (x, _), losses = lax.scan(step, (x, rule.init(x)), None, length=steps)
        return x, losses

    return run


def adam_by_hand(
    loss: Callable[[Any], Any], rate: float, steps: int, history: bool
) -> Callable[[Any], Any]:
    """The same with Adam inlined for one array, its numbers compiled in."""

    def step(carry: Any, _: None) -> Any:
        x, m, v, t = carry
        value, g = jax.value_and_grad(loss)(x)
        t = t + 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        x = x - rate * m_hat / (jnp.sqrt(v_hat) + 1e-8)
        return (x, m, v, t), value if history else None

    def run(x: Any) -> Any:
        zero = jnp.zeros_like(x)
        carry, losses = lax.scan(step, (x, zero, zero, jnp.float32(0)), None, length=steps)
        return carry[0], losses

    return run


def optax_many(work: Work) -> Contender:
    """`jit(vmap(scan))`."""
    needed("optax")
    rule = work.setting.optax(work.rate)
    loop = jax.jit(jax.vmap(optax_loop(work.problem.loss, rule, work.steps, work.history)))
    return many("optax, jit(vmap(scan))", loop, work)


def many(name: str, loop: Callable[[Any], Any], work: Work) -> Contender:
    """A peer from a jitted function of all starts that returns params first."""
    starts, losses = jnp.asarray(work.starts), losses_at(work.problem.loss)
    return Contender(name, PEER, lambda: loop(starts), lambda outcome: losses(outcome[0]))
