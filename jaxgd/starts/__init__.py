"""Starting points, shaped like a params pytree: samplers, and a screen that keeps the best.

Each sampler takes one run's params as a template and returns the starts of `count` runs: the float
leaves are drawn and get a leading axis of `count`, integer and boolean arrays are repeated along
one (without memory), and functions, strings and other static leaves are handed through. The points
are NumPy arrays in the dtypes that the leaves have in JAX; the same seed gives the same points.
"""

from jaxgd.starts.samplers import around, latin_hypercube, normal, sobol, uniform
from jaxgd.starts.screening import screen

__all__ = ["around", "latin_hypercube", "normal", "screen", "sobol", "uniform"]
