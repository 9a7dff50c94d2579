"""Jobs with a loss of their own, which nobody holds afterwards: each compiles."""

import contextlib
import importlib.util
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.jobs.base import Given, Job, brought, expected, joins
from benchmarks.problems import rosenbrock

COMPILING: list[Job] = []
SAID = io.StringIO()
"""What the command line says: one for all, since click keeps every stream that it wrote to."""


def _bowl(given: Given) -> Any:
    centre = given.point()
    return brought(lambda x: jnp.sum((x - centre) ** 2))


@joins(COMPILING)
def a_lambda(given: Given) -> Any:
    """Plain descent."""
    return gd.minimize(_bowl(given), given.point(), given.rule(), 50)


@joins(COMPILING)
def a_large_closure(given: Given) -> Any:
    """A loss that refers to 4 MB on the host and 4 MB on the device."""
    host = given.point(1_000_000)
    device = jnp.asarray(host[::-1])
    loss = brought(lambda x: jnp.mean((x[0] * host + x[1] - device) ** 2))
    return gd.minimize(loss, given.point(2), given.rule(), 5)


class _Model:
    """An object with a loss and a schedule, which refer to each other."""

    def __init__(self, given: Given) -> None:
        self.centre, self.rate = given.point(), 0.1
        self.same = self

    def loss(self, x: Any) -> Any:
        return jnp.sum((x - self.centre) ** 2)

    def schedule(self, step: Any) -> Any:
        return self.rate / (1 + step)


@joins(COMPILING)
def a_bound_method(given: Given) -> Any:
    """Twice, which is one program."""
    model = brought(_Model(given))
    gd.minimize(model.loss, given.point(), gd.GradientDescent(model.schedule), 20)
    return gd.minimize(model.loss, given.point(), gd.GradientDescent(model.schedule), 20)


@joins(COMPILING)
def a_loss_that_raises(given: Given) -> None:
    """While it is traced."""
    centre = given.point()

    def loss(x: Any) -> Any:
        raise ZeroDivisionError(x - centre)

    with expected(ZeroDivisionError):
        gd.minimize(brought(loss), given.point(), given.rule(), 50)


@joins(COMPILING)
def a_loss_of_a_bad_shape(given: Given) -> None:
    """One run and many."""
    centre = given.point()
    for call in (gd.minimize, gd.multistart):
        with expected(TypeError, ValueError):
            call(brought(lambda x: (x - centre) ** 2), given.point(2, 3), given.rule(), 50)


@joins(COMPILING)
def a_loss_that_becomes_nan(given: Given) -> None:
    """Thrown by one run, survived by many."""
    low = float(given.draw.uniform(0.1, 0.5))
    loss = brought(lambda x: jnp.sum(jnp.log(x - low)))
    with expected(gd.RunFailed):
        gd.minimize(loss, np.ones(3, np.float32), gd.GradientDescent(0.1), 500, throw=True)
    starts = 1 + given.point(64, 3) ** 2
    gd.multistart(loss, starts, gd.GradientDescent(0.1), 100)


@joins(COMPILING)
def many_by_each_engine(given: Given) -> None:
    """A loss that dies after runs of both."""
    loss = _bowl(given)
    for engine in (gd.engines.Plain(), gd.engines.Cpu()):
        gd.multistart(loss, given.point(256, 3), given.rule(), 50, engine=engine)


@joins(COMPILING)
def a_metric(given: Given) -> Any:
    """A function of its own."""
    centre = given.point(10)
    metric = brought(lambda w: {"distance": jnp.sum((w - centre) ** 2)})
    record = gd.Record(evaluate=gd.Evaluate(metric, every=10))
    return gd.minimize(rosenbrock, given.point(10), given.rule(), 30, record=record)


@joins(COMPILING)
def descend_in_jit(given: Given) -> None:
    """Under the user's jit, vmap and grad."""
    loss = _bowl(given)
    final = brought(lambda rate: gd.descend(loss, jnp.zeros(3), gd.Adam(rate), 10).loss)
    rates = jnp.asarray(given.draw.uniform(0.01, 0.1, 4), jnp.float32)
    jax.block_until_ready(jax.jit(jax.vmap(jax.value_and_grad(final)))(rates))


@joins(COMPILING)
def tuning(given: Given) -> None:
    """A rate for a fresh loss, and two rules."""
    loss = _bowl(given)
    gd.find_learning_rate(loss, given.point(), gd.Momentum(1.0), count=8, max_steps=30)
    gd.compare(loss, given.point(), {"a": given.rule(), "b": gd.GradientDescent(0.1)}, 30)


@joins(COMPILING)
def the_command_line(given: Given) -> None:
    """A result, its pictures and the page about them."""
    if not all(importlib.util.find_spec(name) for name in ("click", "matplotlib")):
        return
    from jaxgd.cli import command_line

    out, rate = str(given.directory / "out"), f"{given.draw.uniform(0.01, 0.1):.4f}"
    run = ["run", "booth", "--learning-rate", rate, "--max-steps", "50", "--no-cache"]
    for words in ([*run, "--out", out, "--plot"], ["report", out]):
        with contextlib.redirect_stdout(SAID), expected(SystemExit):
            command_line(words)
    SAID.seek(0)
    SAID.truncate()
