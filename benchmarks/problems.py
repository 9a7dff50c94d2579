"""The losses, each as one writes it for JAX, for PyTorch (a batch of runs) and for NumPy."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SIZE = 10
TERMS = SIZE // 2
TIMES = np.linspace(0.1, 4.0, 20, dtype=np.float32)
TRUE_AMPLITUDES = np.array([2.0, -1.0, 1.5, 0.5, -0.7], np.float32)
TRUE_RATES = np.array([0.3, 0.8, 1.5, 2.5, 4.0], np.float32)
MEASURED = (TRUE_AMPLITUDES * np.exp(-TIMES[:, None] * TRUE_RATES)).sum(1, dtype=np.float32)


def rosenbrock(x: Any) -> Any:
    """The sum of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rastrigin(x: Any) -> Any:
    """A bowl with a lattice of local minima."""
    return 10 * x.shape[-1] + jnp.sum(x * x - 10 * jnp.cos(2 * jnp.pi * x))


def exponentials(x: Any) -> Any:
    """Squares of what a sum of five decays misses of 20 measurements; amplitudes, then rates."""
    amplitudes, rates = x[:TERMS], x[TERMS:]
    decays = jnp.exp(-TIMES[:, None] * rates)
    return jnp.sum((jnp.sum(amplitudes * decays, axis=1) - MEASURED) ** 2)


def bowl(x: Any) -> Any:
    """Smooth, and not quadratic."""
    return 0.5 * jnp.sum(x * x) + 0.1 * jnp.sum(jnp.exp(-x * x))


def _torch_rosenbrock() -> Callable[[Any], Any]:
    def loss(x: Any) -> Any:
        here, there = x[..., :-1], x[..., 1:]
        ahead, away = there - here * here, 1 - here  # products: a power does not vectorise there
        return (100 * ahead * ahead + away * away).sum(-1)

    return loss


def _torch_rastrigin() -> Callable[[Any], Any]:
    return lambda x: (10 + x * x - 10 * (2 * np.pi * x).cos()).sum(-1)


def _torch_exponentials() -> Callable[[Any], Any]:
    import torch

    times, measured = torch.tensor(TIMES)[:, None], torch.tensor(MEASURED)

    def loss(x: Any) -> Any:
        amplitudes, rates = x[..., None, :TERMS], x[..., None, TERMS:]
        missed = (amplitudes * (-times * rates).exp()).sum(-1) - measured
        return (missed * missed).sum(-1)

    return loss


def _numpy_rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    ahead, away, g = x[1:] - x[:-1] ** 2, 1 - x[:-1], np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * ahead - 2 * away
    g[1:] += 200 * ahead
    return float(np.sum(100 * ahead**2 + away**2)), g


def _numpy_exponentials(x: np.ndarray) -> tuple[float, np.ndarray]:
    decays = np.exp(-TIMES[:, None] * x[TERMS:])
    missed = decays @ x[:TERMS] - MEASURED
    back = 2 * missed @ decays
    rates = -x[:TERMS] * (2 * (missed * TIMES) @ decays)
    return float(missed @ missed), np.concatenate([back, rates])


@dataclasses.dataclass(frozen=True)
class Problem:
    """A loss of 10 parameters in its forms, its starts, and rates that suit it."""

    name: str
    loss: Callable[[Any], Any]
    torch: Callable[[], Callable[[Any], Any]]
    """Makes the loss of a batch, (runs, 10) -> (runs,)."""
    numpy: Callable[[np.ndarray], tuple[float, np.ndarray]] | None
    """Value and gradient of one run, for SciPy."""
    rates: dict[str, float]
    """Learning rates by the name of the rule."""
    low: tuple[float, ...] = (-1.5,)
    """Starts are uniform between `low` and `high`; one number for all, or one for each half."""
    high: tuple[float, ...] = (1.5,)

    def starts(self, runs: int) -> np.ndarray:
        """float32, (runs, 10)."""
        low, high = (np.repeat(side, SIZE // len(side)) for side in (self.low, self.high))
        return np.random.default_rng(0).uniform(low, high, (runs, SIZE)).astype(np.float32)


ROSENBROCK = Problem(
    "rosenbrock", rosenbrock, _torch_rosenbrock, _numpy_rosenbrock,
    {"adam": 1e-2, "momentum": 1e-4, "rmsprop": 1e-3, "decayed": 4e-4},
)  # fmt: skip
RASTRIGIN = Problem(
    "rastrigin", rastrigin, _torch_rastrigin, None,
    {"adam": 1e-2, "momentum": 5e-4, "rmsprop": 1e-3, "decayed": 2e-3},
)  # fmt: skip
EXPONENTIALS = Problem(
    "exponentials", exponentials, _torch_exponentials, _numpy_exponentials,
    {"adam": 1e-2, "momentum": 1e-3, "rmsprop": 1e-3, "decayed": 2e-3},
    low=(-1.0, 0.2), high=(1.0, 4.0),
)  # fmt: skip
PROBLEMS = {one.name: one for one in (ROSENBROCK, RASTRIGIN, EXPONENTIALS)}

HIDDEN = 16
INPUTS = np.linspace(-3, 3, 32, dtype=np.float32)
OUTPUTS = np.sin(2 * INPUTS)


def network(params: Any) -> Any:
    """Mean square error of a perceptron with 1, 16 and 1 neurons: 49 parameters in four arrays."""
    hidden = jnp.tanh(INPUTS[:, None] * params["w1"] + params["b1"])
    return jnp.mean((hidden @ params["w2"] + params["b2"] - OUTPUTS) ** 2)


@functools.cache
def network_starts(runs: int) -> dict[str, np.ndarray]:
    """Arrays with a leading axis of runs."""
    draw = np.random.default_rng(0)
    shapes = {"w1": (HIDDEN,), "b1": (HIDDEN,), "w2": (HIDDEN,), "b2": ()}
    return {
        name: draw.normal(size=(runs, *shape)).astype(np.float32) for name, shape in shapes.items()
    }


def losses_at(loss: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The losses of many runs from their params, wherever these come from."""
    return jax.jit(jax.vmap(loss))
