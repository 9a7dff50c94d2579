"""Before the real run: which learning rate, and which rule."""

from jaxgd.tune.compare import compare
from jaxgd.tune.comparison import Comparison
from jaxgd.tune.finder import find_learning_rate
from jaxgd.tune.finding import Finding

__all__ = ["Comparison", "Finding", "compare", "find_learning_rate"]
