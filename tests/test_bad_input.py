"""Bad input: refused before anything is compiled, in words that name it and say what to do."""

import functools
import inspect
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bad_cases import refused, table

import jaxgd as gd


class Tensor:
    """As of another library, whose dtypes NumPy does not know."""

    dtype = "torch.float32"


pytestmark = pytest.mark.float32

NAN, INF = float("nan"), float("inf")
X, RULE = jnp.ones(2, jnp.float32), gd.GradientDescent(0.1)
PAIR = {"a": X, "b": 0.5, "n": jnp.int32(3)}
TWO = np.array([0.1, 0.2])
calls = []


def loss(params, *args, **key):
    del args, key
    calls.append(1)
    leaves = [leaf for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)]
    return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in leaves)


def minimize(*, loss=loss, params=X, rule=RULE, max_steps=3, **given):
    return gd.minimize(loss, params, rule, max_steps, **given)


def descend(*, loss=loss, params=X, rule=RULE, max_steps=3, **given):
    return gd.descend(loss, params, rule, max_steps, **given)


# What both entries take. Each row: a name, the arguments, the words that the message must have.
ARGUMENTS = [
    ("loss not callable", {"loss": 3}, "loss must be a function", "got 3"),
    ("loss None", {"loss": None}, "loss must be a function", "got None"),
    ("loss a class", {"loss": dict}, "loss must be a function", "the class dict"),
    ("loss and params swapped", {"loss": X, "params": loss}, "loss must be", "an array of float32"),
    ("params empty", {"params": {}}, "params has no leaf to optimise", "no leaf at all"),
    ("params None", {"params": None}, "params has no leaf to optimise", "no leaf at all"),
    ("params of ints", {"params": jnp.int32([0, 1])}, "params has no leaf", "an array of int32"),
    ("params a list of strings", {"params": ["a", "b"]}, "params has no leaf", "'a'; 'b'"),
    ("params of objects", {"params": np.array([1.0], object)}, "params has no leaf", "object"),
    ("params with an int", {"params": {"a": [1.0, {"b": 7}]}}, "params['a'][1]['b'] is the Python",
     "int 7", "write 7.0 to optimise it, jnp.int32(7) to hold it fixed"),
    ("params a Fraction", {"params": [1.0, Fraction(1, 2)]}, "params[1]", "Fraction(1, 2)"),
    ("params masked", {"params": {"a": np.ma.masked_array([1.0], [True])}}, "params['a']",
     "masked array", ".filled"),
    ("params of another library", {"params": [Tensor()]}, "params[0] must be a NumPy or JAX array",
     "got a Tensor of torch.float32"),
    ("params a shape", {"params": jax.ShapeDtypeStruct((2,), "float32")}, "ShapeDtypeStruct"),
    ("args of another library", {"args": (1.0, Tensor())}, "args[1] is a Tensor"),
    ("params a long double", {"params": {"a": np.ones(1, np.longdouble)}}, "params['a']", "dtype="),
    ("bounds not a pair", {"bounds": 3}, "bounds must be a pair (lower, upper)", "got 3"),
    ("bounds a triple", {"bounds": (0, 1, 2)}, "bounds must be a pair", "a tuple of 3"),
    ("bounds an array", {"bounds": np.zeros(2)}, "bounds must be a pair", "an array of float64"),
    ("bounds reversed", {"bounds": (2, 0)}, "bounds of params must have lower <= upper, got 2.0"),
    ("bounds of an entry reversed", {"bounds": (np.array([0.0, 2.0]), 1)},
     "bounds of params[1] must have lower <= upper, got 2.0 and 1.0"),
    ("bounds of a leaf reversed",
     {"params": PAIR, "bounds": ({"a": 0, "b": 2, "n": None}, {"a": 2, "b": 0.25, "n": None})},
     "bounds of params['b'] must have lower <= upper", "2.0 and 0.25"),
    ("bounds of another structure", {"params": PAIR, "bounds": ({"a": 0}, 2)},
     "bounds[0]", "{'a': *}", "{'a': *, 'b': *, 'n': *}"),
    ("bounds as lists", {"bounds": ([0, 0], [2, 2])}, "bounds[0]", "one array, not a list"),
    ("bounds NaN", {"bounds": (0, np.array([1, NAN]))}, "bounds[1] must not be NaN", "nan"),
    ("bounds a string", {"bounds": ("a", 1)}, "bounds[0] must be a real number", "got 'a'"),
    ("bounds a truth value", {"bounds": (np.bool_(False), 1)}, "bounds[0]", "got np.False_"),
    ("bounds complex", {"bounds": (0, 2j)}, "bounds[1] must be a real number", "2j"),
    ("bounds of another shape", {"bounds": (np.zeros(3), 2)}, "bounds[0]", "(2,)", "(3,)"),
    ("bounds exclude the start", {"params": PAIR, "bounds": ({"a": 0, "b": 1, "n": None}, None)},
     "params['b'] starts outside its bounds: 0.5 is not in [1.0, inf]"),
    ("bounds exclude one of two leaves that are one object",
     {"params": {"a": X, "b": X}, "bounds": (0, {"a": 2, "b": 0.25})},
     "params['b'][0] starts outside its bounds: 1.0 is not in [0.0, 0.25]"),
    ("bounds of complex params", {"params": {"z": jnp.complex64(1)}, "bounds": (0, 1)},
     "bounds[0]['z']", "complex params have no order"),
    *((f"max_steps {steps!r}", {"max_steps": steps}, "steps must be a whole number >= 0", "got")
      for steps in (-1, 1.5, True, np.True_, "3", np.str_("3"), np.array([3]), NAN, INF, None, 3j)),
    *((f"{name} {value!r}", {"stop": gd.Stop(**{name: value})},
       f"stop.{name} must be a number >= 0", "got")
      for name in ("ftol", "frtol", "xtol", "gtol")
      for value in (-1, NAN, "a", np.zeros(2), True, np.True_, 1j, gd.Constant(1.0))),
    ("target NaN", {"stop": gd.Stop(target=NAN)}, "stop.target must be a number", "nan"),
    *((f"patience {value!r}", {"stop": gd.Stop(gtol=1, patience=value)},
       "stop.patience", "whole number >= 1", f"got {value}") for value in (0, 1.5, None, INF)),
    *((f"stop {stop!r}", {"stop": stop}, "stop must be a gd.Stop", f"got {stop!r}")
      for stop in (gd.Stop, 3, {"gtol": 1}, False)),
    ("rule a class", {"rule": gd.Adam}, "rule must be an instance", "write Adam(...)"),
    *((f"rule {rule!r}", {"rule": rule}, "rule must be an update rule", f"got {rule!r}")
      for rule in (3, None, "adam", gd.Constant(0.1), [gd.Adam(0.1)], loss)),
    ("rule only a transform", {"rule": gd.ClipByValue(1.0)}, "rule must", "ClipByValue only",
     "gd.chain(ClipByValue(...), gd.Adam(1e-3))"),
    *((f"{field} {value!r}", {"rule": gd.Adam(**{"learning_rate": 0.1, field: value})},
       f"rule.{field} must be", f"got {value!r}")
      for field, value in (
          ("b1", 1.0), ("b1", -0.1), ("b1", None), ("b1", gd.Constant(0.1)), ("b2", "x"),
          ("eps", -1), ("eps", 1j), ("learning_rate", -1), ("learning_rate", NAN),
          ("learning_rate", "0.1"), ("learning_rate", np.str_("0.1")), ("learning_rate", None),
          ("learning_rate", True), ("learning_rate", np.True_), ("learning_rate", [0.1, 0.2]),
          ("learning_rate", gd.Adam(0.1)), ("learning_rate", gd.Stop()), ("amsgrad", "yes"),
          ("amsgrad", 1), ("learning_rate", 10**400))),
    ("rate an array", {"rule": gd.Adam(TWO)}, "rule.learning_rate", "shape (2,)", "sweep"),
    ("nesterov a string", {"rule": gd.Momentum(0.1, nesterov="no")}, "rule.nesterov", "'no'"),
    ("rate a class", {"rule": gd.Adam(gd.CosineDecay)}, "rule.learning_rate",
     "the class CosineDecay: write CosineDecay(...)"),
    ("chained number", {"rule": gd.chain(gd.ClipByGlobalNorm(-1.0), RULE)},
     "rule.transforms[0].max_norm must be a number > 0", "got -1.0"),
    ("args not a tuple", {"args": 3}, "args must be a tuple", "got 3", "args=(value,)"),
    ("args a list", {"args": [X]}, "args must be a tuple", "a list of 1"),
    *((f"key {key!r}"[:24], {"key": key}, "key must be one JAX random key", "jax.random.key(0)")
      for key in (3, "a", True, jnp.ones(2), np.zeros(3, np.uint32), jax.random.key,
                  jax.random.split(jax.random.key(0)), np.random.default_rng(0))),
    *((f"keep {keep!r}", {"keep": keep}, 'keep must be "best", "last" or None', f"got {keep!r}")
      for keep in ("first", 3, True, ["best"])),
    ("keep best of noise", {"keep": "best", "key": jax.random.key(0)}, "keep", 'keep="last"'),
    ("ftol of noise", {"stop": gd.Stop(ftol=1), "key": jax.random.key(0)}, "stop.ftol", "gtol"),
    ("record every 0", {"record": gd.Record(every=0)}, "record.every must be", "got 0"),
    ("record loss 1", {"record": gd.Record(loss=1)}, "record.loss must be True or False, got 1"),
    *((f"has_aux {value!r}", {"has_aux": value}, "has_aux must be True or False", f"got {value!r}")
      for value in (1, "yes", None, np.True_)),
]  # fmt: skip

SCHEDULES = [
    ("steps 0", gd.CosineDecay(0.1, 0), ".steps must be a whole number > 0, got 0"),
    ("steps -1", gd.PolynomialDecay(0.1, 0.0, -1), ".steps must be a whole number > 0, got -1"),
    ("period 1.5", gd.CosineRestarts(0.1, 1.5), ".period must be a whole number > 0, got 1.5"),
    ("every beyond int32", gd.ExponentialDecay(0.1, 0.9, every=1e10), ".every must be below 2**31"),
    ("staircase", gd.ExponentialDecay(0.1, 0.9, staircase="no"), ".staircase", "'no'"),
    ("negative rate", gd.Warmup(gd.Constant(-1.0), 5), ".schedule.value", "got -1.0"),
    ("schedule a rule", gd.Warmup(gd.Adam(0.1), 5), ".schedule must be a number >= 0", "got Adam"),
    ("boundaries fall", gd.PiecewiseConstant([1, 2, 3], [5, 3]), ".boundaries must rise", "[5, 3]"),
    ("boundaries too many", gd.PiecewiseConstant([1, 2], [5, 6]),
     ".values must have one entry more", "got 2 and 2"),
    ("boundaries fractional", gd.PiecewiseConstant([1, 2], [0.5]), ".boundaries must be a list"),
    ("values strings", gd.PiecewiseConstant(["a", 1], [5]), ".values must be a list", "['a', 1]"),
    ("values truths", gd.PiecewiseConstant([True, 1], [5]), ".values must be a list", "[True, 1]"),
    ("values ragged", gd.PiecewiseConstant([TWO, 1], [5]), ".values must be a list", "array"),
    ("values a number", gd.PiecewiseConstant(0.1, [5]), ".values must be a list", "shape ()"),
    ("schedules no list", gd.Join(gd.Constant(1.0), [5]), ".schedules must be a list", "Constant"),
    ("schedules too few", gd.Join([gd.Constant(1.0)], [5]), ".schedules", "got 1 and 1"),
    ("inner schedule", gd.Join([gd.CosineDecay(1, 0), 1], [5]), ".schedules[0].steps", "got 0"),
]  # fmt: skip

# What only the host's entry takes.
HOST = [
    *((f"record {value!r}", {"record": value}, "record must be a gd.Record or None")
      for value in (3, True, gd.Record)),
    *((f"engine {value!r}", {"engine": value}, "engine must be one of gd.engines")
      for value in ("plain", gd.engines.Plain)),
    *((f"time_limit {value!r}", {"time_limit": value}, "time_limit must be a number of seconds > 0")
      for value in (0, -1, "3", True, NAN, TWO)),
    ("callback", {"callback": 3}, "callback must be a function", "got 3"),
    ("state", {"state": 3}, "state must be the state of an earlier result", "got 3"),
]  # fmt: skip


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize(("given", "words"), table(ARGUMENTS))
def test_bad_arguments_are_refused_before_the_loss_is_called(entry, given, words):
    calls.clear()
    refused(lambda: entry(**given), *words)
    assert not calls


@pytest.mark.parametrize(("schedule", "words"), table(SCHEDULES))
def test_bad_schedules_are_refused(schedule, words):
    refused(lambda: minimize(rule=gd.Adam(schedule)), "rule.learning_rate", *words)


@pytest.mark.parametrize(("given", "words"), table(HOST))
def test_bad_host_options_are_refused(given, words):
    calls.clear()
    refused(lambda: minimize(**given), *words)
    assert not calls


@pytest.mark.parametrize("chunk", [0, -1, 1.5, "a", True])
def test_bad_chunks_are_refused(chunk):
    refused(
        lambda: minimize(engine=gd.engines.Plain(chunk=chunk)),
        "engine.chunk must be a whole number >= 1",
        f"got {chunk!r}",
    )


@pytest.mark.parametrize(("parts", "word"), [
    ((), "got nothing"),
    ((RULE, gd.ClipByValue(1.0)), "GradientDescent comes before the last place"),
    ((gd.ClipByValue(1.0),), "ClipByValue comes last, where a rule must be"),
    ((gd.ClipByValue, RULE), "the class ClipByValue"),
    ((gd.ClipByValue(1.0), gd.Adam), "the class Adam"),
    ((RULE, RULE), "GradientDescent comes before the last place"),
    ((3,), "instances with init and update: 3"),
])  # fmt: skip
def test_bad_chains_are_refused(parts, word):
    refused(lambda: gd.chain(*parts), "chain takes", word)


RETURNS = [
    ("a vector", lambda x: x, {}, "an array of float32 and shape (2,)", "its sum or mean"),
    ("shape (1,)", lambda x: x[:1], {}, "shape (1,)", "its sum or mean"),
    ("an int", lambda x: 3, {}, "got 3", "astype(float)"),
    ("an integer", lambda x: x[0].astype(int), {}, "an array of int32", "astype(float)"),
    ("a bool", lambda x: x[0] > 0, {}, "an array of bool", "astype(float)"),
    ("a complex number", lambda x: jax.lax.complex(x[0], x[1]), {}, "complex64", "real part or"),
    ("None", lambda x: None, {}, "got None", "return statement"),
    ("a string", lambda x: "abc", {}, "got 'abc'"),
    ("a Decimal", lambda x: Decimal(1), {}, "got Decimal"),
    ("a list", lambda x: [x[0]], {}, "a list of 1"),
    ("a pair", lambda x: (x[0], 1), {}, "a tuple of 2", "give has_aux=True"),
    ("no pair", lambda x: x[0], {"has_aux": True}, "has_aux=True", "(loss, aux)", "shape ()"),
    ("a list of two", lambda x: [x[0], x], {"has_aux": True}, "(loss, aux)", "a list of 2"),
    ("a vector and aux", lambda x: (x, x), {"has_aux": True}, "scalar float", "shape (2,)"),
    ("aux of text", lambda x: (x[0], {"a": "s"}), {"has_aux": True}, "aux", "got 's' at aux['a']"),
]  # fmt: skip


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize(("row", "words"), [
    pytest.param((f, given), words, id=name) for name, f, given, *words in RETURNS])  # fmt: skip
def test_what_is_no_scalar_loss_is_refused(entry, row, words):
    message = refused(lambda: entry(loss=row[0], **row[1]), *words, error=TypeError)
    assert "loss" in message


@pytest.mark.parametrize("entry", [minimize, descend])
@pytest.mark.parametrize(("f", "given", "words"), [
    (lambda: 1.0, {}, ["loss(params)", "0 positional arguments but 1"]),
    (lambda x, y: 1.0, {}, ["loss(params)", "missing 1 required positional argument: 'y'"]),
    (lambda x: 1.0, {"args": (1, 2)}, ["loss(params, args[0], args[1])", "3 were given"]),
    (lambda x: 1.0, {"key": jax.random.key(0)}, ["loss(params, key=key)", "unexpected keyword"]),
    (lambda x, *, key: 1.0, {}, ["loss(params)", "argument: 'key'"]),
])  # fmt: skip
def test_a_loss_of_the_wrong_arity_is_told_how_it_is_called(entry, f, given, words):
    refused(lambda: entry(loss=f, **given), "loss is called as", *words, error=TypeError)


TRACED = {
    "params": lambda t: minimize(params=t),
    "args": lambda t: minimize(args=(t,)),
    "rule": lambda t: minimize(rule=gd.Adam(t[0])),
    "schedule": lambda t: minimize(rule=gd.Adam(gd.Constant(t[0]))),
    "bounds": lambda t: minimize(bounds=(-t, None)),
    "stop": lambda t: minimize(stop=gd.Stop(gtol=t[0])),
    "closure": lambda t: minimize(loss=lambda x: jnp.sum((x - t) ** 2)),
    "partial": lambda t: minimize(loss=functools.partial(lambda t, x: jnp.sum(x - t), t)),
    "held function": lambda t: minimize(loss=lambda x, f: jnp.sum(x - f()), args=(lambda: t,)),
}
INSIDE = {
    "jit": lambda f: jax.jit(f)(X),
    "grad": lambda f: jax.grad(f)(X),
    "vmap": lambda f: jax.vmap(f)(jnp.ones((3, 2))),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0, jnp.ones((3, 2))),
}


@pytest.mark.parametrize("through", TRACED)
@pytest.mark.parametrize("inside", INSIDE)
def test_tracers_are_told_to_use_descend(inside, through):
    words = "this is a host function", "use gd.descend there"
    refused(lambda: INSIDE[inside](lambda t: TRACED[through](t).loss), *words, error=ValueError)


@pytest.mark.parametrize("entry", [minimize, descend])
def test_a_traced_number_of_steps_is_refused(entry):
    words = "steps must be a whole number", "not traced"
    refused(lambda: jax.jit(lambda n: entry(max_steps=n).loss)(3), *words, error=TypeError)


def test_the_signature_names_what_is_unknown():
    assert "keep" in inspect.signature(gd.minimize).parameters
    refused(lambda: minimize(steps=3), "steps")
    refused(lambda: gd.Adam(lr=0.1), "lr")
