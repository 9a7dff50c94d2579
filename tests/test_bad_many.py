"""Bad input of many runs, grids, races, wrappers and metrics: one line that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bad_cases import refused, table

import jaxgd as gd

NAN = float("nan")
X, S, KEY = np.ones(2), np.ones((4, 2)), jax.random.key(0)
RULE, WIDE = gd.GradientDescent(0.1), np.ones((30, 30))
CYCLE = [1.0]
CYCLE.append(CYCLE)


def loss(params, *args, **key):
    del args, key
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def many(params=S, rule=RULE, **given):
    return gd.minimize_many(loss, params, rule, 3, **given)


def spoken(**given):
    """A record with metrics."""
    fn = given.pop("fn", lambda x: {"size": jnp.sum(x)})
    return gd.Record(evaluate=gd.Evaluate(fn, **given))


MANY = [
    ("starts None", {"params": None}, "params must be starts", "got nothing"),
    ("starts text", {"params": "far"}, "params must be starts", "got 'far'"),
    ("starts a function", {"params": loss}, "params must be starts", "got function"),
    ("starts of objects", {"params": np.array([X, "a"], object)}, "params must be", "of object"),
    ("starts of text", {"params": np.array(["a", "b"])}, "params must be starts", "<U1"),
    ("starts of ints", {"params": np.ones((4, 2), int)}, "params has no leaf", "of int"),
    ("starts nested lists", {"params": [[1.0, 2.0]]}, "params[0][0]", "leading axis", "got 1.0"),
    ("starts a dict of one scalar", {"params": {"a": S, "b": 1.0}}, "params['b']", "got 1.0"),
    ("axes a dict", {"axes": {"params": 0}}, "axes must be a gd.Axes", "got dict"),
    ("axes a class", {"axes": gd.Axes}, "axes must be a gd.Axes", "the class Axes"),
    ("axes None", {"axes": None}, "axes must be a gd.Axes", "got None"),
    ("axes True", {"axes": gd.Axes(True)}, "axes.params must be 0 or None", "got True"),
    ("axes an array", {"axes": gd.Axes(WIDE)}, "axes.params must be 0 or None", "(30, 30)"),
    ("axes text", {"axes": gd.Axes(rule="b1")}, "axes.rule.learning_rate", "0 or None", "'b1'"),
    ("axes of more args", {"axes": gd.Axes(args=(0, 0)), "args": (S,)}, "axes.args", "prefix"),
    ("axes of one key", {"axes": gd.Axes(key=0), "key": KEY}, "key must be an array", "key<fry>"),
    ("axes of text", {"axes": gd.Axes(args=0), "args": (X[0], S)}, "args[0]", "leading axis"),
    ("lanes text", {"lanes": "4"}, "lanes must be a whole number >= 1", "got '4'"),
    ("lanes huge", {"lanes": 2**40}, "lanes must be below 2**31", "1099511627776"),
    ("lanes an array", {"lanes": WIDE}, "lanes must be a whole number", "(30, 30)"),
    ("devices a number", {"devices": 1}, "devices must be a list of JAX devices", "got 1"),
    ("devices one", {"devices": jax.devices()[0]}, "devices must be a list", "got Device"),
    ("devices arrays", {"devices": [WIDE]}, "devices must be JAX devices", "(30, 30)"),
    ("record True", {"record": True}, "record must be a gd.Record or None", "got True"),
    ("record an array", {"record": WIDE}, "record must be a gd.Record or None", "(30, 30)"),
    ("keep an array", {"keep": WIDE}, 'keep must be "best"', "(30, 30)"),
    ("keep very long", {"keep": "x" * 9999}, 'keep must be "best"', "xxx…"),
    ("engine text", {"engine": "cpu"}, "engine must be one of gd.engines", "got 'cpu'"),
    ("engine a class", {"engine": gd.engines.Cpu}, "engine must be one of gd.engines", "Cpu"),
    ("engine chunk", {"engine": gd.engines.Cpu(chunk=0)}, "engine.chunk", "got 0"),
    ("progress text", {"progress": "yes"}, "progress must be True or False", "got 'yes'"),
    ("progress an array", {"progress": WIDE}, "progress must be True or False", "(30, 30)"),
    ("throw 1", {"throw": 1}, "throw must be True or False", "got 1"),
    ("callback 3", {"callback": 3}, "callback must be a function", "got 3"),
    ("time_limit 0", {"time_limit": 0}, "time_limit must be a number of seconds > 0", "got 0"),
    ("time_limit an array", {"time_limit": WIDE}, "time_limit must be", "(30, 30)"),
    ("stop 1", {"stop": 1}, "stop must be a gd.Stop", "got 1"),
    ("args 3", {"args": 3}, "args must be a tuple", "got 3"),
    ("has_aux 1", {"has_aux": 1}, "has_aux must be True or False", "got 1"),
    ("key 3", {"key": 3}, "key must be one JAX random key", "got 3"),
    ("epochs alone", {"epochs": 2}, "epochs are passes over data"),
    ("data an array", {"data": S}, "data must be a gd.Batches", "(4, 2)"),
    ("state", {"state": 3}, "unexpected keyword argument 'state'"),
    ("prune True", {"prune": True}, "prune must be a gd.Halving or None", "got True"),
    ("prune a class", {"prune": gd.Halving}, "prune must be a gd.Halving", "the class Halving"),
    ("prune text", {"prune": gd.Halving("half")}, "prune.keep must be a share", "got 'half'"),
    ("prune an array", {"prune": gd.Halving(WIDE)}, "prune.keep must be a share", "(30, 30)"),
    ("prune NaN", {"prune": gd.Halving(NAN)}, "prune.keep must be a share", "got nan"),
    ("prune every text", {"prune": gd.Halving(0.5, "9")}, "prune.every must be", "got '9'"),
    ("enough a class", {"enough": gd.Rediscovered}, "enough must be a gd.Rediscovered", "class"),
    ("enough text", {"enough": gd.Rediscovered("3")}, "enough.times must be", "got '3'"),
    ("rule a list", {"rule": [RULE]}, "rule must be an update rule", "[GradientDescent("),
    ("rule a wide array", {"rule": WIDE}, "rule must be an update rule", "(30, 30)"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), table(MANY))
def test_bad_input_of_many_runs_is_refused(given, words):
    refused(lambda: many(**given), *words)


GRIDS = [
    ("nothing", lambda: gd.grid(gd.Adam), "grid must be given a list of values"),
    ("text", lambda: gd.grid(gd.Adam, learning_rate="ab"), "learning_rate is 'ab'"),
    ("a set", lambda: gd.grid(gd.Adam, learning_rate={0.1}), "learning_rate is set"),
    ("a dict", lambda: gd.grid(gd.Adam, learning_rate={"a": 1}), "learning_rate is dict"),
    ("a table", lambda: gd.grid(gd.Adam, learning_rate=WIDE), "learning_rate is", "(30, 30)"),
    ("None", lambda: gd.grid(None, b1=[1]), "grid must be given a rule's class", "got None"),
    ("an array", lambda: gd.grid(WIDE, b1=[1]), "grid must be given a rule's class", "(30, 30)"),
    ("unknown", lambda: gd.grid(gd.Adam, lr=[0.1]), "unexpected keyword argument 'lr'"),
    ("lacking", lambda: gd.grid(gd.Adam, b1=[0.9]), "argument: 'learning_rate'"),
    ("NaN", lambda: gd.grid(gd.Adam, learning_rate=[0.1, NAN]), "rule.learning_rate", "got nan"),
    ("words", lambda: gd.grid(gd.Adam, learning_rate=["a"]), "rule.learning_rate", "got 'a'"),
    ("no rule", lambda: gd.grid(lambda rate: 3, rate=[1]), "rule must be an update rule", "got 3"),
    ("a transform", lambda: gd.grid(gd.ClipByValue, max_value=[1]), "ClipByValue only"),
    ("endless", lambda: gd.grid(gd.Adam, learning_rate=range(1, 10**6), b1=range(10**6)),
     "fewer than 2**31 rules", "learning_rate, b1 make 999999000000"),
    ("of a class", lambda: gd.product(gd.Adam, params=S), "rule must be", "the class Adam"),
    ("of nothing", lambda: gd.product(None), "rule must be an update rule", "got None"),
    ("scalar starts", lambda: gd.sweep(loss, None, gd.product(RULE, params=1.0), 3),
     "params must be an array with a leading axis", "got 1.0"),
    ("scalar args", lambda: gd.sweep(loss, X, gd.product(RULE, args=(3,)), 3), "args[0]", "got 3"),
    ("a number as keys", lambda: gd.sweep(loss, X, gd.product(RULE, key=3), 3), "key", "got 3"),
    ("sweep of a list", lambda: gd.sweep(loss, X, [RULE], 3), "grid must be made by gd.grid"),
    ("sweep of None", lambda: gd.sweep(loss, X, None, 3), "grid must be made by", "got None"),
    ("sweep without params", lambda: gd.sweep(loss, None, gd.grid(gd.Adam, learning_rate=[1]), 3),
     "params has no leaf to optimise"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), table(GRIDS))
def test_bad_grids_are_refused(call, words):
    refused(call, *words)


METRICS = [
    ("data text", {"data": {"x": "held out"}}, "data['x'] must be an array of numbers", "held out"),
    ("every 1.5", {"every": 1.5}, "every must be a whole number >= 1", "got 1.5"),
    ("stop a class", {"stop": gd.EarlyStop}, "stop must be a gd.EarlyStop", "class EarlyStop"),
    ("metric 3", {"stop": gd.EarlyStop(3, 1)}, "metric must be the name of a metric", "got 3"),
    ("patience text", {"stop": gd.EarlyStop("a", "1")}, "patience must be a whole", "got '1'"),
    ("rises 1", {"stop": gd.EarlyStop("a", 1, 1)}, "rises must be True or False", "got 1"),
    ("rises an array", {"stop": gd.EarlyStop("a", 1, WIDE)}, "rises must be", "(30, 30)"),
]  # fmt: skip
FUNCTIONS = [
    ("no params", lambda: {"a": 1.0}, "fn is called as fn(params)", "0 positional"),
    ("text", lambda x: {"a": "high"}, "fn must return scalars by name", "'high' of 'a'"),
    ("None", lambda x: {"a": None}, "fn must return scalars by name", "None of 'a'"),
    ("no name", lambda x: {1: x[0]}, "fn must return scalars by name", "of 1"),
    ("empty", lambda x: {}, "fn must return metrics by name", "got dict"),
    ("a branch", lambda x: {"a": 1.0 if x[0] > 0 else 2.0}, "fn must be traceable", "jnp.where"),
]


@pytest.mark.parametrize("entry", [lambda **k: gd.minimize(loss, X, RULE, 3, **k), many])
@pytest.mark.parametrize(
    ("given", "words"),
    [*table(METRICS), *table([(name, {"fn": fn}, *words) for name, fn, *words in FUNCTIONS])],
)
def test_bad_metrics_are_refused(entry, given, words):
    call = lambda: entry(record=spoken(**given))
    if "fn" not in given:
        refused(call, *words)
        return
    with pytest.raises(TypeError) as caught:  # it is looked at when the rest is compiled
        call()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


ONE = [
    ("keys without order", {"params": {1: 1.0, "a": 2.0}}, "params must be a pytree, got dict"),
    ("a list in itself", {"params": CYCLE}, "params must be a pytree, got a list of 2"),
    ("args without order", {"args": ({1: 1.0, "a": 2.0},)}, "args must be a pytree"),
    ("many words", {"params": [*map(str, range(999))]}, "params has no leaf", "…"),
    ("a Decimal-like mean", {"params": np.array([1, 2], "M8[s]")}, "params has no leaf", "datetim"),
    ("steps an array", {"max_steps": WIDE}, "max_steps must be a whole number", "(30, 30)"),
    ("steps a rule", {"max_steps": RULE}, "max_steps must be a whole number", "GradientDescent("),
    ("nesterov an array", {"rule": gd.Momentum(0.1, nesterov=WIDE)}, "rule.nesterov", "(30, 30)"),
    ("record.loss an array", {"record": gd.Record(loss=WIDE)}, "record.loss must be", "(30, 30)"),
    ("record.params text", {"record": gd.Record(params="x")}, "record.params must be", "got 'x'"),
    ("a result as state", {"state": gd.Result}, "state must be the state of an earlier result"),
    ("long boundaries", {"rule": gd.Adam(gd.PiecewiseConstant([1] * 500, [*range(-9, 490)]))},
     "boundaries must be a list of whole numbers", "-9"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), table(ONE))
def test_odd_input_of_one_run_is_refused_in_one_line(given, words):
    given = {"params": X, "rule": RULE, "max_steps": 3} | given
    refused(lambda: gd.minimize(loss, **given), *words)


OUTCOMES = [
    ("rtol text", lambda runs: runs.minima(rtol="a"), "rtol must be a number >= 0"),
    ("rtol NaN", lambda runs: runs.minima(rtol=NAN), "rtol must be a number >= 0"),
    ("rtol -1", lambda runs: runs.minima(rtol=-1), "rtol must be a number >= 0"),
    (
        "atol an array",
        lambda runs: runs.minima(atol=WIDE),
        "atol must be a number >= 0",
        "(30, 30)",
    ),
]


@pytest.mark.parametrize(("call", "words"), table(OUTCOMES))
def test_bad_tolerances_are_refused(call, words):
    runs = gd.multistart(loss, S, RULE, 1)
    refused(lambda: call(runs), *words)


def test_a_run_that_is_not_there_is_an_index_error_as_of_a_list():
    runs = gd.multistart(loss, S, RULE, 1)
    with pytest.raises(IndexError):
        runs[4]
    with pytest.raises(TypeError):
        runs["best"]
