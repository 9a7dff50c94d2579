"""Learning-rate schedules in plain Python, written from their definitions: test oracles.

`SCHEDULES[name](**fields)` returns a callable from an integer step (from 0) to a float.
"""

from fractions import Fraction
from math import cos, pi


def constant(value):
    """The same rate at every step."""
    return lambda t: float(value)


def exponential_decay(init, rate, every=1, staircase=False, floor=0.0):
    """init * rate**(t / every), never below the floor; staircase floors the exponent."""

    def schedule(t):
        exponent = t // every if staircase else t / every
        return float(max(floor, init * rate**exponent))

    return schedule


def inverse_time_decay(init, rate, every=1, staircase=False):
    """init / (1 + rate * t / every) (Robbins & Monro 1951); staircase floors t / every."""

    def schedule(t):
        periods = t // every if staircase else t / every
        return float(init / (1 + rate * periods))

    return schedule


def piecewise_constant(values, boundaries):
    """values[i] between boundaries i-1 and i; the new value holds from t == boundary on."""
    if len(values) != len(boundaries) + 1:
        raise ValueError("one more value than boundaries is needed")
    return lambda t: float(values[sum(t >= b for b in boundaries)])


def polynomial_decay(init, end, steps, power=1.0):
    """From init to end like (1 - t / steps)**power, then constant."""

    def schedule(t):
        return float(end + (init - end) * (1 - min(t, steps) / steps) ** power)

    return schedule


def half_cosine(start, end, fraction):
    """From start (fraction 0) to end (fraction 1) along half a cosine."""
    return float(end + (start - end) * (1 + cos(pi * fraction)) / 2)


def cosine_decay(init, steps, alpha=0.0):
    """Half a cosine from init to alpha * init (Loshchilov & Hutter, arXiv:1608.03983, eq. 5)."""
    return lambda t: half_cosine(init, alpha * init, min(t, steps) / steps)


def cosine_restarts(init, period, growth=1.0, alpha=0.0):
    """SGDR (Loshchilov & Hutter, arXiv:1608.03983): the i-th period lasts period * growth**i.

    Restart times are summed as exact decimals, and the phase counts from the exact restart time,
    also where that falls between two steps.
    """

    def schedule(t):
        begin, length = Fraction(0), Fraction(str(period))
        while t >= begin + length:
            begin += length
            length *= Fraction(str(growth))
        return half_cosine(init, alpha * init, float((t - begin) / length))

    return schedule


def warmup(schedule, steps, init=0.0):
    """Linear from init to schedule(0) over `steps` steps, then the schedule from its start
    (Goyal et al., arXiv:1706.02677, section 2.2)."""

    def warmed(t):
        if t < steps:
            return float(init + (schedule(0) - init) * t / steps)
        return float(schedule(t - steps))

    return warmed


def one_cycle(peak, steps, warmup=0.3, start_factor=25.0, end_factor=1e4):
    """One cosine up and one down (Smith & Topin, arXiv:1708.07120): peak / start_factor, peak
    at the step warmup * steps (not rounded), peak / (start_factor * end_factor) from `steps`."""
    start, end = peak / start_factor, peak / (start_factor * end_factor)
    top = warmup * steps

    def schedule(t):
        if t >= steps:
            return float(end)
        if t < top:
            return half_cosine(start, peak, t / top)
        return half_cosine(peak, end, (t - top) / (steps - top))

    return schedule


def join(schedules, boundaries):
    """schedules[i] from t == boundaries[i-1] on; it sees t minus that boundary."""
    if len(schedules) != len(boundaries) + 1:
        raise ValueError("one more schedule than boundaries is needed")
    starts = (0, *boundaries)

    def schedule(t):
        i = sum(t >= b for b in boundaries)
        return float(schedules[i](t - starts[i]))

    return schedule


SCHEDULES = {
    "Constant": constant,
    "ExponentialDecay": exponential_decay,
    "InverseTimeDecay": inverse_time_decay,
    "PiecewiseConstant": piecewise_constant,
    "PolynomialDecay": polynomial_decay,
    "CosineDecay": cosine_decay,
    "CosineRestarts": cosine_restarts,
    "Warmup": warmup,
    "OneCycle": one_cycle,
    "Join": join,
}
