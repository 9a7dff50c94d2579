"""The engines: the same results from each, for losses of every kind; and what they know of XLA."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxgd as gd
from jaxgd.engines import kernel

pytestmark = pytest.mark.float32

N = 6
WORDS = np.array([0, 3, 3, 1])
TABLE = np.linspace(-1, 1, 12, dtype=np.float32)
START = np.linspace(-0.9, 1.1, N).astype(np.float32)


@jax.custom_vjp
def bent(x):
    return jnp.sin(x)


bent.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.clip(g * jnp.cos(x), -0.5, 0.5),))


@jax.custom_jvp
def soft(x):
    return jnp.log1p(jnp.exp(x))


soft.defjvp(lambda x, t: (soft(x[0]), jax.nn.sigmoid(x[0]) * t[0]))


def spiral(x):
    """A recurrence whose gradient stacks what it has seen."""
    return lax.scan(lambda h, a: (jnp.tanh(h * a + 0.3), h), jnp.float32(0.1), x)


def called_back(x):
    far = jax.ShapeDtypeStruct((), np.float32)
    seen = jax.pure_callback(np.sum, far, lax.stop_gradient(x), vmap_method="sequential")
    return jnp.sum(x**2) + 0 * seen


def halved(x):
    return lax.while_loop(lambda v: jnp.max(jnp.abs(v)) > 0.1, lambda v: v / 2, x)


def pooled(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID")


POSITIVE = jnp.eye(N, dtype=jnp.float32) + 0.1
IN_KERNEL = {
    "elementwise": lambda x: jnp.sum(jnp.cosh(x) + jnp.arctan(x) ** 2 + jnp.expm1(x) ** 2),
    "slices and pads": lambda x: jnp.sum((x[1:] - x[:-1] ** 2) ** 2) + jnp.sum(jnp.pad(x, 2) ** 2),
    "cumulative": lambda x: jnp.sum(jnp.cumsum(x) ** 2) + jax.nn.logsumexp(x),
    "cond": lambda x: lax.cond(x[0] > 0, lambda x: jnp.sum(x**2), lambda _: 3.0, x) + x[1] ** 2,
    "switch": lambda x: jnp.sum(
        lax.switch((x[0] * 2).astype(int), [jnp.cos, jnp.sin, jnp.tanh], x) ** 2
    ),
    "scan": lambda x: jnp.sum(spiral(x)[1] ** 2) + jnp.sum(x**2),
    "while": lambda x: jnp.sum(lax.stop_gradient(halved(x)) * x) + jnp.sum(x**2),
    "custom vjp": lambda x: jnp.sum(bent(x) ** 2),
    "custom jvp": lambda x: jnp.sum(soft(x) + soft(-x)),
    "small matrices": lambda x: x @ POSITIVE @ x + jnp.sum((POSITIVE[:3, :2] @ x[:2]) ** 2),
    "a table read in order": lambda x: jnp.sum((lax.dynamic_slice(TABLE, (2,), (N,)) - x) ** 2),
    "random": lambda x: jnp.sum((x - jax.random.normal(jax.random.key(0), (N,))) ** 2),
    "many terms": lambda x: jnp.mean((jnp.outer(jnp.linspace(0, 1, 3000), x) - 0.5) ** 2),
}
REFUSED = {
    "gather": (lambda x: jnp.sum(x[WORDS] ** 2), "scatter-add"),
    "sort": (lambda x: jnp.sum(jnp.sort(x) ** 2 * jnp.arange(1.0, N + 1)), "sort"),
    "cholesky": (lambda x: jnp.linalg.cholesky(jnp.eye(2) + x[0] ** 2)[1, 1] + x @ x, "cholesky"),
    "fft": (lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x) - 1) ** 2), "fft"),
    "convolution": (lambda x: jnp.sum(jnp.convolve(x, x[:3]) ** 2), "conv_general_dilated"),
    "large matrices": (lambda x: jnp.sum((jnp.outer(x, x) @ jnp.ones((6, 99))) ** 2), "products"),
    "pooling": (lambda x: jnp.sum(pooled(x) ** 2), "reduce_window"),
    "callback": (called_back, "pure_callback"),
}
CASES = IN_KERNEL | {name: loss for name, (loss, _) in REFUSED.items()}


def agree(a, b, **tolerances):
    """Whether two results are of the same run, to rounding."""
    assert a.status.tolist() == b.status.tolist()
    np.testing.assert_array_equal(a.steps, b.steps)
    for ours, theirs in ((a.params, b.params), (a.loss, b.loss), (a.grad_norm, b.grad_norm)):
        np.testing.assert_allclose(ours, theirs, **tolerances)


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_the_same_in_each_engine(name, capfd):
    loss = CASES[name]
    result = gd.minimize(loss, START, gd.Adam(0.05), 60)
    plain = gd.minimize(loss, START, gd.Adam(0.05), 60, engine=gd.engines.Plain())
    agree(result, plain, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(result.history.loss, plain.history.loss, rtol=2e-5, atol=1e-6)
    _check_engine(name, result.engine)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("name", [*IN_KERNEL, "gather", "large matrices"])
def test_runs_are_the_same_in_each_engine(name, capfd):
    starts = START + np.linspace(-0.2, 0.2, 11)[:, None].astype(np.float32)
    made = [
        gd.multistart(CASES[name], starts, gd.Adam(0.05), 40, lanes=8, stop=gd.Stop(gtol=0.05),
                      engine=engine, record=gd.Record())
        for engine in (None, gd.engines.Plain())
    ]  # fmt: skip
    agree(*made, rtol=5e-5, atol=5e-6)
    for a, b in zip(*(jax.tree.leaves(runs.history) for runs in made), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=5e-6)
    # What is refused for many is what is refused for one, and what depends on where each is.
    _check_engine(name, made[0].engine)
    assert not capfd.readouterr().err


def _check_engine(name, engine):
    if name in REFUSED:
        assert engine.startswith("plain(") and REFUSED[name][1] in engine  # noqa: PT018
    else:
        assert engine.startswith("cpu(chunk="), engine


FORMS = {
    "float64": (np.float64, None, "cpu"),
    "complex": (np.complex64, None, "cpu"),
    "bfloat16": (jnp.bfloat16, None, "plain"),
    "integers": (np.float32, np.arange(N), "cpu"),
    "bounds": (np.float32, None, "cpu"),
}


@pytest.mark.parametrize("form", FORMS)
def test_params_of_any_kind_are_the_same_in_each_engine(form):
    dtype, order, expected = FORMS[form]

    def loss(x, order):
        weights = 1.0 if order is None else (order % 3 + 1).astype(jnp.float32)
        return jnp.sum(weights * jnp.abs(x - 0.3) ** 2).astype(jnp.float32)

    bounds = (-0.5, 0.25) if form == "bounds" else None
    start = np.clip(START, -0.5, 0.25) if bounds else START
    with jax.enable_x64(form == "float64"):
        start, rule = jnp.asarray(start, dtype), gd.Adam(0.05)
        one = [
            gd.minimize(loss, start, rule, 50, args=(order,), bounds=bounds, engine=engine)
            for engine in (None, gd.engines.Plain())
        ]
        starts = jnp.stack([start, start / 2, -start / 3])
        if bounds:
            starts = jnp.clip(starts, *bounds)
        many = [
            gd.multistart(loss, starts, rule, 50, args=(order,), bounds=bounds, engine=engine)
            for engine in (None, gd.engines.Plain())
        ]
    for a, b in (one, many):
        assert a.engine.startswith(expected), a.engine
        assert a.params.dtype == dtype
        np.testing.assert_array_equal(a.steps, b.steps)
        ours, theirs = (np.asarray(r.params, np.complex128) for r in (a, b))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_stochastic_loss_draws_the_same_in_each_engine():
    def noisy(x, key):
        return jnp.sum((x - jax.random.normal(key, x.shape)) ** 2)

    key = jax.random.key(3)
    for call in (gd.minimize, gd.multistart):
        start = START if call is gd.minimize else np.stack([START, -START])
        a, b = (
            call(noisy, start, gd.Adam(0.05), 30, key=key, engine=engine)
            for engine in (None, gd.engines.Plain())
        )
        assert a.engine.startswith("cpu")
        agree(a, b, rtol=1e-5)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("stop", [gd.Stop(), gd.Stop(xtol=1e-5)], ids=["all", "xtol"])
def test_what_becomes_infinite_is_found_in_strides(keep, stop):
    """Losses that overflow while their gradients do not, and the reverse, at different steps."""

    def loss(x):
        return jnp.sum(1e36 * x**2) + 1e36 * jnp.sum(jnp.sqrt(jnp.maximum(x + 20, -1)))

    starts = np.array([[1.0], [2.0], [50.0], [-3.0], [39.0], [0.1], [30.0], [7.0], [8.0]])
    starts = starts.astype(np.float32)
    # At the higher rate x grows fivefold at each step, at the lower one it shrinks.
    rule = gd.GradientDescent(np.where(np.arange(9) % 3 == 2, 1e-37, 3e-36).astype(np.float32))
    options = {"keep": keep, "stop": stop, "lanes": 4, "axes": gd.Axes(params=0, rule=0)}
    a, b = (
        gd.minimize_many(loss, starts, rule, 30, engine=engine, **options)
        for engine in (None, gd.engines.Plain())
    )
    assert a.engine.startswith("cpu")
    assert gd.Status.NON_FINITE in a.status.tolist()
    agree(a, b, rtol=1e-5)
    np.testing.assert_array_equal(a.at_step, b.at_step)
    np.testing.assert_array_equal(a.evaluations, b.evaluations)


def test_the_same_call_gives_the_same_bits():
    def loss(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    starts = np.random.default_rng(0).normal(size=(300, N)).astype(np.float32)
    first, second = (
        gd.multistart(functools.partial(loss), starts, gd.Adam(0.01), 100) for _ in range(2)
    )
    assert first.engine == second.engine
    np.testing.assert_array_equal(first.params, second.params)
    np.testing.assert_array_equal(first.loss, second.loss)


def test_an_engine_can_be_chosen():
    for engine, name in ((gd.engines.Cpu(16), "cpu(chunk=16)"), (gd.engines.Plain(), "plain(")):
        result = gd.minimize(lambda x: x**2, 1.0, gd.Adam(0.1), engine=engine)
        assert result.engine.startswith(name)
    with jax.disable_jit(), jax.numpy_dtype_promotion("standard"):
        result = gd.minimize(lambda x: x**2, 1.0, gd.Adam(0.1), 3)
        assert result.engine == "plain(chunk=1024)"
        result = gd.minimize(lambda x: x**2, 1.0, gd.Adam(0.1), 3, engine=gd.engines.Cpu())
    assert result.engine.endswith("it is for one CPU, and this is Python")


def sorting(x):
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.sort(s[1])), (0, x))[1]


def test_xla_still_knows_the_marks():
    """If this fails, a release of JAX has dropped what the engine for CPUs stands on.

    The package still works then, but as slowly as without that engine.
    """
    unmarked = jax.jit(sorting).lower(START).compile()
    assert "sort" in unmarked.as_text()

    def marked(x):
        return kernel.xla_metadata.set_xla_metadata(jax.jit(sorting)(x), **kernel.MARKS)

    with pytest.raises(jax.errors.JaxRuntimeError):  # for what no kernel can have
        jax.jit(marked).lower(START).compile()

    def counted(x):
        return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, 2 * s[1]), (0, x))[1]

    options = gd.engines.Cpu().compiler_options
    lowered = jax.jit(lambda x: kernel.one_kernel(counted, x)).lower(START)
    text = lowered.compile(compiler_options=options).as_text()
    assert 'xla_cpu_small_call="true"' in text
    assert " call(" in text  # and has not been dissolved
    large = np.zeros(5000, np.float32)
    lowered = jax.jit(lambda x: kernel.one_kernel(lambda x: jnp.sum(x * x), x)).lower(large)
    lowered.compile(compiler_options=options)
    with pytest.raises(jax.errors.JaxRuntimeError):  # given to a library without the option
        lowered.compile()


def test_without_marks_the_plain_engine_runs(monkeypatch):
    monkeypatch.setattr(kernel, "xla_metadata", None)
    result = gd.minimize(lambda x: x**2, 1.0, gd.Adam(0.1))
    assert result.engine.endswith("this release of JAX cannot mark a kernel")


def test_what_xla_refuses_falls_back(monkeypatch):
    monkeypatch.setattr(kernel, "ALLOWED", kernel.ALLOWED | {"sort"})

    def sorted_too(x):
        return jnp.sum(x**2) + 1e-9 * lax.stop_gradient(jnp.sum(jnp.sort(x)[:3]))

    result = gd.minimize(sorted_too, START, gd.Adam(0.1), 20)
    assert result.engine.endswith("XLA could not compile it in one kernel")
    assert result.loss < np.sum(START**2)


ALONE = """
import numpy as np, jax.numpy as jnp, jaxgd as gd
def unused(x, a, b):
    return jnp.sum(x ** 2) + 0 * b
print(gd.minimize(unused, np.ones(70), gd.Adam(0.1), args=(np.ones(99), 2.0)).engine)
starts = np.ones((9, 3))
axes = gd.Axes(params=0, args=(0, None))
runs = gd.minimize_many(unused, starts, gd.Adam(0.1), 9, args=(np.ones((9, 99)), 2.0), axes=axes)
print(runs.engine)
"""


def test_values_that_nothing_uses_do_not_abort_the_compiler():
    """In a process of its own: it would take this one with it."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("(")[0] for line in done.stdout.splitlines()] == ["cpu", "cpu"]
