"""The calls of a block of lanes: threads that feed it with starts and write down what ends."""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from jaxgd.blocks import Block
from jaxgd.calls import CALL_SECONDS, GROWTH
from jaxgd.copies import duplicate
from jaxgd.gate import Gate
from jaxgd.lanes import IDLE, Lane, Orders, Window
from jaxgd.ledger import Ledger
from jaxgd.loop import unguarded
from jaxgd.programs import option
from jaxgd.status import Status
from jaxgd.walk import End

LOOK_SECONDS = 0.1
"""From one look at the clock and at Ctrl-C to the next."""


@dataclasses.dataclass(frozen=True)
class Leg:
    """A part of the way that runs go together."""

    end: End
    spent: int
    """The status of a run that has no row left."""
    resumed: bool
    """Whether they have been paused before."""


@dataclasses.dataclass
class Board:
    """What the caller's thread tells the others."""

    halt: int = Status.RUNNING
    """The status with which all is to end."""
    deadline: float | None = None
    due: Callable[[], float] = lambda: math.inf
    """Seconds until somebody wants to look at all that there is."""
    gate: Gate = dataclasses.field(default_factory=Gate)

    def seconds(self) -> float:
        """How long a call may take."""
        left = self.due() or CALL_SECONDS  # so that all arrive there together
        if self.deadline is None:
            return min(CALL_SECONDS, left)
        return min(CALL_SECONDS, left, max(0.0, self.deadline - time.perf_counter()))


def workers_for(devices: tuple[Any, ...], count: int) -> int:
    """How many threads call a block: one for each core of a CPU, where XLA uses one for a loop."""
    if len(devices) > 1 or devices[0].platform != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, count))


class Worker:
    """One thread's block of lanes, with its own queue of runs for each device."""

    def __init__(self, block: Block, ledger: Ledger, idle: Lane) -> None:
        self._block, self._made, self._ledger = block, block.made, ledger
        self.lanes = idle
        self.taken: Any = None
        """Of each queue, how many runs have been taken."""
        self.chunks = 0
        """How many have been made."""

    def work(self, queues: list[np.ndarray[Any, Any]], leg: Leg, board: Board) -> None:
        """Bring the runs of the queues to the end of the leg, or to the halt."""
        lengths = np.array([len(queue) for queue in queues])
        if self.taken is None:
            self.taken = np.zeros(len(queues), int)
        taken, speed = self.taken, self._made.speed
        budget = max(1, int(speed.chunks * board.seconds()))
        while True:
            self.taken = taken
            board.gate.pass_through()
            halt = board.halt
            if halt != Status.RUNNING:
                taken = lengths
            window = self._window(queues, taken)
            began = time.perf_counter()
            counts = self._call(window, leg, budget, halt)
            chunks, seconds = int(counts[:, 2].max()), time.perf_counter() - began
            # A short call is mostly overhead: it can only say that this is at least so fast.
            rate = chunks / max(seconds, 1e-9)
            speed.chunks = rate if seconds > 0.01 else max(rate, speed.chunks)
            taken, self.chunks = taken + counts[:, 1], self.chunks + int(counts[:, 2].sum())
            if not counts[:, 3].any() and np.all(taken >= lengths):
                return
            budget = int(np.clip(speed.chunks * board.seconds(), 1, max(1, GROWTH * budget)))

    def _call(self, window: Window, leg: Leg, budget: int, halt: int) -> np.ndarray[Any, Any]:
        sizes, shards = self._made.sizes, self._block.shards
        budget = min(budget, sizes.film) if sizes.film else min(budget, 2**30)
        orders = Orders(
            np.int32(budget), leg.end, np.int32(leg.spent), np.int32(halt), np.bool_(leg.resumed)
        )
        self.lanes, finished, film, reported = self._made.advance(
            self.lanes, window, orders, self._block.shared
        )
        counts = np.asarray(reported)
        for shard, (done, _, chunks, _) in enumerate(counts):
            part = jax.tree.map(lambda leaf: _part(leaf, shard, shards), finished)  # noqa: B023
            self._ledger.absorb(part, done)
            if film is not None:
                part = jax.tree.map(lambda leaf: _part(leaf, shard, shards), film)  # noqa: B023
                self._ledger.absorb_film(part, chunks)
        return counts

    def _window(self, queues: list[Any], taken: Any) -> Window:
        """The next starts of each queue; what is left of the room is filled up with the first."""
        room, parts, counts = self._made.sizes.window, [], []
        for queue, at in zip(queues, taken, strict=True):
            next_ones = queue[at : at + room]
            counts.append(len(next_ones))
            parts.append(np.pad(next_ones, (0, room - len(next_ones))))
        runs = np.concatenate(parts).astype(np.int32)
        left = [len(queue) - at > room for queue, at in zip(queues, taken, strict=True)]
        saved = self._ledger.outcomes.saved
        return Window(
            runs,
            [column.take(runs) for column in self._block.starts],
            [column.take(runs) for column in self._block.own],
            jax.tree.map(lambda leaf: leaf[runs], saved),
            np.array(counts, np.int32),
            np.array(left),
        )


def _part(leaf: Any, shard: int, shards: int) -> Any:
    rows = np.asarray(leaf)
    length = len(rows) // shards
    return rows[shard * length : (shard + 1) * length]


def _idle(block: Block) -> Lane:
    """Lanes without a run: with the values of the first one, since theirs are evaluated too."""
    lanes: Lane = jax.tree.map(_nothing, block.made.lanes)
    none: Any = np.full(lanes.run.shape, IDLE, np.int32)
    x = jax.tree.map(lambda leaf: np.stack([leaf] * len(none)), block.x)
    carry = dataclasses.replace(lanes.walk.carry, x=x)
    kept = dataclasses.replace(lanes.walk.kept, x=x)
    status: Any = np.full(none.shape, Status.NOT_STARTED, np.int32)
    walk = dataclasses.replace(lanes.walk, carry=carry, kept=kept, status=status)
    if walk.origin is not None:
        walk = dataclasses.replace(walk, origin=jax.tree.map(np.copy, carry))
    return Lane(none, [column.take(0 * none) for column in block.own], walk)


def _nothing(leaf: Any) -> Any:
    """Zeros, or random keys of zeros, of a shape."""
    if not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.zeros(leaf.shape, leaf.dtype)
    return jax.random.split(jax.random.key(0, impl=leaf.dtype._impl.name), leaf.shape)


class Crew:
    """The workers of a job."""

    def __init__(self, block: Block, ledger: Ledger, workers: int) -> None:
        self._shards, self._sizes = block.shards, block.made.sizes
        self.idle = _idle(block)  # of the host: each call copies it
        self._workers = [Worker(block, ledger, self.idle) for _ in range(workers)]
        self.steps_before = 0
        """Steps from before the job went on."""
        self.begins_again = False
        """Whether the job goes on, but its lanes cannot."""

    @property
    def form(self) -> str:
        """By what runs that are under way go on to the same bits."""
        return f"{len(self._workers)} threads x {self._shards} devices x {self._sizes.lanes} lanes"

    @property
    def steps(self) -> int:
        """Steps of all lanes together, those of lanes that had nothing to do too."""
        chunks = sum(worker.chunks for worker in self._workers)
        return self.steps_before + chunks * self._sizes.chunk * self._sizes.lanes

    def state(self) -> tuple[list[Lane], list[list[int]]]:
        """Copies of all lanes, and of each worker how many runs of its queues it has taken."""
        lanes = [jax.tree.map(duplicate, worker.lanes) for worker in self._workers]
        taken = [[] if w.taken is None else w.taken.tolist() for w in self._workers]
        return lanes, taken

    def restore(self, lanes: list[Lane], taken: list[np.ndarray[Any, Any]]) -> None:
        """Let the next leg begin where these are."""
        if any(len(some) not in (0, self._shards) for some in taken):
            raise ValueError("checkpoint: it is of other queues")
        for worker, block, some in zip(self._workers, lanes, taken, strict=True):
            worker.lanes, worker.taken = block, some if len(some) else None

    def go(
        self, runs: np.ndarray[Any, Any], leg: Leg, board: Board, look: Callable[[], int]
    ) -> None:
        """Bring some runs to the end of a leg; `look` is asked now and then, and says when to halt.

        The queues are fixed beforehand, so that no result depends on which thread is faster.
        """
        workers = self._workers
        parts = _dealt(runs, len(workers) * self._shards, self._sizes.lanes)
        x64 = option("jax_enable_x64")

        def work(i: int) -> None:
            try:
                with jax.enable_x64(x64), unguarded():  # threads do not inherit the settings
                    workers[i].work(parts[i :: len(workers)], leg, board)
            finally:
                board.gate.leave()

        board.gate.begin(len(workers))
        with ThreadPoolExecutor(len(workers)) as pool:
            try:
                _wait_for([pool.submit(work, i) for i in range(len(workers))], board, look)
            except BaseException:
                board.halt = Status.INTERRUPTED
                raise
        for worker in workers:
            worker.taken = None


def _dealt(runs: np.ndarray[Any, Any], queues: int, lanes: int) -> list[np.ndarray[Any, Any]]:
    """The runs in turn for some queues, so that hard ones that lie together are shared out.

    Not one by one: what neighbours record lies together in memory, and threads that write into the
    same lines of a cache wait for each other.
    """
    size = max(1, min(lanes, len(runs) // (4 * queues)))
    whose = np.arange(len(runs)) // size % queues
    return [runs[whose == i] for i in range(queues)]


def _wait_for(futures: list[Any], board: Board, look: Callable[[], int]) -> None:
    """Look around until all are done; an error in one of them is raised here."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(
            waiting, min(LOOK_SECONDS, board.due() or LOOK_SECONDS), FIRST_EXCEPTION
        )
        for future in done:
            future.result()
        board.halt = board.halt or look()
