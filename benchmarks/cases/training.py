"""Networks in mini-batches. All contenders see the same batches: those that jaxgd draws."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd
from benchmarks.case import LAST, Case, SkippedError, Target, gather
from benchmarks.measure import OTHER, OURS, PEER, Contender
from benchmarks.peers import needed
from benchmarks.peers.torch_loop import WithThreads, device

RATE = 1e-3
BATCH = 64
SCAN, LOOP, TORCH = "a scan by hand", "optax, Python loop", "torch"


def network(width: tuple[int, ...], seed: int = 0) -> list[dict[str, Any]]:
    """Layers of weights and biases."""
    draw = np.random.default_rng(seed)
    return [
        {
            "w": (draw.normal(size=(a, b)) * np.sqrt(2 / a)).astype(np.float32),
            "b": np.zeros(b, np.float32),
        }
        for a, b in itertools.pairwise(width)
    ]


def loss(layers: Any, batch: Any) -> Any:
    """Cross entropy of a perceptron."""
    x, label = batch
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    scores = jax.nn.log_softmax(x @ layers[-1]["w"] + layers[-1]["b"])
    return -jnp.mean(jnp.take_along_axis(scores, label[:, None], 1))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's digits: 1,797 pictures of 8 x 8."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SkippedError("scikit-learn is not installed") from None
    x, label = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), label.astype(np.int32)


def noise() -> tuple[np.ndarray, np.ndarray]:
    """4,096 pictures of 28 x 28, and labels that have nothing to do with them."""
    draw = np.random.default_rng(1)
    return draw.random((4096, 784), np.float32), draw.integers(0, 10, 4096).astype(np.int32)


def case_of(name: str, arrays: Any, width: tuple[int, ...], epochs: int) -> Case:
    """The contenders on some data."""
    data = gd.Batches(tuple(map(jnp.asarray, arrays)), BATCH, jax.random.key(0))
    steps = epochs * data.steps_per_epoch
    order = np.asarray(jax.vmap(data.indices)(jnp.arange(steps)))
    layers = jax.tree.map(jnp.asarray, network(width))

    def ends(layers: Any) -> float:
        return loss(layers, data.arrays)

    rivals, notes = gather(
        [
            lambda: by_hand(layers, data.arrays, order, ends),
            lambda: python_loop(layers, data.arrays, order, ends),
            *(lambda form=form: torch_loop(layers, arrays, order, form, ends) for form in _FORMS),
        ]
    )
    call = functools.partial(gd.minimize, loss, layers, gd.Adam(RATE), data=data, epochs=epochs)
    call = functools.partial(call, record=gd.Record(grad_norm=False))
    ours = Contender(LAST, OURS, call, lambda result: ends(result.params))
    words = f"a {'-'.join(map(str, width))} network on {name}, batches of {BATCH}, {epochs} epochs"
    aims = (Target(SCAN, slower=1.05), Target(LOOP, faster=5.0), Target(TORCH, faster=1.0))
    if name != "digits":
        aims = (aims[0], aims[2])
    return Case(words, (*rivals, ours), aims, tuple(notes), close=0.1)


_FORMS = ("foreach", "fused")


def by_hand(layers: Any, arrays: Any, order: Any, ends: Any) -> Contender:
    """A jitted scan over batches of which the order was drawn before."""
    optax = needed("optax")
    rule = optax.adam(RATE)

    @jax.jit
    def run(layers: Any, arrays: Any, order: Any) -> Any:
        def step(carry: Any, index: Any) -> Any:
            layers, state = carry
            batch = tuple(a[index] for a in arrays)
            value, g = jax.value_and_grad(loss)(layers, batch)
            updates, state = rule.update(g, state, layers)
            return (optax.apply_updates(layers, updates), state), value

        return jax.lax.scan(step, (layers, rule.init(layers)), order)

    order = jnp.asarray(order)
    return Contender(SCAN, OTHER, lambda: run(layers, arrays, order), lambda out: ends(out[0][0]))


def python_loop(layers: Any, arrays: Any, order: Any, ends: Any) -> Contender:
    """What is mostly written: a loop in Python over a jitted step, batches cut by NumPy."""
    optax = needed("optax")
    rule, on_host = optax.adam(RATE), tuple(map(np.asarray, arrays))

    @jax.jit
    def step(layers: Any, state: Any, batch: Any) -> Any:
        value, g = jax.value_and_grad(loss)(layers, batch)
        updates, state = rule.update(g, state, layers)
        return optax.apply_updates(layers, updates), state, value

    def run() -> Any:
        now, state, values = layers, rule.init(layers), []
        for index in order:
            now, state, value = step(now, state, tuple(a[index] for a in on_host))
            values.append(value)
        return now, jnp.stack(values)

    return Contender(LOOP, PEER, run, lambda out: ends(out[0]))


def torch_loop(layers: Any, arrays: Any, order: Any, form: str, ends: Any) -> Contender:
    """The usual loop, on tensors that lie where it computes."""
    torch = needed("torch")
    functional = torch.nn.functional
    x, label = (torch.tensor(a, device=device()) for a in arrays)
    order = torch.tensor(order, device=device())
    label = label.long()

    def run(some: int) -> Any:
        leaves = [
            torch.tensor(np.asarray(layer[name]), device=device()).requires_grad_()
            for layer in layers
            for name in ("w", "b")
        ]
        optimiser, values = torch.optim.Adam(leaves, lr=RATE, **{form: True}), []
        for index in order[:some]:
            optimiser.zero_grad()
            hidden = x[index]
            for i in range(0, len(leaves) - 2, 2):
                hidden = functional.relu(hidden @ leaves[i] + leaves[i + 1])
            value = functional.cross_entropy(hidden @ leaves[-2] + leaves[-1], label[index])
            value.backward()
            optimiser.step()
            values.append(value.detach())
        parts = iter([leaf.detach().cpu().numpy() for leaf in leaves])
        return [{"w": next(parts), "b": next(parts)} for _ in layers], torch.stack(values)

    chosen = WithThreads(lambda: run(len(order)), lambda: run(20))
    return Contender(f"{TORCH}, eager {form}", PEER, chosen, lambda out: ends(out[0]))


def on_digits(quick: bool) -> Case:
    """Small enough that all but the arithmetic counts."""
    return case_of("digits", digits(), (64, 128, 10), 1 if quick else 20)


def on_noise(quick: bool) -> Case:
    """Large enough that the arithmetic counts."""
    width = (784, 16, 10) if quick else (784, 512, 512, 10)
    return case_of("random data", noise(), width, 1 if quick else 2)


TRAINING = {"train-digits": on_digits, "train-wide": on_noise}
