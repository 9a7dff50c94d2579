"""A run that goes on from what is on the disk."""

import numpy as np

from jaxgd.calls import Caller
from jaxgd.checkpoint import understanding
from jaxgd.copies import from_copies
from jaxgd.engines import Ongoing
from jaxgd.journal import Journal
from jaxgd.metrics import Readings
from jaxgd.saving import Saver
from jaxgd.state import Best


def resume(
    saver: Saver, caller: Caller, journal: Journal, readings: Readings | None
) -> tuple[Ongoing, Best | None]:
    """The run as its checkpoint has it, and its best iterate; journal and readings are filled."""
    fresh = caller.program.fresh
    with understanding(saver.vault.path):
        restored = saver.restored(fresh.carry)
        if readings is not None:
            saver.take_up(readings, fresh.carry)
            # What has been counted beyond its step was that of a run that failed there.
            ahead = readings.counted > int(restored.carry.step)
            caller.has_enough = readings.enough and not ahead
    restored.fill(journal)
    lowest, seen, x, source = None, restored.seen, restored.x, restored.source
    if fresh.lowest is not None:
        lowest = np.asarray(np.inf if seen is None else seen.loss, fresh.lowest.dtype)
    run = from_copies(restored.carry, lowest)
    if seen is None:
        return run, None
    if source is not None:
        x = caller.brought(source, int(source.step), seen.step).x
    return run, Best(x, seen.loss, seen.grad_norm, np.int32(seen.step))
