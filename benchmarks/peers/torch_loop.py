"""PyTorch on a (runs, parameters) batch, with the sum of the losses to differentiate."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.case import SkippedError
from benchmarks.measure import PEER, Contender
from benchmarks.peers import needed
from benchmarks.problems import losses_at
from benchmarks.work import Work

UNROLL = 5
"""Steps of one compiled call: one step alone is mostly the call, ten were not faster."""


def device() -> str:
    """Where PyTorch computes: where JAX does."""
    torch = needed("torch")
    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise SkippedError("torch: skipped, this build of it sees no GPU")
    return "cuda"


def eager_loop(
    loss: Callable[[Any], Any],
    make: Callable[[list[Any]], Any],
    leaves: list[Any],
    steps: int,
    history: bool = False,
) -> tuple[list[Any], Any]:
    """Steps as the documentation has them; the loss takes the leaves, and returns one a run."""
    torch = needed("torch")
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    optimiser, schedule = make(leaves)
    rows = []
    for _ in range(steps):
        optimiser.zero_grad()
        values = loss(*leaves)
        values.sum().backward()
        optimiser.step()
        if schedule is not None:
            schedule.step()
        if history:
            rows.append(values.detach())
    return [leaf.detach().cpu() for leaf in leaves], torch.stack(rows).cpu() if history else None


def eager_many(work: Work, form: str) -> Contender:
    """`form` is "foreach" or "fused"."""
    torch = needed("torch")
    if form == "fused" and not work.setting.fused:
        raise SkippedError(f"torch, eager fused: it has no fused {work.setting.words}")
    loss, starts = work.problem.torch(), torch.tensor(work.starts, device=device())

    def run(steps: int) -> Any:
        def make(leaves: list[Any]) -> Any:
            return work.setting.torch(leaves, work.rate, **{form: True})

        return eager_loop(loss, make, [starts], steps, work.history)

    return _contender(f"torch, eager {form}", run, work)


def compiled_many(work: Work) -> Contender:
    """`torch.compile` of some steps, gradient and update together."""
    torch = needed("torch")
    loss, starts = work.problem.torch(), torch.tensor(work.starts, device=device())
    both = torch.func.grad_and_value(lambda x: ((values := loss(x)).sum(), values), has_aux=True)
    unroll = UNROLL if work.steps % UNROLL == 0 else 1
    per_step = work.setting.per_step(work.rate, np.arange(work.steps))
    a, b = (
        torch.tensor(values, dtype=torch.float32, device=device()).reshape(-1, unroll)
        for values in per_step
    )

    @torch.compile
    def some(x: Any, moments: Any, a: Any, b: Any) -> Any:
        rows = []
        for i in range(unroll):
            g, (_, values) = both(x)
            x, moments = work.setting.functional(x, moments, g, a[i], b[i])
            rows.append(values)
        return x, moments, torch.stack(rows) if work.history else None

    def run(steps: int) -> Any:
        x, moments = starts, tuple(torch.zeros_like(starts) for _ in range(work.setting.moments))
        rows = []
        with torch.no_grad():
            for i in range(steps // unroll):
                x, moments, values = some(x, moments, a[i], b[i])
                rows.append(values)
        return [x.cpu()], torch.cat(rows).cpu() if work.history else None

    return _contender("torch.compile", run, work)


def _contender(name: str, run: Callable[[int], Any], work: Work) -> Contender:
    losses = losses_at(work.problem.loss)
    chosen = WithThreads(lambda: run(work.steps), lambda: run(max(UNROLL, work.steps // 20)))
    return Contender(name, PEER, chosen, lambda outcome: losses(outcome[0][0].numpy()))


class WithThreads:
    """A call of PyTorch with one thread or with all cores, whichever a short trial finds faster.

    Its threads wait for one another after each operation, which on a machine that others use too
    costs more than a second thread gains.
    """

    def __init__(self, run: Callable[[], Any], trial: Callable[[], Any]):
        self.run, self.trial, self.threads = run, trial, None

    def __call__(self) -> Any:
        """Choose at the first call, and do it."""
        torch = needed("torch")
        if self.threads is None:
            self.threads = min((1, torch.get_num_threads()), key=self.seconds)
        torch.set_num_threads(self.threads)
        return self.run()

    def seconds(self, threads: int) -> float:
        """Of the shorter of two trials, after one that compiles."""
        torch = needed("torch")
        torch.set_num_threads(threads)
        self.trial()
        took = []
        for _ in range(2):
            began = time.perf_counter()
            self.trial()
            took.append(time.perf_counter() - began)
        return min(took)
