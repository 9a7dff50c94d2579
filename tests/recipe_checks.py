"""What the recipes claim: that their code and that of other libraries do the same.

`names` has what the page shares, `theirs` the names of each block with a title.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

import jaxgd as gd


def close(a, b, **tolerances):
    jax.tree.map(lambda x, y: assert_allclose(x, y, **tolerances), a, b)


def nothing(names):
    """A block that only prepares what comes."""


def users_loop(optimiser, names, steps):
    """What the first recipe shows, for an optimiser of optax."""
    import optax

    loss, args = names["loss"], (names["x"], names["y"])
    p, state = names["start"], optimiser.init(names["start"])
    step = jax.jit(lambda p, state: optimiser.update(jax.grad(loss)(p, *args), state, p))
    for _ in range(steps):
        updates, state = step(p, state)
        p = optax.apply_updates(p, updates)
    return p


def ours(rule, names, steps):
    args = (names["x"], names["y"])
    return gd.minimize(names["loss"], names["start"], rule, steps, args=args, keep="last").params


def same_steps(names, theirs, steps=30):
    """The optimiser and the rule of a recipe do the same."""
    expected = users_loop(theirs["optax"]["optimiser"], names, steps)
    close(ours(theirs["jaxgd"]["rule"], names, steps), expected, rtol=2e-4, atol=1e-6)


def training_loop(names, theirs):
    close(theirs["jaxgd"]["p"], theirs["optax"]["p"], rtol=1e-4)
    assert_allclose(theirs["jaxgd"]["losses"][:-1], theirs["optax"]["losses"], rtol=1e-4, atol=1e-6)
    if "PyTorch" in theirs:
        close(theirs["jaxgd"]["p"], theirs["PyTorch"]["p"], rtol=1e-4)


def schedule(names, theirs):
    for step in (0, 1, 19, 20, 21, 150, 299, 300, 400):
        expected = theirs["optax"]["schedule"](step)
        assert_allclose(theirs["jaxgd"]["schedule"](step), expected, rtol=1e-5, atol=1e-8)
    same_schedules()


def same_schedules():
    """The rows of the table of schedules."""
    import optax

    a, b = gd.Constant(0.2), gd.PolynomialDecay(0.1, end=0.0, steps=1000)
    c, d = optax.constant_schedule(0.2), optax.linear_schedule(0.1, 0.0, 1000)
    pairs = [
        (gd.ExponentialDecay(0.1, rate=0.9, every=100), optax.exponential_decay(0.1, 100, 0.9)),
        (gd.CosineDecay(0.1, steps=1000), optax.cosine_decay_schedule(0.1, 1000)),
        (b, d),
        (
            gd.PiecewiseConstant([0.1, 0.01], [100]),
            optax.piecewise_constant_schedule(0.1, {100: 0.1}),
        ),
        (gd.Join([a, b], [100]), optax.join_schedules([c, d], [100])),
    ]
    for mine, other in pairs:
        for step in (0, 50, 99, 100, 101, 500, 1000):
            assert_allclose(mine(step), other(step), rtol=1e-5, atol=1e-8)


def clipping(names, theirs):
    same_steps(names, theirs)
    g = jnp.array([3.0, 4.0])
    clipped, _ = gd.ClipByGlobalNorm(0.5).update(g, gd.ClipByGlobalNorm(0.5).init(g), g)
    if "PyTorch" in theirs:
        assert_allclose(clipped, theirs["PyTorch"]["clipped"].numpy(), rtol=1e-5)


def minimum_of_rosenbrock(names, theirs):
    assert theirs["SciPy"]["found"].success
    assert theirs["jaxgd"]["found"].converged
    assert theirs["optax in jaxgd"]["found"].converged
    ends = [theirs["SciPy"]["found"].x, theirs["jaxgd"]["found"].params]
    ends += [theirs["optax in jaxgd"]["found"].params]
    if "jaxopt" in theirs:
        ends.append(theirs["jaxopt"]["z"])
    if "optimistix" in theirs:
        ends.append(theirs["optimistix"]["found"].value)
    for end in ends:
        assert_allclose(end, 1.0, atol=1e-2)
    assert theirs["SciPy"]["found"].nfev < 100
    assert int(theirs["optax in jaxgd"]["found"].evaluations) < 100
    assert int(theirs["jaxgd"]["found"].evaluations) > 1000


def many_starts(names, theirs):
    ends = [np.float64(minimum.params) for minimum in theirs["jaxgd"]["minima"]]
    assert {tuple(np.round(end, 1)) for end in ends} == theirs["SciPy"]["minima"]
    assert len(ends) == 4


def vmapped(names, theirs):
    for title in theirs:
        close(theirs[title]["fitted"], {"w": names["slopes"], "b": jnp.zeros(50)}, atol=2e-3)


def early_stopping(names, theirs):
    assert int(theirs["jaxgd"]["at"]) == theirs["optax"]["at"]
    close(theirs["jaxgd"]["best_p"], theirs["optax"]["best_p"], rtol=1e-4)
    assert_allclose(min(theirs["jaxgd"]["errors"]), theirs["optax"]["best"], rtol=1e-4)
    assert 0 < theirs["optax"]["at"] < theirs["optax"]["count"] < 999


def mini_batches(names, theirs):
    for title in theirs:
        close(theirs[title]["p"], {"w": 3.0, "b": 1.0}, atol=1e-2)


def freezing(names, theirs):
    same_steps(names, theirs)
    p = ours(theirs["jaxgd"]["rule"], names, 100)
    assert p["b"] == 0
    if "PyTorch" in theirs:
        close(p, theirs["PyTorch"]["p"], rtol=1e-4)


def averaging(names, theirs):
    share = 0.95**100  # of the start, which is zero, in optax's
    mine = jax.tree.map(lambda mean: (1 - share) * mean, theirs["jaxgd"]["mean"])
    close(mine, theirs["optax"]["mean"], rtol=1e-4)
    if "PyTorch" in theirs:
        line = theirs["PyTorch"]["mean"].module
        mean = theirs["jaxgd, a uniform mean"]["mean"]
        assert_allclose(mean["w"], line.weight.item(), rtol=1e-4)
        assert_allclose(mean["b"], line.bias.item(), rtol=1e-4)


def accumulation(names, theirs):
    same_steps(names, theirs, 40)
    if "PyTorch" in theirs:
        close(ours(theirs["jaxgd"]["rule"], names, 100), theirs["PyTorch"]["p"], rtol=1e-4)


CHECKS = {
    "": nothing,
    "A training loop": training_loop,
    "A learning-rate schedule": schedule,
    "Gradient clipping": clipping,
    "A call that minimises": minimum_of_rosenbrock,
    "Many starts": many_starts,
    "A vmapped solver": vmapped,
    "Early stopping": early_stopping,
    "Mini-batches": mini_batches,
    "Freezing a part": freezing,
    "Averaging weights": averaging,
    "Gradient accumulation": accumulation,
}
