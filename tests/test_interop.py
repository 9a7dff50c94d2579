"""jaxgd next to optax, flax and equinox: its rules in their loops, their rules in its."""

import subprocess
import sys
import textwrap

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract_cases import RATE, RULE_CASES, assert_close, decaying_rate, quick_jit, with_rate
from flax.training.train_state import TrainState

import jaxgd as gd
from jaxgd.canonical import canonical_float
from jaxgd.rules import Chain, canonical_rule

each_rule = pytest.mark.parametrize("rule", RULE_CASES.values(), ids=RULE_CASES)
START = {"x": np.array([-1.2, 1.0, 0.7]), "y": np.array([[1.0, -0.5]])}


def loss(params):
    """Curved, coupled, and with gradients of very different sizes."""
    x, y = params["x"], params["y"]
    return (
        jnp.sum(10 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
        + jnp.sum(y**4)
        + x[0] * y[0, 0]
    )


def start():
    return jax.tree.map(lambda leaf: leaf.astype(canonical_float()), START)


def iterates(rule, steps=200):
    """All iterates of descend, as one array."""
    record = gd.Record(params=True)
    run = quick_jit(lambda x: gd.descend(loss, x, rule, steps, record=record).history.params)
    return np.concatenate(
        [np.asarray(xs).reshape(steps + 1, -1) for xs in run(start()).values()], 1
    )


def users_loop(tx, steps):
    """What everybody writes with optax."""

    @quick_jit
    def run(params):
        def step(carry, _):
            params, state = carry
            grads = jax.grad(loss)(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=steps)[0][0]

    return run(start())


@each_rule
def test_a_rule_in_an_optax_chain_is_that_rule_in_ours(rule):
    rule = with_rate(rule, decaying_rate())
    clip = gd.ClipByGlobalNorm(1.0)
    parts = (*rule.transforms, rule.rule) if isinstance(rule, Chain) else (rule,)
    theirs = users_loop(optax.chain(optax.clip_by_global_norm(1.0), rule), 30)
    ours = quick_jit(lambda x: gd.descend(loss, x, gd.chain(clip, *parts), 30).params)(start())
    for name, leaf in ours.items():
        assert_close(theirs[name], leaf, 2e-5)


@each_rule
def test_a_rule_trains_a_flax_train_state(rule):
    model = nn.Dense(1)
    inputs = jnp.linspace(-1, 1, 24, dtype=jnp.float32).reshape(12, 2)
    targets = inputs @ jnp.float32([[2.0], [-1.0]]) + 0.5
    params = model.init(jax.random.key(0), inputs)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=with_rate(rule, 4 * RATE))

    def mse(params):
        return jnp.mean((model.apply(params, inputs) - targets) ** 2)

    @quick_jit
    def train(state):
        def step(state, _):
            value, grads = jax.value_and_grad(mse)(state.params)
            return state.apply_gradients(grads=grads), value

        return jax.lax.scan(step, state, length=50)

    state, losses = train(state)
    assert state.step == 50
    assert losses[-1] < losses[0]
    assert np.all(np.isfinite(losses))


LR = 0.01
SLOW = LR / 100  # for rules that would end up jumping about the minimum, where rounding decides
PEERS = {
    "adam": (optax.adam(LR), gd.Adam(LR)),
    "adam-numbers": (optax.adam(LR, 0.7, 0.95, 1e-3), gd.Adam(LR, 0.7, 0.95, 1e-3)),
    "adam-schedule": (
        optax.adam(optax.cosine_decay_schedule(LR, 150)),
        gd.Adam(gd.CosineDecay(LR, steps=150)),
    ),
    "amsgrad": (optax.amsgrad(LR), gd.Adam(LR, amsgrad=True)),
    "adamw": (optax.adamw(LR, weight_decay=0.1), gd.AdamW(LR, weight_decay=0.1)),
    "nadam": (optax.nadam(LR), gd.NAdam(LR)),
    "radam": (optax.radam(LR), gd.RAdam(LR)),
    "adamax": (optax.adamax(LR), gd.AdaMax(LR)),
    "adabelief": (optax.adabelief(LR), gd.AdaBelief(LR)),
    "yogi": (optax.yogi(LR), gd.Yogi(LR)),
    "adagrad": (optax.adagrad(LR), gd.AdaGrad(LR)),
    "adadelta": (optax.adadelta(LR), gd.AdaDelta(LR)),
    "lion": (optax.lion(SLOW, weight_decay=0.0), gd.Lion(SLOW)),
    "lion-decay": (optax.lion(SLOW, weight_decay=0.1), gd.Lion(SLOW, weight_decay=0.1)),
    "sgd": (optax.sgd(LR), gd.GradientDescent(LR)),
    "momentum": (optax.sgd(LR / 4, momentum=0.9), gd.Momentum(LR / 4)),
    "nesterov": (
        optax.sgd(LR / 4, momentum=0.9, nesterov=True),
        gd.Momentum(LR / 4, nesterov=True),
    ),
    "rmsprop": (optax.rmsprop(SLOW), gd.RMSProp(SLOW)),
    "rmsprop-centered": (optax.rmsprop(SLOW, centered=True), gd.RMSProp(SLOW, centered=True)),
    "rmsprop-momentum": (optax.rmsprop(SLOW, momentum=0.5), gd.RMSProp(SLOW, momentum=0.5)),
    "rmsprop-nesterov": (
        optax.rmsprop(SLOW, momentum=0.5, nesterov=True),
        gd.RMSProp(SLOW, momentum=0.5, nesterov=True),
    ),
}


@pytest.mark.float32
@pytest.mark.promotion
@pytest.mark.parametrize("peer", PEERS)
def test_optax_makes_the_same_iterates(peer):
    """In float32 ours are those of float64 to half an ulp per step; optax's lose more digits."""
    theirs, ours = PEERS[peer]
    with jax.enable_x64(True):
        expected = iterates(theirs)
        assert_close(iterates(ours), expected, 1e-12)
    half_an_ulp = np.finfo("float32").eps / 2
    assert_close(iterates(ours), expected, len(expected) * half_an_ulp)


@pytest.mark.promotion
def test_optax_in_minimize_is_the_same_too():
    runs = [gd.minimize(loss, start(), r, max_steps=200, keep="last") for r in PEERS["adam"]]
    np.testing.assert_allclose(runs[0].history.loss, runs[1].history.loss, rtol=1e-5)
    for theirs, ours in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        assert_close(ours, theirs, 1e-5)
    assert runs[0].history.learning_rate is None


@pytest.mark.promotion
@pytest.mark.parametrize("run", [gd.minimize, gd.descend])
def test_optax_rules_that_take_the_loss_get_it(run):
    """Their names are optax's: value, grad and value_fn."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    backtracking = optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
    rules = {
        "plateau": optax.chain(optax.adam(0.3), plateau),
        "linesearch": optax.chain(optax.sgd(1.0), backtracking),
    }
    for name, rule in rules.items():
        result = run(loss, start(), rule, 40)
        assert result.history.loss[-1] < 0.5 * result.history.loss[0], name


@pytest.mark.promotion
def test_an_equinox_module_is_params():
    class Line(eqx.Module):
        weight: jax.Array
        bias: jax.Array
        activation: object
        degree: int = eqx.field(static=True, default=1)

        def __call__(self, x):
            return self.activation(self.weight * x**self.degree + self.bias)

    x = jnp.linspace(-1, 1, 9)
    model = Line(jnp.array(0.5), jnp.array(0.0), jnp.tanh)

    def mse(model):
        return jnp.mean((model(x) - jnp.tanh(2 * x - 1)) ** 2)

    for rule in (gd.Adam(0.05), optax.adam(0.05)):
        result = gd.minimize(mse, model, rule, max_steps=600)
        assert isinstance(result.params, Line)
        assert result.params.activation is jnp.tanh
        np.testing.assert_allclose(result.params.weight, 2, atol=0.02)
        np.testing.assert_allclose(result.params.bias, -1, atol=0.02)


class SignDescent:
    """A user's own rule, in ten lines and with no help from jaxgd."""

    def __init__(self, rate):
        self.rate = rate

    def init(self, _):
        return jnp.zeros((), jnp.int32)

    def update(self, grads, state, _):
        rate = self.rate / (1 + state.astype(float))
        return jax.tree.map(lambda g: -rate * jnp.sign(g), grads), state + 1


@gd.pytree
class TracedSignDescent:
    """The same with a number that is traced."""

    rate: float = gd.number(at_least=0)
    sign: bool = gd.static(default=True)

    def init(self, _):
        return jnp.zeros((), jnp.int32)

    def update(self, grads, state, _):
        rate = self.rate / (1 + state.astype(float))
        return jax.tree.map(lambda g: (-rate * jnp.sign(g)).astype(g.dtype), grads), state + 1


def test_a_rule_of_ones_own():
    traces = []

    def distance(x):
        traces.append(1)
        return jnp.sum(jnp.abs(x - 0.3))

    expected = None
    for rule in (SignDescent(0.5), TracedSignDescent(0.5), TracedSignDescent(np.float64(0.5))):
        result = gd.minimize(distance, jnp.zeros(2), rule, max_steps=300)
        assert result.loss < 0.01
        expected = result.loss if expected is None else expected
        assert_close(result.loss, expected, 1e-5)
    before = len(traces)
    again = gd.minimize(distance, jnp.zeros(2), TracedSignDescent(0.07), max_steps=300)
    assert len(traces) == before
    assert again.history.loss[1] != result.history.loss[1]
    chained = gd.chain(gd.ClipByValue(0.1), TracedSignDescent(0.5))
    result = gd.descend(distance, jnp.zeros(2), chained, 300)
    assert result.history.loss[-1] < 0.01
    with pytest.raises(ValueError, match=r"rule\.rate must be a number >= 0"):
        gd.minimize(distance, jnp.zeros(2), TracedSignDescent(-0.1))


def test_rules_are_canonical_wherever_they_are_used():
    rule = canonical_rule(gd.Adam(1))
    assert rule.learning_rate.dtype == canonical_float()
    assert optax.chain(rule).init(jnp.zeros(2)) is not None


def test_importing_jaxgd_brings_no_optional_library():
    code = """
        import sys
        import jax.numpy as jnp
        import jaxgd as gd
        gd.minimize(lambda x: jnp.sum(x**2), jnp.ones(2), gd.Adam(0.1), max_steps=2)
        wanted = {"optax", "flax", "equinox", "matplotlib", "tqdm", "click", "pandas", "sklearn"}
        sys.exit(", ".join(sorted(wanted & set(sys.modules))) or 0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
