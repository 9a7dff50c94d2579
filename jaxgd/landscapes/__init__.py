"""Landscapes: losses with known minima, for demonstrations, tests and benchmarks.

>>> sorted(LANDSCAPES)[:4]
['ackley', 'beale', 'booth', 'griewank']
>>> LANDSCAPES["rosenbrock"](dimensions=3).start
array([-1.2,  1. , -1.2])
"""

from typing import Any

from .base import Landscape
from .influenza import Influenza
from .michalewicz import Michalewicz
from .multimodal import Ackley, Griewank, Levy, Rastrigin, StyblinskiTang
from .polynomial import Beale, Booth, Himmelblau, Quadratic, Rosenbrock
from .regression import LinearRegression, LogisticRegression

__all__ = [
    "LANDSCAPES",
    "Ackley",
    "Beale",
    "Booth",
    "Griewank",
    "Himmelblau",
    "Influenza",
    "Landscape",
    "Levy",
    "LinearRegression",
    "LogisticRegression",
    "Michalewicz",
    "Quadratic",
    "Rastrigin",
    "Rosenbrock",
    "StyblinskiTang",
]

# Two steps, because only the first type lets a type checker see that each class is a Landscape,
# and only the second that each takes `dimensions` or not.
_BY_NAME: dict[str, type[Landscape]] = {
    "quadratic": Quadratic,
    "rosenbrock": Rosenbrock,
    "himmelblau": Himmelblau,
    "beale": Beale,
    "booth": Booth,
    "rastrigin": Rastrigin,
    "ackley": Ackley,
    "styblinski-tang": StyblinskiTang,
    "griewank": Griewank,
    "levy": Levy,
    "michalewicz": Michalewicz,
    "influenza": Influenza,
}

LANDSCAPES: dict[str, type[Any]] = {**_BY_NAME}
"""The landscapes that need no data, by name: `cls()`, or `cls(dimensions=n)` where n is free."""
