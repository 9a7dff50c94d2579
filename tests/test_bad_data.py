"""Bad data, pictures, landscapes, starts and whatever else is public: one line that names it."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from bad_cases import refused, table

import jaxgd as gd
from jaxgd.report import report

NAN = float("nan")
X, S, KEY = np.ones(2, np.float32), np.ones((4, 2), np.float32), jax.random.key(0)
RULE, WIDE = gd.GradientDescent(0.1), np.ones((30, 30))
MIXED = {1: 1.0, "a": 2.0}


def loss(params, batch):
    return jnp.mean((batch @ params) ** 2)


def bowl(x):
    return jnp.sum(x**2)


def mapped(tmp_path, dtype=np.float32):
    """A memory map of ten examples."""
    return np.lib.format.open_memmap(tmp_path / "map.npy", "w+", dtype, (10, 2))


BATCHES = [
    ("None", (None,), "data must have arrays", "got none"),
    ("text", ("data.npy",), "arrays must be an array of numbers", "got 'data.npy'"),
    ("a path", (pathlib.PurePosixPath("d.npy"),), "arrays must be", "PurePosixPath('d.npy')"),
    ("bytes", (b"ab",), "arrays must be an array of numbers", "got b'ab'"),
    ("a number", (3,), "arrays must be an array of numbers", "got 3"),
    ("lists", ([[1, 2], [3, 4]],), "arrays[0][0] must be an array", "np.asarray"),
    ("a scalar", (np.float32(1),), "arrays must have examples", "got a scalar"),
    ("objects", ({"x": np.array([{}], object)},), "arrays['x'] must be", "of object"),
    ("words", (np.array(["a"]),), "arrays must be an array of numbers", "<U1"),
    ("no examples", (np.ones((0, 2)),), "arrays must have 1 to", "got 0"),
    ("a set", ({1.0, 2.0},), "arrays must be a pytree", "got a set"),
    ("sparse", (scipy.sparse.eye(3).tocsr(), 1, KEY), "arrays must be an array of numbers"),
    ("batches", (gd.Batches(S),), "arrays must be an array of numbers", "Batches(4 examples"),
    ("size True", (S, True), "batch_size must be a whole number >= 1", "got True"),
    ("size text", (S, "2"), "batch_size must be a whole number >= 1", "got '2'"),
    ("size an array", (S, WIDE), "batch_size must be a whole number >= 1", "(30, 30)"),
    ("size of a source", (iter([S]), 2), "batch_size is for arrays", "list_iterator"),
    ("key 3", (S, 2, 3), "key must be one JAX random key", "got 3"),
    ("shuffle an array", (S, 2, KEY, WIDE), "shuffle must be True or False", "(30, 30)"),
    ("drop_last None", (S, 2, KEY, True, None), "drop_last must be True or False", "got None"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), table(BATCHES))
def test_bad_batches_are_refused(given, words):
    refused(lambda: gd.Batches(*given), *words)


def test_files_and_keys_that_are_no_examples_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", x=S)
    with np.load(tmp_path / "data.npz") as data:
        for size in (None, 2):
            said = refused(lambda size=size: gd.Batches(data, size, KEY), "arrays must be", "dict(")
            assert "NpzFile" in said
        assert gd.Batches(dict(data), 2, KEY).examples == 4
    arrays = {"x": mapped(tmp_path), "noise": jax.random.split(KEY, 10)}
    refused(lambda: gd.Batches(arrays, 2, KEY), "arrays holds random keys", "key_data")
    assert gd.Batches(arrays).examples == 10
    words = mapped(tmp_path, "U3")
    refused(lambda: gd.Batches(words, 2, KEY), "arrays must be an array of numbers", "<U3")
    for entry in (gd.descend, lambda f, x, *a, **k: gd.multistart(f, x[None], *a, **k)):
        data = gd.Batches(mapped(tmp_path), 2, KEY)
        refused(lambda entry=entry, data=data: entry(loss, X, RULE, 3, data=data), "data that is")


def test_a_file_of_lines_is_no_source(tmp_path):
    (tmp_path / "data.csv").write_text("1,2\n3,4\n")
    with (tmp_path / "data.csv").open() as lines:
        data = gd.Batches(lines)
        refused(lambda: gd.minimize(loss, X, RULE, 3, data=data), "batches of data must", "1,2")


SOURCES = [
    ("words", lambda: iter(["a", "b"]), "batches of data must hold arrays", "got 'a'"),
    ("nothing", lambda: iter([None]), "batches of data must hold arrays", "got None"),
    ("objects", lambda: iter([np.array([{}], object)]), "batches of data must hold", "of object"),
    ("keys", lambda: iter([KEY]), "batches of data must hold arrays of numbers", "key<fry>"),
    ("no batch", lambda: iter([]), "data has no batch", "list_iterator is empty"),
    ("no iterator", lambda: lambda: 3, "arrays, a function, must return an iterator", "got 3"),
    ("a class", lambda: dict, "data has no batch", "the class dict"),
]


@pytest.mark.parametrize(("source", "words"), table(SOURCES))
def test_bad_sources_are_refused(source, words):
    refused(lambda: gd.minimize(loss, X, RULE, 3, data=gd.Batches(source())), *words)


STEPS = [
    ("epochs 1.5", {"epochs": 1.5}, "epochs must be a whole number >= 0", "got 1.5"),
    ("epochs -1", {"epochs": -1}, "epochs must be a whole number >= 0", "got -1"),
    ("epochs an array", {"epochs": WIDE}, "epochs must be a whole number >= 0", "(30, 30)"),
    ("epochs 2**31", {"epochs": 2**31}, "epochs must be below 2**31"),
    ("epochs too many", {"epochs": 2**30}, "epochs must be fewer", "2147483648 steps"),
    ("steps an array", {"epochs": 2, "max_steps": WIDE}, "max_steps must be", "(30, 30)"),
]


@pytest.mark.parametrize(("given", "words"), table(STEPS))
def test_bad_epochs_are_refused(given, words):
    data = gd.Batches(S, 2, KEY)
    refused(lambda: gd.minimize(loss, X, RULE, data=data, **given), *words)


INDICES = [
    ("step -1", (-1,), "step must be a whole number >= 0", "got -1"),
    ("step text", ("a",), "step must be a whole number >= 0", "got 'a'"),
    ("step 1.5", (1.5,), "step must be a whole number >= 0", "got 1.5"),
    ("steps", (np.arange(2),), "step must be a whole number >= 0", "array([0, 1])"),
    ("run text", (0, "a"), "run must be a whole number >= 0", "got 'a'"),
    ("run -1", (0, -1), "run must be a whole number >= 0", "got -1"),
]


@pytest.mark.parametrize(("given", "words"), table(INDICES))
def test_bad_steps_of_batches_are_refused(given, words):
    refused(lambda: gd.Batches(S, 2, KEY).indices(*given), *words)


def averaging(**given):
    return gd.minimize(bowl, X, gd.average(RULE, **given), 2)


OTHERS = [
    ("chain of an array", lambda: gd.chain(WIDE), "chain takes rules", "(30, 30)"),
    ("chain of a list", lambda: gd.chain([RULE]), "chain takes rules", "[GradientDescent("),
    ("average of text", lambda: gd.average("adam"), "average takes rules", "'adam'"),
    ("average of an array", lambda: gd.average(WIDE), "average takes rules", "(30, 30)"),
    ("average decay text", lambda: averaging(decay="x"), "rule.decay must be", "got 'x'"),
    ("average start 1.5", lambda: averaging(start=1.5), "rule.start must be", "got 1.5"),
    ("average every NaN", lambda: averaging(every=NAN), "rule.every must be", "got nan"),
    ("accumulate None", lambda: gd.accumulate(None, 2), "accumulate takes rules", "None"),
    ("accumulate every", lambda: gd.minimize(bowl, X, gd.accumulate(RULE, "x")), "every", "'x'"),
    ("partition None", lambda: gd.partition(None), "partition takes a dict", "got None"),
    ("partition a rule", lambda: gd.partition(RULE), "partition takes a dict", "GradientDescent"),
    ("partition nested", lambda: gd.partition({"a": {"b": RULE}}), "partition takes rules", "'b'"),
    ("averaged 3", lambda: gd.averaged(3), "averaged takes the result of gd.minimize", "got 3"),
    ("pytree 3", lambda: gd.pytree(3), "pytree is for classes", "got 3"),
    ("cache 3", lambda: gd.cache_programs(3), "directory must be a path", "got 3"),
    ("cache nowhere", lambda: gd.cache_programs(""), "directory must be a path", "got ''"),
    ("report text", lambda: report("results"), "directory must be a pathlib.Path", "'results'"),
    ("rate of text", lambda: gd.find_learning_rate(bowl, "a", RULE), "params has no leaf", "'a'"),
    ("rate's loss", lambda: gd.find_learning_rate(3, X, RULE), "loss must be a function", "got 3"),
    ("rate's rule", lambda: gd.find_learning_rate(bowl, X, 3), "rule must be", "got 3"),
    ("rate's low", lambda: gd.find_learning_rate(bowl, X, RULE, WIDE), "low must be", "(30, 30)"),
    ("rate's count", lambda: gd.find_learning_rate(bowl, X, RULE, count=2**31), "count", "2**31"),
    ("rate's params", lambda: gd.find_learning_rate(bowl, MIXED, RULE), "params must be a pytree"),
    ("compare's loss", lambda: gd.compare(3, X, {"a": RULE}), "loss must be a function", "got 3"),
    ("compare's rule", lambda: gd.compare(bowl, X, {"a": None}), "rules['a']: rule must", "None"),
    ("compare's steps", lambda: gd.compare(bowl, X, {"a": RULE}, "x"), "max_steps", "got 'x'"),
    ("compare's target", lambda: gd.compare(bowl, X, {"a": RULE}, target=WIDE), "target", "(30"),
    ("compare's lanes", lambda: gd.compare(bowl, X, {"a": RULE}, lanes="x"), "lanes", "got 'x'"),
    ("dimensions an array", lambda: gd.landscapes.Ackley(WIDE), "dimensions is", "(30, 30)"),
    ("dimensions text", lambda: gd.landscapes.Levy("x"), "dimensions is 'x'; expected an int"),
    ("dimensions NaN", lambda: gd.landscapes.Griewank(NAN), "dimensions is nan; expected an int"),
    ("a point of text", lambda: gd.landscapes.Booth()("ab"), "x is 'ab'; expected", "2 real"),
    ("no point", lambda: gd.landscapes.Booth()(None), "x is None; expected", "2 real"),
    ("a point by name", lambda: gd.landscapes.Booth()({"x": 1.0}), "x is {'x': 1.0}; expected"),
    ("samples of a mixture", lambda: gd.starts.uniform(MIXED, (0, 1), 3), "params must be a"),
    ("samples too many", lambda: gd.starts.sobol(X, (0, 1), 2**31), "count must be below 2**31"),
    ("samples of an array", lambda: gd.starts.normal(X, WIDE), "count must be", "(30, 30)"),
    ("scale of a shape", lambda: gd.starts.around(X, WIDE, 3), "scale must have the shape", "(2,)"),
    ("screen's loss", lambda: gd.starts.screen(3, S, 1), "loss must be a function", "got 3"),
    ("screen's keep", lambda: gd.starts.screen(bowl, S, "1"), "keep must be", "got '1'"),
    ("screen of nothing", lambda: gd.starts.screen(bowl, None, 1), "params must be starts"),
    ("finder of a number", lambda: gd.plot.finder(3), "finder draws what gd.find", "got 3"),
    ("finder of a result", lambda: gd.plot.finder({}), "finder draws what gd.find", "got dict"),
    ("rates for how long", lambda: gd.plot.learning_rate(0.1, "a"), "steps must be", "got 'a'"),
    ("picture of text", lambda: gd.plot.waterfall("runs"), "a picture is of a gd.Result", "'runs'"),
    ("path of an array", lambda: gd.plot.path(WIDE), "a picture is of a gd.Result", "(30, 30)"),
    ("basins of a list", lambda: gd.plot.basins([]), "basins are those of a gd.Runs", "list of 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), table(OTHERS))
def test_what_else_is_bad_is_refused(call, words):
    refused(call, *words)


def test_a_file_is_no_directory_for_programs(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match="directory must be a path of one"):
        gd.cache_programs(path)


def test_what_is_drawn_below_basins_or_bent_must_be_a_loss():
    runs = gd.multistart(bowl, S, RULE, 1)
    refused(lambda: gd.plot.basins(runs, 3), "loss must be what was minimised, or None, got 3")
    refused(lambda: runs.minima()[0].curvature(3), "loss must be a function of the params, got 3")
