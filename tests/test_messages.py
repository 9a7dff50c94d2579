"""Losses that JAX cannot trace, errors that are the user's own, and odd input that is welcome."""

import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_bad_input import PAIR, TWO, X, descend, minimize, refused

import jaxgd as gd

LIST = [1.0, 2.0]


def with_if(x):
    if x[0] > 0:
        return x[0]
    return -x[0]


def filling(x):
    out = np.zeros(2)
    out[0] = x[0]
    return jnp.sum(out)


# The loss, by how many lines the one that fails is below its first, and what is said.
UNTRACEABLE = {
    "if": (with_if, 1, "jnp.where"),
    "filling a NumPy array": (filling, 2, "x.at[i].set(value)"),
    "float": (lambda x: jnp.sum(x) * float(x[0]), 0, "float()", "jax.numpy"),
    "int": (lambda x: x[0] * int(x[0]), 0, "jax.numpy"),
    "item": (lambda x: 1.0 * x[0].item(), 0, "jax.numpy"),
    "max": (lambda x: max(x[0], x[1]), 0, "jnp.maximum"),
    "np.sin": (lambda x: jnp.sum(np.sin(x)), 0, "use the one of jax.numpy"),
    "np.asarray": (lambda x: jnp.sum(np.asarray(x)), 0, "use the one of jax.numpy"),
    "NumPy's own code": (lambda x: np.linalg.norm(x) + 1, 0, "use the one of jax.numpy"),
    "math.sin": (lambda x: math.sin(x[0]), 0, "jax.numpy"),
    "range": (lambda x: x[0] * sum(range(x[0].astype(int))), 0, "lax.fori_loop"),
    "list index": (lambda x: LIST[x[0].astype(int)] * x[0], 0, "jnp indexing"),
    "boolean index": (lambda x: jnp.sum(x[x > 0]), 0, "boolean index", "three arguments"),
    "size": (lambda x: jnp.sum(jnp.arange(x[0])), 0, "shapes that are known beforehand"),
    "slice": (lambda x: jnp.sum(x[: x[0].astype(int)]), 0, "where its number is needed"),
    "reshape": (lambda x: jnp.sum(x.reshape(x[0].astype(int), -1)), 0, "its number is needed"),
    "dictionary": (lambda x: {1.0: x[0]}[x[0]], 0, "unhashable"),
    "format": (lambda x: x[0] + len(f"{x[0]:.3f}"), 0, "format string"),
    "inside jit": (jax.jit(lambda x: x[0] if x[0] > 0 else x[1]), 0, "jnp.where"),
}


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize("way", UNTRACEABLE)
def test_a_loss_that_cannot_be_traced_is_told_the_line_and_what_to_do(entry, way):
    f, offset, *advice = UNTRACEABLE[way]
    line = getattr(f, "__wrapped__", f).__code__.co_firstlineno + offset
    place = f"loss must be traceable by JAX, but is not at {__file__}, line {line}: "
    refused(lambda: entry(loss=f), place, *advice, error=TypeError)


class Mine(Exception):
    pass


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize("error", [Mine("m"), TypeError("t"), ValueError("a Tracer"), KeyError(1)])
def test_an_exception_of_the_loss_itself_is_left_alone(entry, error):
    def raising(x):
        del x
        raise error

    with pytest.raises(type(error)) as caught:
        entry(loss=raising)
    assert caught.value is error
    assert caught.value.__cause__ is None


def plus(f):
    @functools.wraps(f)
    def inner(x):
        return f(x, 1.0)

    return inner


WELCOME = {
    "printing": {"loss": lambda x: (f"{x} {x[0]!r}", jnp.sum(x))[1]},
    "no use of params": {"loss": lambda x: 3.0},
    "a NumPy float": {"loss": lambda x: np.float32(3.0)},
    "rounding": {"loss": lambda x: jnp.sum(jnp.round(x))},
    "integers inside": {"loss": lambda x: jnp.sum(x.astype(int)).astype(float)},
    "another signature inside": {"loss": plus(lambda x, y: jnp.sum(x) * y)},
    "steps 1e1": {"max_steps": 1e1},
    "steps of NumPy": {"max_steps": np.int64(5)},
    "steps of JAX": {"max_steps": jnp.int32(5)},
    "no steps": {"max_steps": 0},
    "strings in args": {"loss": lambda x, name: jnp.sum(x), "args": ("name",)},
    "open bounds": {"bounds": (None, None)},
    "bounds where params have None": {"params": {"a": X, "b": None}, "bounds": (None, 2),
                                      "loss": lambda p: jnp.sum(p["a"])},
    "bounds beyond float32": {"bounds": (-1e300, 1e300)},
    "bounds like params": {"params": PAIR, "bounds": ({"a": TWO, "b": None, "n": None}, 2),
                           "loss": lambda p: jnp.sum(p["a"]) + jnp.asarray(p["b"], jnp.float32)},
    "a raw key": {"loss": lambda x, key: jnp.sum(x), "key": jax.random.PRNGKey(0)},
    "aux of anything that JAX has": {"has_aux": True, "loss": lambda x: (
        jnp.sum(x), {"x": x, "n": 3, "none": None, "key": jax.random.key(0), "np": np.ones(2)})},
}  # fmt: skip


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize("given", WELCOME.values(), ids=WELCOME)
def test_odd_input_is_welcome(entry, given):
    assert np.isfinite(entry(**given).loss)


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize("way", ["no use of params", "rounding", "integers inside"])
def test_where_the_loss_is_flat_nothing_moves(entry, way):
    result = entry(**WELCOME[way])
    assert result.params.tolist() == X.tolist()
    assert result.grad_norm == 0


def test_without_tqdm_progress_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"progress=True needs tqdm: pip install tqdm"):
        minimize(progress=True)


def test_a_state_of_another_run_is_refused():
    state = minimize(max_steps=3).state
    with pytest.raises(ValueError, match="expected at least the state's 3, got 2"):
        minimize(state=state, max_steps=2)
    with pytest.raises(ValueError, match="state belongs to another run"):
        minimize(state=state, max_steps=9, params=jnp.ones(3))
    with pytest.raises(ValueError, match="state belongs to another run"):
        minimize(state=state, max_steps=9, rule=gd.Adam(0.1))


class Foreign:
    def __init__(self, rate):
        self.rate = rate

    def init(self, params):
        del params
        return ()

    def update(self, grads, state, params):
        del params
        return -self.rate * grads, state


def closing_over(t):
    return minimize(rule=gd.Adam(lambda step: t)).loss


def rate_if(step):
    return 0.1 if step > 3 else 0.2


ELSEWHERE = {
    "tracer in a schedule": lambda: jax.jit(closing_over)(0.1),
    "tracer in a rule": lambda: jax.jit(lambda t: minimize(rule=Foreign(t)).loss)(0.1),
    "tracer as time_limit": lambda: jax.jit(lambda t: minimize(time_limit=t).loss)(0.1),
    "schedule with if": lambda: minimize(rule=gd.Adam(rate_if)),
    "schedule gives a vector": lambda: descend(rule=gd.Adam(lambda step: jnp.ones(2))),
    "schedule gives None": lambda: minimize(rule=gd.Adam(lambda step: None)),
    "class in a Join": lambda: minimize(rule=gd.Adam(gd.Join([gd.Constant, 1.0], [5]))),
    "negative rate in a Join": lambda: minimize(rule=gd.Adam(gd.Join([-1.0, 1.0], [5]))),
    "record of descend": lambda: descend(record=3),
    "time_limit np.bool_": lambda: minimize(time_limit=np.bool_(True)),
    "time_limit complex": lambda: minimize(time_limit=1j),
    "keep an array": lambda: minimize(keep=np.array([1, 2])),
    "chunk a list": lambda: minimize(engine=gd.engines.Plain(chunk=[64])),
    "throw a string": lambda: minimize(throw="no"),
}
WORDS = {"tracer": "gd.descend", "schedule": "schedule", "class": "schedules[0]",
         "negative": "schedules[0]", "record": "record", "time_limit": "time_limit",
         "keep": "keep must", "chunk": "engine.chunk", "throw": "throw must"}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_is_seen_only_from_within_is_refused(what):
    refused(ELSEWHERE[what], WORDS[what.split()[0]])


@gd.pytree
class Faulty:
    """A rule whose update returns what it was given."""

    answer: object = gd.static()
    begin: object = gd.static(default=())

    def init(self, params):
        return self.begin

    def update(self, grads, state, params=None):
        return self.answer(grads, state)


FAULTY = {
    "only updates": (lambda g, s: g, (), "must return (updates, state), got an array"),
    "a list": (lambda g, s: [g, s], (), "must return (updates, state), got a list of 2"),
    "a scalar": (lambda g, s: (g[0], s), (), "form of the updates", "(2,)"),
    "a number": (lambda g, s: (0.1, s), (), "form of the updates", "got 0.1"),
    "updates in a list": (lambda g, s: ([g], s), (), "form of the updates", "got a list of 1"),
    "no state": (lambda g, s: (g, None), {"m": 1.0}, "form of the state", "got None"),
    "an int state": (lambda g, s: (g, {"m": jnp.int32(1)}), {"m": 1.0}, "['m']", "an array of int"),
    "a wide state": (lambda g, s: (g, jnp.stack([s, s])), 1.0, "form of the state", "shape (2,)"),
}


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize("way", FAULTY)
def test_a_rule_that_breaks_the_protocol_is_told_so(entry, way):
    answer, begin, *words = FAULTY[way]
    message = refused(lambda: entry(rule=Faulty(answer, begin)), *words, error=TypeError)
    assert message.startswith("rule: update of Faulty must")


class Config:
    __hash__ = None

    def __init__(self, target):
        self.target = target


def test_an_argument_that_could_change_unseen_is_refused():
    loss = lambda x, c: jnp.sum((x - c.target) ** 2)
    for entry in (minimize, descend):
        words = "args[0]['c'] is a Config", "hashable"
        refused(lambda entry=entry: entry(loss=loss, args=({"c": Config(1.0)},)), *words)


def test_a_python_bool_is_static_in_args_and_rules():
    @gd.pytree
    class Signed:
        flip: bool = False

        def init(self, params):
            return ()

        def update(self, grads, state, params=None):
            return jax.tree.map(lambda g: g if self.flip else -0.1 * g, grads), state

    def loss(x, squared):
        return jnp.sum(x**2) if squared else jnp.sum(x)

    for squared, expected in ((True, 0.8), (False, 0.9)):
        for entry in (minimize, descend):
            result = entry(loss=loss, rule=Signed(), args=(squared,), max_steps=1, keep="last")
            np.testing.assert_allclose(result.params, expected, rtol=1e-6)
