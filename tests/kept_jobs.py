"""Jobs that are kept on the disk while they run, for tests that end them in every way there is.

Each is a function of its length and its checkpoint, None for none, and of a folder for its data.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxgd as gd

KEY = jax.random.PRNGKey  # a function: at import no backend may begin, since a process is forked
DIMENSIONS, EXAMPLES = 3, 203
ORIGIN = np.zeros(DIMENSIONS, np.float32)


def valley(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def wells(x):
    return jnp.sum((x**2 - 1) ** 2 + 0.2 * x)


def line(w, batch):
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def distance(params):
    return {"distance": jnp.sum(jnp.abs(params - 1)), "first": params[0]}


def examples():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(EXAMPLES, DIMENSIONS)).astype(np.float32)
    y = x @ np.float32([1, -2, 0.5]) + 0.1 * rng.normal(size=EXAMPLES).astype(np.float32)
    return {"x": x, "y": y}


def single(steps, checkpoint, _folder):
    """The loss jumps about at this rate: the best iterate is found now and then."""
    rule = gd.Adam(gd.CosineDecay(0.3, steps), b1=0.5)
    return gd.minimize(
        valley, np.linspace(-1.2, 1, DIMENSIONS), rule, steps, keep="best",
        record=gd.Record(every=3, params=True), checkpoint=checkpoint,
        stop=gd.Stop(ftol=0.0, xtol=0.0, gtol=0.0, patience=5),
    )  # fmt: skip


def watched(steps, checkpoint, _folder):
    stop = gd.EarlyStop("distance", patience=max(2, steps // 7))
    record = gd.Record(evaluate=gd.Evaluate(distance, every=7, stop=stop))
    start = np.linspace(-1.2, 1, DIMENSIONS)
    return gd.minimize(
        valley, start, gd.Momentum(1e-3), steps, record=record, checkpoint=checkpoint
    )


def recorded(steps, checkpoint, _folder):
    return gd.multistart(
        wells, _starts(), gd.Adam(0.01), steps, lanes=4, keep="best", record=gd.Record(every=5),
        stop=gd.Stop(gtol=1e-5), checkpoint=checkpoint,
    )  # fmt: skip


def halved(steps, checkpoint, _folder):
    return gd.multistart(
        wells, _starts(), gd.Adam(0.01), steps, lanes=4, checkpoint=checkpoint,
        prune=gd.Halving(keep=0.7, every=max(1, steps // 6)),
    )  # fmt: skip


def batches(steps, checkpoint, _folder):
    data = gd.Batches(examples(), 8, KEY(1), drop_last=False)
    return gd.minimize(
        _weighted, ORIGIN, gd.Adam(0.01), steps, data=data, checkpoint=checkpoint,
        record=gd.Record(params=True),
    )  # fmt: skip


def mapped(steps, checkpoint, folder):
    for name, array in examples().items():
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", array)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "y")}
    data = gd.Batches(arrays, 8, KEY(1))
    return gd.minimize(line, ORIGIN, gd.Adam(0.01), steps, data=data, checkpoint=checkpoint)


def _weighted(w, batch, *, weights):
    errors = (batch["x"] @ w - batch["y"]) ** 2
    return jnp.average(errors, weights=weights.astype(errors.dtype))


def _starts():
    return np.random.default_rng(0).uniform(-2, 2, (41, DIMENSIONS))


JOBS = {job.__name__: job for job in (single, watched, recorded, halved, batches, mapped)}
FOUND = (
    "params", "loss", "grad_norm", "at_step", "steps", "status", "evaluations", "history", "state",
    "scale", "inputs",
)  # fmt: skip
MANY = ("recorded", "halved")


def arrays_of(outcome):
    """All that a job found, by name, in NumPy: without the seconds it took."""
    told = {"log": np.array(getattr(outcome, "log", ()))}
    for name in (name for name in FOUND if hasattr(outcome, name)):
        leaves = jax.tree_util.tree_leaves_with_path(getattr(outcome, name))
        told |= {name + jax.tree_util.keystr(path): _array(leaf) for path, leaf in leaves}
    return told


def _array(leaf):
    is_key = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
