"""Rules that keep what is not finite: the engine looks at what a chunk leaves, not at gradients.

Scripts as in test_loop_edges: all is exact. What is left behind after a chunk may also be a number
that overflowed, which is no reason to end a run.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_cases import same_bits, script_of, untimed
from test_loop_edges import (
    LENGTH,
    NO_NORM,
    Form,
    check_exactly,
    check_rows_that_are_not_finite,
    play,
)

import jaxgd as gd


@gd.pytree
class Keeping:
    """Steps of -1, and of NaN where the gradient is not finite."""

    keeps_nonfinite: ClassVar[bool] = True

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -1 + 0 * g, grads), state


@gd.pytree
class Overflowing:
    """The same with a number beside that grows out of its dtype within ten steps."""

    keeps_nonfinite: ClassVar[bool] = True
    growth: Any = 10.0

    def init(self, params):
        return jnp.asarray(1e300)

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -1 + 0 * g, grads), state * self.growth


FORMS = [
    Form(64, NO_NORM),
    Form(7, NO_NORM, size=40),
    Form(64, NO_NORM, tests=("ftol", "xtol"), keep="last"),
    Form(None, None, tests=("target",), size=40, keep="last"),
    Form(16, gd.Record(every=5, grad_norm=False, params=True)),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_rows_that_are_not_finite_are_found(form):
    check_rows_that_are_not_finite(form, Keeping())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_number_that_overflows_does_not_end_a_run(form):
    never = gd.Stop(**{name: -9.0 if name == "target" else 0.0 for name in form.tests})
    for max_steps in (5, 9, 20, 70):
        oracle = check_exactly(form, script_of(LENGTH), max_steps, never, Overflowing())
        assert oracle.status == "MAX_STEPS"
    for at in (0, 8, 9, 30):
        script = script_of(LENGTH, slopes={at: np.nan})
        oracle = check_exactly(form, script, 70, never, Overflowing())
        assert (oracle.status, oracle.steps) == ("NON_FINITE", at)


def test_a_test_that_is_met_on_a_suspect_row_ends_the_run():
    form = Form(64, NO_NORM, tests=("target",))
    for at in (8, 9, 10, 11):
        stop = gd.Stop(target=float(LENGTH - at))
        oracle = check_exactly(form, script_of(LENGTH), 70, stop, Overflowing())
        assert (oracle.status, oracle.steps) == ("TARGET_REACHED", at)


@pytest.mark.parametrize("at", [3, 9, 10, 40])
def test_a_stop_before_a_bad_gradient_returns_the_last_good_iterate(at):
    form, seen = Form(64, NO_NORM, keep="last"), []

    def callback(info):
        seen.append(jax.tree.map(np.array, untimed(info)))
        return info.steps >= at

    result = play(form, script_of(LENGTH, slopes={at: np.inf}), 70, callback=callback,
                  rule=Keeping())  # fmt: skip
    assert np.all(np.isfinite(result.params))
    assert np.isfinite(result.loss)
    if gd.Status(int(result.status)) == gd.Status.NON_FINITE and int(seen[-1].steps) == at:
        for field in ("params", "loss", "at_step", "steps", "history", "state"):
            assert same_bits(getattr(result, field), getattr(seen[-1], field)), field


def test_it_is_the_run_that_looks_at_each_gradient():
    """Adam behind a wrapper that does not say that it keeps what is not finite."""

    @gd.pytree
    class Quiet:
        rule: Any

        def init(self, params):
            return self.rule.init(params)

        def update(self, grads, state, params):
            return self.rule.update(grads, state, params)

    def loss(x):
        return jnp.sum(jnp.sqrt(x)) + jnp.sum(x**2)

    for rate in (0.03, 0.2, 1.0):
        options = {"record": NO_NORM, "keep": "last"}
        with jax.enable_x64(True):
            spoken, quiet = (
                gd.minimize(loss, np.array([1.0, 2.0]), rule, 200, **options)
                for rule in (gd.Adam(rate), Quiet(gd.Adam(rate)))
            )
        assert gd.Status(int(spoken.status)) == gd.Status.NON_FINITE
        for field in ("steps", "status", "at_step", "evaluations"):
            assert getattr(spoken, field) == getattr(quiet, field), field
        np.testing.assert_allclose(spoken.params, quiet.params, rtol=1e-12)
