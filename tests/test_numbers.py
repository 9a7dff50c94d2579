"""Numbers at the ends of their range: what is not finite, overflow, subnormals, 1e300 and 1e-300.

Every number is a small integer times a power of two, so that nothing is rounded: the loop in NumPy,
in the same dtype, must agree bit by bit. Each situation is played alone, in `descend`, and in lanes
beside runs of the same loss that stay fine.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_rules
import pytest
from loop_cases import Case, assert_agrees, same_bits

import jaxgd as gd

STEPS = 40
NEVER = gd.Stop(gtol=0.0)  # but where the gradient is 0
ONE, BIG = (1.0, 2.0), (2.0**30, 2.0**31)


def hole(x, bad):
    """`bad` left of -20, where its gradient is finite."""
    return jnp.sum(x**2) / 2 + jnp.where(x[0] < -20, bad, 0.0).astype(x.dtype)


def kink(x):
    """Defined everywhere, but its gradient is NaN at and left of 1."""
    return jnp.sum(x) + jnp.sum(jnp.where(x > 1, 0 * jnp.sqrt(x - 1), 0.0))


def cliff(x, steep):
    """Left of 1/2 its gradient is the square of `steep`; at 0 it is finite."""
    return jnp.sum(jnp.where(x < 0.5, x * steep * steep, x))


def bowl(x, scale):
    return scale * jnp.sum(x * (x / 2))  # no part of it is larger than the whole


def plane(x):
    return jnp.sum(x)


def constant(x):
    return jnp.zeros((), x.dtype) + 3


@dataclass(frozen=True)
class Twin:
    """A loss and its gradient by hand, in the dtype of the run."""

    name: str
    arg: Any
    dtype: Any

    def loss(self, x, _):
        x = x.astype(self.dtype)
        if self.name == "hole":
            return self.arg if x[0] < -20 else np.sum(x**2) / self.dtype.type(2)
        if self.name == "bowl":
            return self.dtype.type(self.arg) * np.sum(x * (x / self.dtype.type(2)))
        if self.name == "cliff":
            return np.sum(np.where(x < 0.5, x * self.arg * self.arg, x).astype(self.dtype))
        return 3.0 if self.name == "constant" else np.sum(x)

    def grad(self, x, _):
        x = x.astype(self.dtype)
        if self.name == "hole":
            return x
        if self.name == "bowl":
            return self.dtype.type(self.arg) * x
        if self.name == "kink":
            return np.where(x > 1, 1, np.nan)
        if self.name == "cliff":
            return np.where(x < 0.5, np.inf, 1)
        return np.full_like(x, self.name == "plane")


class Descent(numpy_rules.GradientDescent):
    """Its iterates overflow where those of the dtype do."""

    dtype: Any = None

    def update(self, g, state, x):
        u, state = super().update(g, state, x)
        return (x.astype(self.dtype) + u.astype(self.dtype)).astype(np.float64) - x, state


@dataclass(frozen=True)
class Situation:
    """A loss at a start and a rate where it goes wrong, and at others where it does not."""

    loss: Any
    ends: tuple
    """Status, steps and the step of the iterate that keep="last" returns."""
    start: tuple = ONE
    rate: float = 3.0
    fine: tuple = (ONE, 0.5)
    arg: Any = 1.0
    dtype: str = "float32"
    stop: Any = NEVER

    @property
    def args(self):
        takes_one = self.loss in (hole, bowl, cliff)
        return (jnp.asarray(self.arg, self.dtype),) if takes_one else ()

    def oracle(self, start, rate, stop=None, keep="best"):
        """What the loop in NumPy makes of a run."""
        dtype = np.dtype(self.dtype)
        rule = Descent(rate)
        rule.dtype = dtype
        twin = Twin(self.loss.__name__, self.arg, dtype)
        return Case(twin, rule, np.array(start), STEPS, {"stop": stop, "keep": keep}).run()


def bad(at):
    """NON_FINITE there; the iterate before is the last one."""
    return "NON_FINITE", at, max(at - 1, 0)


HUGE, SMALL = 2.0**996, 2.0**-996  # 7e299 and 1.5e-300
SITUATIONS = {
    "the loss is NaN": Situation(hole, bad(5), arg=np.nan),
    "the loss is infinite": Situation(hole, bad(5), arg=np.inf),
    "the loss is -inf": Situation(hole, bad(5), arg=-np.inf, stop=gd.Stop(target=0.0)),
    "the start is bad": Situation(hole, bad(0), (-32.0, 2.0), arg=np.nan),
    "the gradient is NaN": Situation(kink, bad(7), (8.0, 16.0), 1.0, ((64.0, 128.0), 1.0)),
    "the gradient overflows": Situation(
        cliff, bad(2), (1.0, 64.0), 0.5, ((64.0, 99.0), 1.0), 2.0**100
    ),
    "float32 overflows": Situation(bowl, bad(34), BIG),
    "bfloat16 overflows": Situation(bowl, bad(34), BIG, dtype="bfloat16"),
    "float16 overflows": Situation(bowl, bad(8), fine=(ONE, 1.0), dtype="float16"),
    "params overflow": Situation(plane, bad(4), (0.0,), 2.0**126, ((0.0,), 1.0)),
    "near 1e300": Situation(bowl, bad(14), ONE, 3 / HUGE, (ONE, 0.5 / HUGE), HUGE, dtype="float64"),
    "a constant": Situation(constant, ("MAX_STEPS", STEPS, STEPS)),
}
EVERY = gd.Record(params=True)


def agrees(result, oracle, record=EVERY, **options):
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), result)
    assert_agrees(wide, oracle, record, exact=True, **options)


@pytest.fixture(params=SITUATIONS)
def situation(request):
    one = SITUATIONS[request.param]
    with jax.enable_x64(one.dtype == "float64"):
        yield one


ALONE = (
    ("last", EVERY, gd.engines.Plain(7)),
    ("best", None, gd.engines.Plain(7)),
    ("last", gd.Record(grad_norm=False), gd.engines.Cpu(7)),
    ("best", EVERY, None),
)


def test_alone(situation):
    start, rate = np.array(situation.start), situation.rate
    for keep, record, engine in ALONE:
        oracle = situation.oracle(start, rate, keep=keep)
        if keep == "last":
            assert (oracle.status, oracle.steps, oracle.at_step) == situation.ends
        result = gd.minimize(
            situation.loss, start.astype(situation.dtype), gd.GradientDescent(rate), STEPS,
            args=situation.args, keep=keep, record=record, engine=engine,
        )  # fmt: skip
        assert result.params.dtype == situation.dtype
        agrees(result, oracle, record)


def test_with_tests_and_in_descend(situation):
    start, rate, stop = np.array(situation.start), situation.rate, situation.stop
    oracle = situation.oracle(start, rate, stop)
    given = situation.loss, start.astype(situation.dtype), gd.GradientDescent(rate), STEPS
    options = {"record": EVERY, "stop": stop, "keep": "best"}
    agrees(gd.minimize(*given, args=situation.args, **options), oracle)
    # The args are traced: of constants XLA makes one, which overflows.
    whole = jax.jit(lambda args: gd.descend(*given, args=args, **options))
    agrees(whole(situation.args), oracle, rows=STEPS + 1)


LANES = (
    ("best", EVERY, gd.engines.Plain(7), 5),
    ("last", EVERY, gd.engines.Cpu(7), 2),
    ("best", None, gd.engines.Cpu(7), 5),
)


def test_in_lanes_beside_runs_that_stay_fine(situation):
    one, another = (situation.start, situation.rate), situation.fine
    which = (one, another, one, another, another)
    starts, rates = (np.array(values) for values in zip(*which, strict=True))
    for keep, record, engine, lanes in LANES:
        stop = situation.stop if lanes == 2 else None
        runs = gd.minimize_many(
            situation.loss, starts.astype(situation.dtype), gd.GradientDescent(rates), STEPS,
            args=situation.args, axes=gd.Axes(rule=0), keep=keep, record=record, stop=stop,
            lanes=lanes, engine=engine,
        )  # fmt: skip
        for run, (start, rate) in zip(runs, which, strict=True):
            agrees(run, situation.oracle(start, rate, stop, keep), record)


def rough(x, hole):
    """Nothing here is exact; NaN where x[0] has moved further than `hole[1]` from `hole[0]`."""
    value = jnp.sum((x - 1.3) ** 2 * jnp.sqrt(x + 2.0) + jnp.sin(x))
    return value + jnp.where(jnp.abs(x[0] - hole[0]) > hole[1], jnp.nan, 0.0)


@pytest.mark.parametrize("engine", [gd.engines.Plain(8), gd.engines.Cpu(8)], ids=str)
def test_a_run_that_goes_bad_leaves_its_neighbours_to_the_bit(engine):
    starts = np.random.default_rng(0).uniform(-1, 1, (12, 4)).astype(np.float32)
    holes = np.stack([starts[:, 0], np.full(12, 9.0)], axis=1).astype(np.float32)
    spoiled = holes.copy()
    spoiled[[2, 7], 1] = 0.105
    quiet, loud = (
        gd.minimize_many(
            rough, starts, gd.Adam(0.01), 45, args=(given,), axes=gd.Axes(args=0), keep="last",
            record=gd.Record(), lanes=4, engine=engine,
        )
        for given in (holes, spoiled)
    )  # fmt: skip
    bad = np.isin(np.arange(12), [2, 7])
    np.testing.assert_array_equal(loud.status == gd.Status.NON_FINITE, bad)
    np.testing.assert_array_equal(loud.steps[bad], 11)
    for name in ("params", "loss", "grad_norm", "steps", "status"):
        assert same_bits(getattr(loud, name)[~bad], getattr(quiet, name)[~bad]), name
    assert same_bits(loud.history.loss[~bad], quiet.history.loss[~bad])


@pytest.mark.parametrize("name", gd.rules.RULES)
def test_gradients_that_fade_to_nothing_make_no_nan(name):
    """By way of subnormals, which some devices take for 0, and squares that are 0 before."""
    numbers = np.array([2.0**-40, -(2.0**-75), 2.0**-120, 2.0**-140, 0.0], np.float32)
    start = {"float32": numbers, "bfloat16": numbers.astype("bfloat16")}
    runs = gd.minimize_many(
        lambda p, scale: sum(jnp.sum(x.astype("float32") ** 2) for x in p.values()) * scale,
        start, gd.rules.RULES[name](2.0**-6), 30, args=(np.float32([1.0, 2.0**-20]),),
        axes=gd.Axes(None, args=0), record=gd.Record(params=True), keep="last",
    )  # fmt: skip
    assert runs.message == "2 MAX_STEPS"
    for leaf in (*runs.history.params.values(), runs.history.grad_norm, runs.history.loss):
        assert np.isfinite(leaf.astype(np.float32)).all()


@pytest.mark.parametrize("record", [gd.Record(), gd.Record(grad_norm=False)], ids=str)
@pytest.mark.parametrize("scale", [HUGE, SMALL])
def test_adam_where_squares_of_gradients_overflow_or_vanish(scale, record):
    start, rule = np.array([1.0, 2.0]), numpy_rules.RULES["Adam"](0.125)
    twin = Twin("bowl", scale, np.dtype("float64"))
    oracle = Case(twin, rule, start, STEPS, {"keep": "last"}).run()
    assert oracle.status == "MAX_STEPS"
    with jax.enable_x64(True):
        given = bowl, start, gd.Adam(0.125), STEPS
        result = gd.minimize(*given, args=(scale,), keep="last", record=record)
    assert int(result.status) == gd.Status.MAX_STEPS
    np.testing.assert_allclose(result.params, oracle.x, rtol=1e-12)
    np.testing.assert_allclose(result.history.loss, oracle.loss_history, rtol=1e-12)


@pytest.mark.parametrize("scale", [HUGE, SMALL])
@pytest.mark.parametrize(("frtol", "ends"), [(3.0, ("CONVERGED_LOSS", 1)), (2.9, ("MAX_STEPS", 9))])
def test_a_relative_change_is_relative_at_any_size(scale, frtol, ends):
    """The loss falls to a quarter in each step."""
    start, rule = np.array(ONE), numpy_rules.GradientDescent(0.5 / scale)
    twin, stop = Twin("bowl", scale, np.dtype("float64")), gd.Stop(frtol=frtol)
    oracle = Case(twin, rule, start, 9, {"stop": stop}).run()
    assert (oracle.status, oracle.steps) == ends
    with jax.enable_x64(True):
        given = bowl, start, gd.GradientDescent(0.5 / scale), 9
        agrees(gd.minimize(*given, args=(scale,), stop=stop, record=EVERY), oracle)
