"""Kills jobs that are kept on the disk, again and again, until they have come to their end.

`python lives.py folder kills seed job…` writes, of each job, what it finds when nothing ends it
(job-whole.npz), and when it is killed so often and each time taken up by another process
(job-killed.npz, and how it was killed: job-deaths.json). Processes are forked from this one, which
has imported JAX but has not begun a backend: that saves most of what a process costs.
"""

import json
import os
import random
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path

import jax
import numpy as np
from kept_jobs import JOBS, MANY, arrays_of

import jaxgd as gd
from jaxgd import archive, crew
from jaxgd import checkpoint as kept
from jaxgd.gate import Gate

EVERY = 20
"""Steps from one checkpoint of a single run to the next."""
AT_MOST = 4
"""Checkpoints of a life."""
DEATHS = ("opened", "filling", "filled", "renaming", "renamed", "pruning", "pruned", "later")


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


class Cut:
    """A file that comes to its end in the middle of a write."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, some):
        some = memoryview(some).cast("B")
        if len(some) >= self._room:
            self._file.write(some[: self._room])
            self._file.flush()
            die()
        self._room -= len(some)
        return self._file.write(some)


class Plan:
    """How a life ends: at what moment of which of its checkpoints."""

    def __init__(self, seed):
        chance = random.Random(seed)
        self.how, self.which = chance.choice(DEATHS), chance.randint(2, AT_MOST - 1)
        self.room, self.delay = chance.randint(1, 4000), chance.uniform(0, 0.05)
        self.made = 0
        self.before = archive.fill, Path.replace, Path.unlink, kept.Vault._files

    @property
    def is_time(self):
        return self.made >= self.which  # the first life has nothing to let go of before its third

    def put_in_force(self):
        archive.fill = self.fill
        # Functions, since a method would not be given the path.
        Path.replace = lambda path, to: self.replace(path, to)  # noqa: PLW0108
        Path.unlink = lambda path, **how: self.unlink(path, **how)  # noqa: PLW0108
        kept.Vault._files = lambda vault: self.files(vault)  # noqa: PLW0108

    def at(self, *moments):
        """Die, if it is to be at one of these."""
        if self.how in moments and self.is_time:
            die()

    def fill(self, file, *what):
        self.made += 1
        self.at("opened")
        cut = self.how == "filling" and self.is_time
        self.before[0](Cut(file, self.room) if cut else file, *what)
        self.at("filling", "filled")

    def replace(self, path, to):
        self.at("renaming")
        self.before[1](path, to)
        self.at("renamed")

    def unlink(self, path, **how):
        self.before[2](path, **how)
        if path.name.startswith("checkpoint"):
            self.at("pruned")
        elif self.how == "later" and self.is_time:
            threading.Timer(self.delay, die).start()

    def files(self, vault):
        self.at("pruning")
        return self.before[3](vault)


def many_short_calls():
    """Have each thread wait between two short calls until somebody has looked at all there is."""
    crew.CALL_SECONDS, crew.LOOK_SECONDS = 0.0, 0.002
    pass_through, closed = Gate.pass_through, Gate.closed
    looked, looks = threading.Condition(), [0]

    def wait(gate):
        with looked:
            before = looks[0]
            looked.wait_for(lambda: looks[0] > before, 0.2)
        pass_through(gate)

    def look(gate):
        with looked:
            looks[0] += 1
            looked.notify_all()
        return closed(gate)

    Gate.pass_through, Gate.closed = wait, look


def forked(work):
    """Do some work in a process of its own; how it ended."""
    process = os.fork()
    if process == 0:
        try:
            warnings.filterwarnings("error", category=RuntimeWarning)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def told(job, steps, folder, name, checkpoint=None, plan=None):
    gd.cache_programs(folder / "programs")
    if checkpoint is not None:
        plan.put_in_force()
        many_short_calls()
    # A file has all of its bytes, or does not have its name.
    np.savez(folder / "unfinished.npz", **arrays_of(JOBS[job](steps, checkpoint, folder)))
    os.rename(folder / "unfinished.npz", folder / f"{name}.npz")


def kill(job, folder, kills, seed):
    """Have a job done twice: in peace, and by as many processes as it takes."""
    steps = EVERY * (kills + 1) * AT_MOST
    assert forked(lambda: told(job, steps, folder, f"{job}-whole")) == 0
    checkpoint = gd.Checkpoint(folder / job, every=1 if job in MANY else EVERY)
    deaths = []
    while True:
        plan = Plan(f"{seed} {job} {len(deaths)}")
        if len(deaths) == kills:
            plan.how = "never"
        code = forked(lambda: told(job, steps, folder, f"{job}-killed", checkpoint, plan))
        if code != -signal.SIGKILL:
            break
        deaths.append(plan.how)
    assert code == 0
    (folder / f"{job}-deaths.json").write_text(json.dumps(deaths))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    folder, kills, seed, *jobs = sys.argv[1:]
    for job in jobs:
        kill(job, Path(folder), int(kills), seed)
