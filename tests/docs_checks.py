"""What the pages of the documentation claim of their code, by page and heading."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

import jaxgd as gd


def close(a, b, **tolerances):
    jax.tree.map(lambda x, y: assert_allclose(x, y, **tolerances), a, b)


def nothing(names):
    """A block that only prepares what comes."""


# Recipes: `theirs` has the names of each block with a title.


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


# The guide.


def the_line(names):
    assert names["result"].converged
    close(names["result"].params, {"slope": 2.0, "intercept": 0.0}, atol=3e-2)


def rates_of_a_bowl(names):
    runs, loss = names["runs"], names["runs"].history.loss
    assert [gd.Status(s).name for s in runs.status] == ["MAX_STEPS"] * 4 + ["NON_FINITE"]
    assert_allclose(runs.loss, [0.59, 0.082, 5e-6, 50.5, 50.5], rtol=0.01)
    assert_array_equal(runs.at_step[3:], 0)
    assert runs.steps[4] <= 20
    assert loss.shape == (5, 301)
    assert np.all(np.diff(loss[:3], axis=1) < 0)
    assert loss[0, 300] < 0.9 * loss[0, 250]
    assert loss[3, 300] > loss[3, 0]


def tried_rates(names):
    assert names["rates"][0] < names["best"] < names["rates"][-1]
    assert names["tried"].loss.min() < 1e-3


def decays(names):
    assert names["decayed"] < names["constant"] / 3


def converges(names):
    assert names["result"].converged
    assert gd.Status(names["result"].status).name == "CONVERGED_GRADIENT"
    assert_allclose(names["result"].params["x"] ** 2, [2.0, 9.0], rtol=1e-3)


def history_of_a_run(names):
    history = names["run"].history
    assert history.step.tolist() == list(range(0, 101, 10))
    assert history.params["x"].shape == (11, 2)
    assert len(history.loss) == len(history.grad_norm) == len(history.learning_rate) == 11


def goes_on(names):
    assert_array_equal(names["second"].params["x"], names["whole"].params["x"])
    assert names["second"].history.step[0] == 60


def stops_by_callback(names):
    assert gd.Status(names["stopped"].status) == gd.Status.STOPPED
    assert names["stopped"].steps < 10**6
    assert names["seen"] == sorted(names["seen"])


def fits_in_batches(names):
    result = names["result"]
    assert_allclose(result.params, [2.0, 1.0], atol=0.05)
    assert int(result.steps) == 400
    assert result.history.loss.shape == (400,)


def an_epoch(names):
    assert_array_equal(np.sort(names["epoch"]), np.arange(500))


def weights(names):
    assert_allclose(names["fit"].params, [2.0, 1.0], atol=0.05)
    assert int(names["fit"].steps) == 40 * 8


def held_out(names):
    best = names["best"]
    errors = best.history.metrics["error"]
    assert int(best.at_step) == best.history.metric_step[np.argmin(errors)]
    assert int(best.steps) == int(best.at_step) + 100 < 2000


def from_disk(names):
    names["folder"].cleanup()
    assert_array_equal(names["read"].params, names["result"].params)
    assert_allclose(names["shifted"].params, [2.0, 1.0], atol=0.1)


def four_minima(names):
    runs = names["runs"]
    assert [round(minimum.loss, 5) for minimum in runs.minima()] == [0.0] * 4
    assert sum(minimum.count for minimum in runs.minima()) == 256
    assert runs.success_rate == 1
    assert isinstance(runs.best, gd.Result)
    few = names["few"]
    assert few.minima()[0].count >= 3
    assert np.sum(few.status == gd.Status.NOT_STARTED) > 3000


def swept(names):
    assert names["swept"].shape == (3, 2)
    assert names["swept"].inputs.rule.learning_rate[names["best"]] in np.float32([0.01, 0.03, 0.1])


def centres(names):
    assert_allclose(names["fits"].params, names["centres"], atol=1e-2)


def raced(names):
    status = names["raced"].status
    assert np.sum(status == gd.Status.MAX_STEPS) == 16
    assert np.sum(status == gd.Status.PRUNED) == 240


def fewer_evaluations(names):
    assert names["theirs"].nfev < 100
    assert int(names["ours"].evaluations) > 1000
    for end in (names["theirs"].x, names["ours"].params):
        assert_allclose(end, 1.0, atol=1e-2)


CHECKS = {
    "index.md": {"": the_line},
    "recipes.md": {
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
    },
    "guide/choosing.md": {
        "Too low, right, too high": rates_of_a_bowl,
        "Trying rates": tried_rates,
        "Letting the rate decay": decays,
    },
    "guide/stopping.md": {
        "When a run ends": converges,
        "History": history_of_a_run,
        "Going on": goes_on,
        "Ending from outside": stops_by_callback,
    },
    "guide/data.md": {
        "The argument `data`": lambda names: (fits_in_batches(names), an_epoch(names)),
        "What does not fill a batch": weights,
        "Held-out data": held_out,
        "More data than memory": from_disk,
    },
    "guide/many.md": {
        "From many starts": four_minima,
        "Over numbers of the rule": swept,
        "Over problems": centres,
        "Racing": raced,
    },
    "limits.md": {"It is gradient descent": fewer_evaluations},
}
