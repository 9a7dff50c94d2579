"""Files of the user as targets, and what is written for them."""

import jax
import jax.numpy as jnp
import numpy as np
from cli_cases import files_of, jaxgd, refused, spawn, written

from jaxgd.files import named_params

GOOD = """\
import jax, jax.numpy as jnp

def loss(p):
    return jnp.sum((p["w"] - 1.0) ** 2) + jnp.abs(p["b"] - 2.0) ** 2

def params(key):
    return {"w": jax.random.normal(key, (3,)), "b": 0.5}
"""


def test_a_file_gives_the_loss_and_a_start_that_depends_on_the_seed(tmp_path):
    path = written(tmp_path / "my dir: ü" / "fit ä.py", GOOD)
    done = jaxgd("run", f"{path}:loss", "--seed", 7, "--max-steps", 0, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    arrays, facts = files_of(tmp_path)
    expected = jax.random.normal(jax.random.key(7), (3,))
    np.testing.assert_array_equal(arrays["params['w']"], expected)
    np.testing.assert_allclose(arrays["loss"], np.sum((expected - 1) ** 2) + 2.25, rtol=1e-6)
    assert facts["params"] == {"params['b']": 0.5, "params['w']": expected.tolist()}
    assert facts["target"] == f"{path}:loss"
    assert facts["seed"] == 7


def test_a_file_may_import_its_neighbours_and_give_params_as_a_value(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)  # undoes what the command does to sys.path
    written(tmp_path / "its_neighbour.py", "centre = 3.0\n")
    code = """\
    from its_neighbour import centre
    params = [1.0, 2.0]
    def loss(p): return (p[0] - centre) ** 2 + p[1] ** 2
    """
    path = written(tmp_path / "random.py", code)
    done = jaxgd("run", f"{path}:loss", "--learning-rate", 0.1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    arrays, _ = files_of(tmp_path)
    np.testing.assert_allclose([arrays["params[0]"], arrays["params[1]"]], [3, 0], atol=1e-4)


def test_a_callable_pytree_is_a_value_and_odd_dtypes_are_readable_without_jax(tmp_path):
    code = """\
    import jax, jax.numpy as jnp
    @jax.tree_util.register_pytree_node_class
    class Model:
        def __init__(self, *leaves): self.leaves = leaves
        def tree_flatten(self): return self.leaves, None
        @classmethod
        def tree_unflatten(cls, _, leaves): return cls(*leaves)
        def __call__(self): raise AssertionError("called")
    params = Model(jnp.ones(2, jnp.bfloat16), 1.0 + 2.0j, jnp.int32(4))
    def loss(m):
        return jnp.sum(m.leaves[0].astype(float) ** 2) + jnp.abs(m.leaves[1] - 1j) ** 2
    """
    path = written(tmp_path / "model.py", code)
    done = jaxgd("run", f"{path}:loss", "--max-steps", 1, "--rule", "gradientdescent",
                 "--learning-rate", 0.25, "--out", tmp_path)  # fmt: skip
    assert done.exit_code == 0, done.output
    arrays, facts = files_of(tmp_path)
    leaves = [arrays[f"params[<flat index {i}>]"] for i in range(3)]
    assert [leaf.dtype for leaf in leaves] == [np.float32, jnp.result_type(complex), np.int32]
    np.testing.assert_array_equal(leaves[0], [0.5, 0.5])
    np.testing.assert_allclose(leaves[1], 0.5 + 1.5j)
    assert facts["params"]["params[<flat index 1>]"] == [0.5, 1.5]
    assert leaves[2] == 4


def test_many_params_are_in_the_npz_alone(tmp_path):
    jaxgd("run", "quadratic", "--dimensions", 1001, "--max-steps", 1, "--out", tmp_path)
    arrays, facts = files_of(tmp_path)
    assert arrays["params"].shape == (1001,)
    assert facts["params"] is None


def test_leaves_that_numpy_does_not_know_are_stored_as_what_it_knows():
    leaves = {
        "key": jax.random.key(3), "half": jnp.ones(2, jnp.bfloat16), "small": jnp.ones(1, "int4"),
        "function": abs,
    }  # fmt: skip
    arrays = named_params(leaves)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "params['half']": np.float32, "params['key']": np.uint32, "params['small']": np.int32,
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["params['key']"], jax.random.key_data(leaves["key"]))


def test_x64_is_switched_on_before_the_file_is_run(tmp_path):
    code = """\
    import jax.numpy as jnp
    params = jnp.ones(2)
    assert params.dtype == "float64"
    def loss(x): return jnp.sum((x - 1 / 3) ** 2)
    """
    path = written(tmp_path / "fit.py", code)
    words = ("--x64", "--learning-rate", 0.1, "--gtol", 1e-12, "--out", tmp_path)
    with spawn("run", f"{path}:loss", *words) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "precision         float64\n" in stdout
    arrays, _ = files_of(tmp_path)
    np.testing.assert_allclose(arrays["params"], [1 / 3, 1 / 3], rtol=1e-12)


def test_a_loss_that_takes_a_key_is_stochastic(tmp_path):
    code = """\
    import jax, jax.numpy as jnp
    params = jnp.ones(2)
    def loss(x, *, key): return jnp.sum((x - jax.random.normal(key, x.shape)) ** 2)
    """
    path = written(tmp_path / "noisy.py", code)
    found = []
    for seed in (1, 1, 2):
        words = ("--seed", seed, "--max-steps", 50, "--out", tmp_path)
        done = jaxgd("run", f"{path}:loss", *words)
        assert done.exit_code == 0, done.output
        arrays, facts = files_of(tmp_path)
        assert facts["evaluations"] == len(arrays["history_loss"]) == 50
        found.append(arrays["params"].tolist())
    assert found[0] == found[1] != found[2]
    assert 'use keep="last"' in refused("run", f"{path}:loss", "--keep", "best")


def test_the_results_stay_where_they_were_wanted_if_the_file_goes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "fit.py", "import os\nos.chdir('/')\nparams = 1.0\nloss = abs\n")
    done = jaxgd("run", f"{path}:loss", "--max-steps", 3, "--out", "results")
    assert done.exit_code == 0, done.output
    assert "files             results/result.npz" in done.output
    files_of(tmp_path / "results")
