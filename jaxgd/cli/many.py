"""Many starts in `jaxgd run`: where they come from, and what is said of the runs."""

import dataclasses

from jaxgd import starts
from jaxgd.cli.errors import INTERRUPTED
from jaxgd.runs import Runs
from jaxgd.status import Status
from jaxgd.target import Target
from jaxgd.tree import PyTree

_IN_A_BOX = {
    "uniform": starts.uniform,
    "latin-hypercube": starts.latin_hypercube,
    "sobol": starts.sobol,
}
SAMPLERS = (*_IN_A_BOX, "normal")
"""What `--sampler` may be."""


@dataclasses.dataclass(frozen=True)
class Many:
    """What the options say of many starts, checked."""

    starts: int
    sampler: str
    lanes: int | None

    def draw(self, target: Target, seed: int) -> PyTree:
        """The starts: in the target's box, or around its start."""
        if self.sampler not in _IN_A_BOX:
            return starts.around(target.start, 1.0, self.starts, bounds=target.bounds, seed=seed)
        if target.box is None:
            where = "the file" if target.file is None else target.file.name
            raise ValueError(
                f"--sampler {self.sampler} draws in a box: define bounds = (lower, upper) in "
                f"{where}, or use --sampler normal"
            )
        return _IN_A_BOX[self.sampler](target.start, target.box, self.starts, seed=seed)


def verdict_on_many(runs: Runs, ended_by: str) -> tuple[str, int]:
    """What the table leaves to be said, and the exit status.

    Args:
      runs: what came out.
      ended_by: what is said if somebody ended them.
    """
    seen = set(runs.status.tolist())
    all_failed = not runs.succeeded.any()
    late = Status.TIME_LIMIT in seen
    # If it was not the time limit, it was Ctrl-C that kept runs from starting.
    if Status.INTERRUPTED in seen or (Status.NOT_STARTED in seen and not late):
        return f"{ended_by}; this is how far the runs got.", INTERRUPTED
    if late:
        return "The time limit passed; this is how far the runs got.", int(all_failed)
    return (_ALL_FAILED, 1) if all_failed else ("", 0)


_ALL_FAILED = (
    "Every run failed: the loss or its gradient became NaN or infinite. Try a learning rate 3 to "
    "10 times lower, or --clip-norm 1; at step 0, other starts."
)
