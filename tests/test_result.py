"""Results as one sees them: printed, in a notebook, vmapped, pickled."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd


def bowl(x):
    return jnp.sum((x - 1) ** 2)


def test_print_and_repr_are_a_short_table():
    result = gd.minimize(bowl, np.zeros(50), gd.Adam(0.1), 900)
    assert repr(result) == str(result)
    lines = str(result).splitlines()
    names = ["status", "loss", "gradient norm", "steps"]
    assert [line[:17].strip() for line in lines[:4]] == names
    assert lines[0].split() == ["status", "MAX_STEPS"]
    assert lines[3].split() == ["steps", "900"]
    assert lines[-1] == result.message
    assert len(lines) <= 9
    assert max(map(len, lines[:-1])) <= 60


def test_a_notebook_renders_a_table():
    result = gd.minimize(lambda p: bowl(p["<a>"]), {"<a>": 0.5}, gd.Adam(0.1), 9)
    html = result._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;a&gt;" in html
    assert "<a>" not in html
    assert html.count("<tr>") == len(result.rows())


def test_a_vmapped_result_speaks_for_all_its_runs():
    def run(rate):
        stop = gd.Stop(gtol=1e-3)
        return gd.descend(bowl, jnp.zeros(2), gd.GradientDescent(rate), 60, stop=stop)

    results = jax.vmap(run)(jnp.array([0.1, 0.2, 1e-3, 1e30]))
    assert results.message == "2 CONVERGED_GRADIENT, 1 MAX_STEPS, 1 NON_FINITE"
    assert results.converged.tolist() == [True, True, False, False]
    assert "best loss" in str(results)
    assert "2 CONVERGED_GRADIENT" in results._repr_html_()


def test_what_has_no_numbers_yet_can_be_printed():
    seen = []

    def run(x):
        result = gd.descend(bowl, x, gd.Adam(0.1), 3)
        seen.extend([repr(result), result._repr_html_()])
        return result

    shapes = jax.eval_shape(run, jnp.zeros(2))
    assert all("Result(" in text for text in [*seen, repr(shapes)])
    assert "Result(" in repr(jax.tree.map(lambda leaf: None, run(jnp.zeros(2))))


def test_a_failure_survives_pickling():
    with pytest.raises(gd.RunFailed) as failure:
        gd.minimize(lambda x: jnp.sum(jnp.log(x)), -np.ones(2), gd.Adam(0.1), 9, throw=True)
    again = pickle.loads(pickle.dumps(failure.value))
    assert str(again) == str(failure.value)
    assert again.result.status == gd.Status.NON_FINITE
    np.testing.assert_array_equal(again.result.params, [-1, -1])


def test_the_message_fits_the_run():
    def valley(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    start = np.array([-1.2, 1.0], np.float32)
    high = gd.minimize(valley, start, gd.Adam(100.0), 200)
    assert high.message.startswith("All steps were made, but the loss never fell below that of the")
    low = gd.minimize(valley, start, gd.Adam(1e-3), 200)
    assert low.message == gd.Status.MAX_STEPS.message
    assert "higher max_steps" in low.message
    losses = gd.minimize(bowl, np.zeros(1), gd.Momentum(0.1), 40).history.loss
    rising = int(np.argmax(np.diff(losses) > 0)) + 1
    beyond = gd.minimize(bowl, np.zeros(1), gd.Momentum(0.1), rising)
    assert 0 < beyond.at_step < beyond.steps
    returned = f"The iterate of step {int(beyond.at_step)} is returned."
    assert beyond.message == f"{gd.Status(int(beyond.status)).message} {returned}"


def test_a_history_is_shown_in_a_line():
    history = gd.minimize(bowl, np.zeros(1), gd.Adam(0.1), 40).history
    assert repr(history) == "History of step, loss, grad_norm, learning_rate, rows: (41,)"
