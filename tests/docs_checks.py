"""What the pages of the documentation claim of their code, by page and heading."""

import numpy as np
import recipe_checks
from numpy.testing import assert_allclose, assert_array_equal

import jaxgd as gd


def the_line(names):
    assert names["result"].converged
    assert_allclose(names["result"].params["slope"], 2.0, atol=1e-2)
    assert_allclose(names["result"].params["intercept"], 0.0, atol=3e-2)


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


def names_the_array(names):
    told = names["failed"].message
    assert told.startswith("At step 1: the loss is nan, ")
    assert "the gradient is not finite in params['scale'][0] (1 nan of 2)" in told


def history_of_a_run(names):
    history = names["run"].history
    assert history.step.tolist() == list(range(0, 101, 10))
    assert history.params["x"].shape == (11, 2)
    assert len(history.loss) == len(history.grad_norm) == len(history.learning_rate) == 11


def goes_on(names):
    assert_array_equal(names["second"].params["x"], names["whole"].params["x"])
    assert names["second"].history.step[0] == 60


def goes_on_from_disk(names):
    result, whole = names["result"], names["call"](checkpoint=None)
    assert_array_equal(result.params, whole.params)
    assert_array_equal(result.history.loss, whole.history.loss)
    assert result.steps == 4000


def refuses_another_run(names):
    assert "rule.learning_rate was 0.01, and is 0.02 now" in names["refusal"]


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
    "recipes.md": recipe_checks.CHECKS,
    "guide/choosing.md": {
        "Too low, right, too high": rates_of_a_bowl,
        "Trying rates": tried_rates,
        "Letting the rate decay": decays,
    },
    "guide/stopping.md": {
        "When a run ends": converges,
        "NaN and infinity": names_the_array,
        "History": history_of_a_run,
        "Going on": goes_on,
        "Ending from outside": stops_by_callback,
    },
    "guide/checkpoints.md": {
        "The same call again": goes_on_from_disk,
        "Another run": refuses_another_run,
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
