"""Problems with a NumPy twin, and comparisons with `reference_loop`, for the tests of the loop.

A program is compiled once for each form: rule class, tests given, bounds' shapes, keep, record,
chunk. Everything else is a traced number, so `loss` is one function for all problems, selected by
`p["kind"]`, and `scripted` plays any sequence of losses and gradients.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from reference_loop import reference

import jaxgd as gd

N = 4
EVERY_ROW = gd.Record()


def _quadratic(x, p):
    return 0.5 * x @ p["a"] @ x - p["b"] @ x + 1.0


def _rosenbrock(x, _):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _edge(x, p):
    return jnp.sum(x) + jnp.sum(jnp.sqrt(x - p["edge"]))  # NaN below the edge


def _spike(x, _):
    return jnp.sum(jnp.sqrt(jnp.abs(x)))  # at 0: finite, but without a finite gradient


def _constant(x, p):
    return p["b"][0] + 0 * x[0]


KINDS = ("quadratic", "rosenbrock", "edge", "spike", "constant")


def loss(x, p):
    return lax.switch(p["kind"], [_quadratic, _rosenbrock, _edge, _spike, _constant], x, p)


def engine_of(form):
    """Both engines have their turn."""
    return (gd.engines.Plain, gd.engines.Cpu)[len(str(form)) % 2](form.chunk)


@dataclass(frozen=True)
class Twin:
    """The same in NumPy, with gradients by hand."""

    p: dict

    def loss(self, x, _):
        kind, p = KINDS[self.p["kind"]], self.p
        if kind == "quadratic":
            return 0.5 * x @ p["a"] @ x - p["b"] @ x + 1.0
        if kind == "rosenbrock":
            return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
        if kind == "edge":
            return np.sum(x) + np.sum(np.sqrt(x - p["edge"]))
        return np.sum(np.sqrt(np.abs(x))) if kind == "spike" else p["b"][0] + 0 * x[0]

    def grad(self, x, _):
        kind, p = KINDS[self.p["kind"]], self.p
        if kind == "quadratic":
            return p["a"] @ x - p["b"]
        if kind == "rosenbrock":
            g = np.zeros_like(x)
            g[1:] += 200 * (x[1:] - x[:-1] ** 2)
            g[:-1] -= 400 * (x[1:] - x[:-1] ** 2) * x[:-1] + 2 * (1 - x[:-1])
            return g
        if kind == "edge":
            return 1 + 0.5 / np.sqrt(x - p["edge"])
        if kind == "spike":
            return 0.5 / np.sqrt(np.abs(x)) * np.where(x >= 0, 1, -1)  # JAX's |x|' is 1 at 0
        return 0 * x


def problem(kind, rng):
    """p and a start, all numbers of order 1."""
    q, _ = np.linalg.qr(rng.normal(size=(N, N)))
    a = q @ np.diag(rng.uniform(0.5, 5.0, N)) @ q.T
    start = rng.normal(size=N) if kind != "rosenbrock" else rng.uniform(-0.5, 0.5, N)
    edge = start.min() - rng.uniform(0.02, 0.5)
    p = {"kind": np.int32(KINDS.index(kind)), "a": a, "b": rng.normal(size=N), "edge": edge}
    return p, start


def bounds_for(kind, start, rng):
    """Bounds of one form around the start: as given to jaxgd, and as the reference wants them."""
    low, high = rng.uniform(0.02, 0.6, (2, N))
    low, high = start - low, start + high
    if kind == "none":
        return None, None
    if kind == "scalar":
        given = (low.min(), high.max())
    elif kind == "array":
        given = (low, high)
    else:
        given = (low, None) if kind == "lower" else (None, high.max())
    return given, tuple(
        np.full(N, end) if side is None else np.broadcast_to(side, N)
        for side, end in zip(given, (-np.inf, np.inf), strict=True)
    )


def tolerances(name, oracle):
    """Values for a test that a run meets at different rows, with a wide gap to every tie."""
    f, norms, x = oracle.loss_history, oracle.grad_norm_history, oracle.x_history
    with np.errstate(all="ignore"):
        change = np.abs(np.diff(f))
        values = {
            "target": f,
            "gtol": norms,
            "ftol": change,
            "frtol": change / np.maximum(np.abs(f[1:]), np.finfo(float).tiny),
            "xtol": np.max(np.abs(np.diff(x, axis=0)) / (1 + np.abs(x[1:])), axis=1),
        }[name]
    values = np.unique(values[np.isfinite(values)])
    if name != "target" and len(values) and values[-1] == 0:
        return [0.0]  # a constant loss: exactly 0 in every program
    values = values[(values < 1e6) & ((values > 1e-7) | (name == "target"))]
    if not len(values):
        return [1.0]
    gaps = np.diff(values) > 1e-8 * np.max(np.abs(values))
    always = values[-1] + abs(values[-1]) + 1e-3
    never = values[0] / 2 if name != "target" else values[0] - 1.0
    return [never, *((values[1:] + values[:-1]) / 2)[gaps], always]


@dataclass(frozen=True)
class Case:
    """One run: what the reference needs. `options` are `reference`'s: stop, bounds, keep."""

    twin: object
    rule: object
    start: np.ndarray
    max_steps: int
    options: dict

    def run(self, start=None, grad=None):
        with np.errstate(all="ignore"):
            return reference(
                self.twin.loss,
                self.twin.grad if grad is None else grad,
                self.rule,
                self.start if start is None else start,
                self.max_steps,
                **self.options,
            )

    def with_stop(self, stop):
        return replace(self, options=self.options | {"stop": stop})

    def is_steady(self, oracle):
        """Whether rounding cannot grow to what the comparison would see: no chaos, no ties.

        A start that is 1e-13 off (some 500 roundings) must give the same integers, and iterates
        that are at most 1e-10 off; so roundings stay below the 1e-9 that are compared to. The same
        for gradients that are rounded otherwise: one that has come to be exactly 0 here may be a
        rounding off it there, which RMSProp, once its average has faded, makes grow without end.
        """
        signs = np.array([1, -1, 1, -1])

        def rounded(x, t):
            return self.twin.grad(x, t) * (1 + 1e-15 * signs) + 1e-16 * signs * (-1) ** t

        others = [self.run(self.start * (1 + 1e-13 * signs)), self.run(grad=rounded)]
        return all(_is_like(other, oracle) for other in others)


def _is_like(other, oracle):
    if (other.steps, other.status) != (oracle.steps, oracle.status):
        return False
    series = ("x_history", "loss_history", "grad_norm_history")
    pairs = [(getattr(other, name), getattr(oracle, name)) for name in series]
    return all(np.allclose(a, b, rtol=1e-10, atol=1e-11, equal_nan=True) for a, b in pairs)


def close(actual, expected, exact=False):
    """Equal to 1e-9 of numbers of order 1: hundreds of steps, each some roundings, times 1e3."""
    if exact:
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10)


def assert_agrees(result, oracle, record=EVERY_ROW, *, exact=False, rows=None):
    """`result` is what the reference found; `rows` is the length of a padded history."""
    assert gd.Status(int(result.status)).name == oracle.status
    assert int(result.steps) == oracle.steps
    assert int(result.evaluations) == oracle.evaluations
    at = int(result.at_step)
    if at != oracle.at_step:  # only where two iterates have the same loss up to rounding
        assert not exact
        assert abs(oracle.loss_history[at] - oracle.loss) <= 1e-14 * (1 + abs(oracle.loss))
    close(result.params, oracle.x if at == oracle.at_step else oracle.x_history[at], exact)
    close(result.loss, oracle.loss, exact)
    if at == oracle.at_step:
        close(result.grad_norm, oracle.grad_norm, exact)
    assert_history(result.history, oracle, record, exact, rows)


def assert_history(history, oracle, record, exact=False, rows=None):
    if record is None:
        assert history is None
        return
    count = len(oracle.loss_history)
    length = count if rows is None else rows
    np.testing.assert_array_equal(history.step, np.arange(0, length, record.every))
    assert len(history) == len(history.step)
    for wanted, series, expected in (
        (record.loss, history.loss, oracle.loss_history),
        (record.grad_norm, history.grad_norm, oracle.grad_norm_history),
        (record.params, history.params, oracle.x_history),
    ):
        if not wanted:
            assert series is None
            continue
        valid = -(-count // record.every)
        close(series[:valid], expected[:: record.every], exact)
        assert len(series) == len(history.step)
        assert np.all(np.isnan(series[valid:]))


# A script: the loss and one slope of the row are given for every iterate 0, -1, -2, …


@jax.custom_vjp
def scripted(x, script):
    """script["loss"][i] at x = -i, where the last gradient entry is script["slope"][i], others 1.

    Everything is a small integer or not finite, so that nothing is ever rounded.
    """
    return script["loss"][jnp.int32(-x[0])]


def _forward(x, script):
    return scripted(x, script), (x, script)


def _backward(saved, cotangent):
    x, script = saved
    g = jnp.ones_like(x).at[-1].set(script["slope"][jnp.int32(-x[0])])
    return cotangent * g, jax.tree.map(jnp.zeros_like, script)


scripted.defvjp(_forward, _backward)


class Walk:
    """A foreign rule that steps from x to x - 1, whatever the gradient."""

    def init(self, _params):
        return ()

    def update(self, grads, state, _params=None):
        return jax.tree.map(lambda g: -jnp.ones_like(g), grads), state


WALK = Walk()


@dataclass(frozen=True)
class ScriptTwin:
    script: dict

    def loss(self, x, _):
        return self.script["loss"][int(-x[0])]

    def grad(self, x, _):
        g = np.ones_like(x)
        g[-1] = self.script["slope"][int(-x[0])]
        return g


class NumpyWalk:
    def init(self, _x):
        return ()

    def update(self, g, state, _x):
        return -np.ones_like(g), state


def script_of(length, losses=None, slopes=None):
    """Losses that fall from `length` to 1 and slopes of 1, but for the rows given."""
    script = {"loss": np.arange(length, 0, -1.0), "slope": np.ones(length)}
    for name, changes in (("loss", losses or {}), ("slope", slopes or {})):
        for at, value in changes.items():
            script[name][at] = value
    return script


def same_bits(a, b):
    """Whether two pytrees of arrays are equal bit by bit, NaN included."""
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.asarray(x).shape == np.asarray(y).shape
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(a, b, strict=True)
    )


def untimed(result, **changes):
    """A result without the seconds it took."""
    return replace(result, compile_seconds=None, run_seconds=None, **changes)
