"""Update rules in plain NumPy, written from the papers: test oracles, not a library.

Every rule has `init(x) -> state` and `update(g, state, x) -> (u, state)` on one float64 array;
`u` is to be added to `x`. `learning_rate` is a float or a callable of the step, which each rule
counts for itself from 0; the `t` in `step` counts from 1, as in the papers. No array is mutated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def mean(decay, old, new):
    """Exponential moving average."""
    return decay * old + (1 - decay) * new


@dataclass
class Rule:
    """Counts steps and looks up the rate; a subclass gives `step`. `slots` is its memory."""

    learning_rate: float | Callable[[int], float]
    arrays = 0

    def slots(self, x):
        return tuple(np.zeros_like(x) for _ in range(self.arrays))

    def init(self, x):
        return 0, self.slots(np.asarray(x, dtype=np.float64))

    def rate(self, count):
        return self.learning_rate(count) if callable(self.learning_rate) else self.learning_rate

    def update(self, g, state, x):
        count, slots = state
        u, slots = self.step(np.asarray(g, dtype=np.float64), slots, x, count + 1, self.rate(count))
        return u, (count + 1, slots)


class GradientDescent(Rule):
    """Steepest descent with a given rate (Cauchy 1847)."""

    def step(self, g, slots, x, t, lr):
        return -lr * g, ()


@dataclass
class Momentum(Rule):
    """Heavy ball (Polyak 1964); Nesterov's form as in Sutskever et al., ICML 2013."""

    decay: float = 0.9
    nesterov: bool = False
    arrays = 1

    def step(self, g, slots, x, t, lr):
        m = self.decay * slots[0] + g
        direction = g + self.decay * m if self.nesterov else m
        return -lr * direction, (m,)


@dataclass
class RMSProp(Rule):
    """RMSProp (Tieleman & Hinton, Coursera lecture 6.5, 2012); centered: Graves,
    arXiv:1308.0850, eq. 38-45. The momentum trace is of the rate-scaled step."""

    decay: float = 0.9
    eps: float = 1e-8
    centered: bool = False
    momentum: float | None = None
    nesterov: bool = False
    arrays = 3

    def step(self, g, slots, x, t, lr):
        v, mean_g, trace = slots
        v = mean(self.decay, v, g**2)
        mean_g = mean(self.decay, mean_g, g)
        variance = v - mean_g**2 if self.centered else v
        u = -lr * g / np.sqrt(variance + self.eps)
        if self.momentum is not None:
            trace = self.momentum * trace + u
            u = u + self.momentum * trace if self.nesterov else trace
        return u, (v, mean_g, trace)


@dataclass
class TwoMoments(Rule):
    """What Adam and its kin share: `b1`, `b2`, `eps` and arrays that start at zero."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    arrays = 2

    def unbiased(self, m, v, t):
        return m / (1 - self.b1**t), v / (1 - self.b2**t)


@dataclass
class Adam(TwoMoments):
    """Adam (Kingma & Ba, arXiv:1412.6980, alg. 1); amsgrad: Reddi et al., arXiv:1904.09237,
    with the running maximum taken of the bias-corrected second moment."""

    amsgrad: bool = False
    arrays = 3

    def direction(self, g, slots, t):
        m, v, v_max = slots
        m = mean(self.b1, m, g)
        v = mean(self.b2, v, g**2)
        m_hat, v_hat = self.unbiased(m, v, t)
        v_max = np.maximum(v_max, v_hat)
        root = np.sqrt(v_max if self.amsgrad else v_hat)
        return m_hat / (root + self.eps), (m, v, v_max)

    def step(self, g, slots, x, t, lr):
        d, slots = self.direction(g, slots, t)
        return -lr * d, slots


@dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101, alg. 2)."""

    weight_decay: float = 1e-4

    def step(self, g, slots, x, t, lr):
        d, slots = self.direction(g, slots, t)
        return -lr * (d + self.weight_decay * x), slots


class NAdam(TwoMoments):
    """Adam with Nesterov momentum (Dozat, ICLR workshop 2016), constant b1."""

    def step(self, g, slots, x, t, lr):
        m = mean(self.b1, slots[0], g)
        v = mean(self.b2, slots[1], g**2)
        m_hat = self.b1 * m / (1 - self.b1 ** (t + 1)) + (1 - self.b1) * g / (1 - self.b1**t)
        v_hat = v / (1 - self.b2**t)
        return -lr * m_hat / (np.sqrt(v_hat) + self.eps), (m, v)


class RAdam(TwoMoments):
    """Rectified Adam (Liu et al., arXiv:1908.03265, alg. 2), rectified from rho_t >= 5
    (as the authors' code does; the paper has rho_t > 4)."""

    def step(self, g, slots, x, t, lr):
        m = mean(self.b1, slots[0], g)
        v = mean(self.b2, slots[1], g**2)
        m_hat, v_hat = self.unbiased(m, v, t)
        rho_inf = 2 / (1 - self.b2) - 1
        rho = rho_inf - 2 * t * self.b2**t / (1 - self.b2**t)
        if rho < 5:
            return -lr * m_hat, (m, v)
        r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        return -lr * r * m_hat / (np.sqrt(v_hat) + self.eps), (m, v)


class AdaMax(TwoMoments):
    """Adam in the infinity norm (Kingma & Ba, arXiv:1412.6980, alg. 2), eps added to |g|."""

    def step(self, g, slots, x, t, lr):
        m = mean(self.b1, slots[0], g)
        nu = np.maximum(self.b2 * slots[1], np.abs(g) + self.eps)
        return -lr * m / (1 - self.b1**t) / nu, (m, nu)


@dataclass
class AdaBelief(TwoMoments):
    """AdaBelief (Zhuang et al., arXiv:2010.07468, alg. 2), eps added to s at every step."""

    eps: float = 1e-16

    def step(self, g, slots, x, t, lr):
        m = mean(self.b1, slots[0], g)
        s = mean(self.b2, slots[1], (g - m) ** 2) + self.eps
        m_hat, s_hat = self.unbiased(m, s, t)
        return -lr * m_hat / (np.sqrt(s_hat) + self.eps), (m, s)


@dataclass
class Yogi(TwoMoments):
    """Yogi (Zaheer et al., NeurIPS 2018, alg. 2), bias-corrected, both moments from 1e-6."""

    eps: float = 1e-3

    def slots(self, x):
        return np.full_like(x, 1e-6), np.full_like(x, 1e-6)

    def step(self, g, slots, x, t, lr):
        m = mean(self.b1, slots[0], g)
        v = slots[1] - (1 - self.b2) * np.sign(slots[1] - g**2) * g**2
        m_hat, v_hat = self.unbiased(m, v, t)
        return -lr * m_hat / (np.sqrt(v_hat) + self.eps), (m, v)


@dataclass
class AdaGrad(Rule):
    """AdaGrad, diagonal (Duchi, Hazan & Singer, JMLR 12, 2011)."""

    initial_accumulator: float = 0.1
    eps: float = 1e-7

    def slots(self, x):
        return (np.full_like(x, self.initial_accumulator),)

    def step(self, g, slots, x, t, lr):
        s = slots[0] + g**2
        # Where s == 0, so is g, and the step is 0.
        return -lr * g / np.sqrt(np.where(s == 0, 1.0, s + self.eps)), (s,)


@dataclass
class AdaDelta(Rule):
    """AdaDelta (Zeiler, arXiv:1212.5701, alg. 1), its step then scaled by the rate."""

    decay: float = 0.9
    eps: float = 1e-6
    arrays = 2

    def step(self, g, slots, x, t, lr):
        v, dx = slots
        v = mean(self.decay, v, g**2)
        d = np.sqrt(dx + self.eps) / np.sqrt(v + self.eps) * g
        return -lr * d, (v, mean(self.decay, dx, d**2))


@dataclass
class Lion(Rule):
    """Lion (Chen et al., arXiv:2302.06675, alg. 2)."""

    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.0
    arrays = 1

    def step(self, g, slots, x, t, lr):
        d = np.sign(mean(self.b1, slots[0], g))
        return -lr * (d + self.weight_decay * x), (mean(self.b2, slots[0], g),)


class Transform:
    """A stateless change of the gradient: `update` returns the new gradient for `u`."""

    def init(self, x):
        return ()

    def update(self, g, state, x):
        return self.apply(g, x), state


@dataclass
class ClipByGlobalNorm(Transform):
    """Scale g down to norm max_norm if longer (Pascanu et al., arXiv:1211.5063, alg. 1)."""

    max_norm: float

    def apply(self, g, x):
        norm = np.sqrt(np.sum(g**2))
        return g if norm <= self.max_norm else g * (self.max_norm / norm)


@dataclass
class ClipByValue(Transform):
    """Clip every entry to [-max_value, max_value] (Mikolov, PhD thesis 2012)."""

    max_value: float

    def apply(self, g, x):
        return np.clip(g, -self.max_value, self.max_value)


@dataclass
class WeightDecay(Transform):
    """Add rate * x, the gradient of rate/2 |x|^2 (Krogh & Hertz, NIPS 1991)."""

    rate: float

    def apply(self, g, x):
        return g + self.rate * x


class Chain:
    """Transforms applied to the gradient in order, then a rule (transforms_then_rule)."""

    def __init__(self, *parts):
        self.parts = parts

    def rate(self, count):
        return self.parts[-1].rate(count)

    def init(self, x):
        return tuple(part.init(x) for part in self.parts)

    def update(self, g, state, x):
        new = ()
        for part, old in zip(self.parts, state, strict=True):
            g, part_state = part.update(g, old, x)
            new += (part_state,)
        return g, new


@dataclass
class Accumulate:
    """The rule is called with the mean of every k gradients, and nothing moves in between."""

    rule: object
    every: int

    def rate(self, count):
        return self.rule.rate(count // self.every)

    def init(self, x):
        return (), self.rule.init(x)

    def update(self, g, state, x):
        seen, inner = (*state[0], g), state[1]
        if len(seen) < self.every:
            return np.zeros_like(g), (seen, inner)
        u, inner = self.rule.update(np.mean(seen, axis=0), inner, x)
        return u, ((), inner)


@dataclass
class ExponentialAverage:
    """A rule and the list of its iterates, to be averaged with weights decay^age."""

    rule: object
    decay: float

    def rate(self, count):
        return self.rule.rate(count)

    def init(self, x):
        return (), self.rule.init(x)

    def update(self, g, state, x):
        u, inner = self.rule.update(g, state[1], x)
        return u, ((*state[0], x), inner)

    def average(self, xs):
        """Of the iterates x_0, x_1, ..., of which x_0 does not count."""
        if len(xs) == 1:
            return xs[0]
        weights = np.power(np.float64(self.decay), np.arange(len(xs) - 1)[::-1])
        return np.tensordot(weights, xs[1:], axes=1) / np.sum(weights)


@dataclass
class UniformAverage(ExponentialAverage):
    """The same with the mean of x_start, x_(start + every), ... (Izmailov et al. 2018, alg. 1)."""

    decay: None = None
    start: int = 1
    every: int = 1

    def average(self, xs):
        chosen = xs[self.start :: self.every]
        return np.mean(chosen, axis=0) if len(chosen) else xs[-1]


@dataclass
class Partition:
    """Rules of parts; of one array there is one part."""

    rules: list
    labels: object
    names: list

    def rate(self, count):
        return None

    def init(self, x):
        (rule,) = self.rules
        return rule.init(x)

    def update(self, g, state, x):
        (rule,) = self.rules
        return rule.update(g, state, x)


_RULES = (GradientDescent, Momentum, RMSProp, Adam, AdamW, NAdam, RAdam, AdaMax, AdaBelief, Yogi)
RULES = {rule.__name__: rule for rule in (*_RULES, AdaGrad, AdaDelta, Lion)}
TRANSFORMS = {t.__name__: t for t in (ClipByGlobalNorm, ClipByValue, WeightDecay)}
WRAPPERS = {w.__name__: w for w in (Accumulate, ExponentialAverage, UniformAverage, Partition)}
