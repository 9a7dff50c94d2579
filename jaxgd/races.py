"""When a job drops some of its runs, or ends: by what they did, never by the clock."""

import dataclasses

import numpy as np

from jaxgd.canonical import as_count, is_quantity
from jaxgd.refusal import shown


@dataclasses.dataclass(frozen=True)
class Halving:
    """Successive halving: at set steps the best of the runs go on and the others end as PRUNED.

    At the steps `every`, 2 `every`, … before max_steps, the runs that have not ended by then are
    ordered by the loss of the iterate that they would return, and the best share `keep` of them,
    rounded up, goes on. Until all have come to the step, those that have wait on the host.

    Reference: Jamieson and Talwalkar (2016), Non-stochastic best arm identification and
    hyperparameter optimization, arXiv:1502.07943.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> runs = gd.multistart(gd.landscapes.Himmelblau(), jnp.linspace(-4, 4, 64).reshape(32, 2),
      ...                      gd.Adam(0.1), max_steps=300, prune=gd.Halving(keep=0.25, every=100))
      >>> runs.message
      '2 MAX_STEPS, 30 PRUNED. At step 100, 8 of 32 runs went on. At step 200, 2 of 8 runs went on'
    """

    keep: float = 0.5
    """The share of the runs that goes on, between 0 and 1."""
    every: int = 100
    """Steps from one choice to the next."""

    def checked(self) -> "Halving":
        """The same with checked fields, or an error that names one."""
        if not is_quantity(self.keep) or np.ndim(self.keep) or not 0 < self.keep < 1:
            raise ValueError(f"prune.keep must be a share between 0 and 1, got {shown(self.keep)}")
        return Halving(float(self.keep), as_count(self.every, "prune.every", at_least=1))


@dataclasses.dataclass(frozen=True)
class Rediscovered:
    """Enough starts: the job ends when the best minimum has been found `times` times.

    Runs are made in groups of `every`, in their order; after each, the minima found so far are told
    apart as in `Runs.minima`. The runs of the groups that are left stay NOT_STARTED.

    Reference: Boender and Rinnooy Kan (1987), Bayesian stopping rules for multistart global
    optimization methods, doi:10.1007/BF02591684.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> starts = gd.starts.uniform(jnp.zeros(2), (-5.0, 5.0), 4096)
      >>> runs = gd.multistart(gd.landscapes.Ackley(), starts, gd.Adam(0.05), max_steps=500,
      ...                      enough=gd.Rediscovered(times=3))
      >>> runs.message
      '512 MAX_STEPS, 3,584 NOT_STARTED. The best minimum was found 6 times in 512 runs'
    """

    times: int = 3
    """How many runs must have ended in the best minimum."""
    every: int = 256
    """Runs from one count to the next."""

    def checked(self) -> "Rediscovered":
        """The same with checked fields, or an error that names one."""
        return Rediscovered(
            as_count(self.times, "enough.times", at_least=1),
            as_count(self.every, "enough.every", at_least=1),
        )
