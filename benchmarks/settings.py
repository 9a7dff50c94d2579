"""The update rules of the cases, as jaxgd, optax and PyTorch spell them."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import jaxgd as gd

HALF_EVERY = 500
"""Steps in which the decayed rate halves."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One rule in every library's words; each function is given the learning rate."""

    name: str
    words: str
    ours: Callable[[float], Any]
    optax: Callable[[float], Any]
    torch: Callable[..., Any]
    """(tensors, rate, **how) -> an optimiser, and what else to step, or None."""
    fused: bool
    """Whether PyTorch has a fused form of it."""
    moments: int
    functional: Callable[..., tuple[Any, Any]]
    """(x, moments, g, a, b) -> (x, moments), for torch.compile; a and b are of the step."""
    per_step: Callable[[float, np.ndarray], tuple[np.ndarray, np.ndarray]]
    """a and b of every step from the rate and the steps made before, float64."""


def _optax(name: str) -> Callable[..., Any]:
    def make(rate: float) -> Any:
        import optax

        return {
            "adam": lambda: optax.adam(rate),
            "momentum": lambda: optax.sgd(rate, momentum=0.9),
            "rmsprop": lambda: optax.rmsprop(rate, decay=0.9, eps=1e-8),
            "decayed": lambda: optax.sgd(optax.exponential_decay(rate, HALF_EVERY, 0.5)),
        }[name]()

    return make


def _torch(name: str) -> Callable[..., Any]:
    def make(tensors: list[Any], rate: float, **how: bool) -> tuple[Any, Any]:
        from torch import optim

        if name == "adam":
            return optim.Adam(tensors, lr=rate, **how), None
        if name == "momentum":
            return optim.SGD(tensors, lr=rate, momentum=0.9, **how), None
        if name == "rmsprop":
            return optim.RMSprop(tensors, lr=rate, alpha=0.9, eps=1e-8, **how), None
        descent = optim.SGD(tensors, lr=rate, **how)
        return descent, optim.lr_scheduler.ExponentialLR(descent, 0.5 ** (1 / HALF_EVERY))

    return make


def _adam(x: Any, moments: Any, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    m, v = moments
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return x - a * m / ((v * b).sqrt() + 1e-8), (m, v)


def _momentum(x: Any, moments: Any, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    del b
    m = 0.9 * moments[0] + g
    return x - a * m, (m,)


def _rmsprop(x: Any, moments: Any, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    del b
    v = 0.9 * moments[0] + 0.1 * g * g
    return x - a * g / (v + 1e-8).sqrt(), (v,)


def _descent(x: Any, moments: Any, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    del b
    return x - a * g, moments


def _corrections(rate: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rate / (1 - 0.9 ** (t + 1)), 1 / (1 - 0.999 ** (t + 1))


def _constant(rate: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full(t.shape, rate), np.zeros(t.shape)


def _decaying(rate: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rate * 0.5 ** (t / HALF_EVERY), np.zeros(t.shape)


def _decayed_ours(rate: float) -> gd.GradientDescent:
    return gd.GradientDescent(gd.ExponentialDecay(rate, rate=0.5, every=HALF_EVERY))


ADAM = Setting(
    "adam", "Adam", gd.Adam, _optax("adam"), _torch("adam"), True, 2, _adam, _corrections
)
MOMENTUM = Setting(
    "momentum", "Momentum", gd.Momentum, _optax("momentum"), _torch("momentum"), True, 1,
    _momentum, _constant,
)  # fmt: skip
RMSPROP = Setting(
    "rmsprop", "RMSProp", gd.RMSProp, _optax("rmsprop"), _torch("rmsprop"), False, 1,
    _rmsprop, _constant,
)  # fmt: skip
DECAYED = Setting(
    "decayed", "gradient descent at a decaying rate", _decayed_ours, _optax("decayed"),
    _torch("decayed"), True, 0, _descent, _decaying,
)  # fmt: skip


def others() -> Iterator[Setting]:
    """All but Adam."""
    yield from (MOMENTUM, RMSPROP, DECAYED)
