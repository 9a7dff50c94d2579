"""Pictures of results with Matplotlib: `pip install "jaxgd[plot]"`.

Each function draws on the Axes that it is given, or on new ones, and returns them; a notebook shows
them as the last value of a cell. No pyplot is involved: `ax.figure.savefig("name.png")` writes a
picture, and for a window make the axes with pyplot, `figure, ax = pyplot.subplots()`, and hand them
over.

Colours are those of Okabe and Ito (2008), "Color universal design", which colour-blind readers can
tell apart, in an order of changing lightness, together with line styles and markers.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ModuleNotFoundError as _error:
    raise ImportError('pictures need Matplotlib: pip install "jaxgd[plot]"') from _error

from jaxgd.plot import pages as _pages  # noqa: F401  (it registers what result.plot() draws)
from jaxgd.plot.curves import convergence, gradient_norm
from jaxgd.plot.ends import basins, parameters, waterfall
from jaxgd.plot.paths import path
from jaxgd.plot.rates import finder, learning_rate

__all__ = [
    "basins",
    "convergence",
    "finder",
    "gradient_norm",
    "learning_rate",
    "parameters",
    "path",
    "waterfall",
]
