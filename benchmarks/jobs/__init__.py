"""What the soak does: most of what the library can be asked for, small, with other numbers.

A job is given random numbers and a place for files, and leaves nothing behind.
"""

from benchmarks.jobs.base import BROUGHT, Given, Job, do
from benchmarks.jobs.compiling import COMPILING
from benchmarks.jobs.reusing import REUSING

__all__ = ["BROUGHT", "COMPILING", "REUSING", "Given", "Job", "do"]
