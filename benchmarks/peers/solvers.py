"""jaxopt and optimistix, vmapped and jitted. Neither keeps a history."""

import functools
from typing import Any

import jax

from benchmarks.measure import Contender
from benchmarks.peers import needed
from benchmarks.peers.scan import many
from benchmarks.work import Work


def jaxopt_many(work: Work) -> Contender:
    """`OptaxSolver.run` with a tolerance of 0, which nothing meets."""
    jaxopt = needed("jaxopt")
    needed("optax")
    rule = work.setting.optax(work.rate)
    solver = jaxopt.OptaxSolver(work.problem.loss, rule, maxiter=work.steps, tol=0.0)
    return many("jaxopt, OptaxSolver", jax.jit(jax.vmap(lambda x: (solver.run(x).params,))), work)


def optimistix_many(work: Work) -> Contender:
    """`minimise` by an OptaxMinimiser with tolerances of 0, which nothing meets."""
    optimistix = needed("optimistix")
    needed("optax")
    solver = optimistix.OptaxMinimiser(work.setting.optax(work.rate), rtol=0.0, atol=0.0)
    run = functools.partial(minimised, work.problem.loss, solver, work.steps)
    return many("optimistix, OptaxMinimiser", jax.jit(jax.vmap(run)), work)


def minimised(loss: Any, solver: Any, most: int, x: Any) -> tuple[Any, Any]:
    """Where optimistix ends, and after how many steps."""
    optimistix = needed("optimistix")
    ended = optimistix.minimise(lambda y, _: loss(y), solver, x, max_steps=most, throw=False)
    return ended.value, ended.stats["num_steps"]
