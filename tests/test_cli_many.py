"""Many starts on the command line: what they find, what is said and what is left on the disk."""

import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cli_cases import files_of, jaxgd, refused, spawn, written

import jaxgd as gd
from jaxgd.landscapes import LANDSCAPES
from jaxgd.target import find_target

FITS = """\
import jax.numpy as jnp
params = {"w": jnp.zeros(2), "b": 0.5}
bounds = ({"w": jnp.array([1.0, -2.0]), "b": 0.0}, {"w": 3.0, "b": 2.0})
def loss(p): return jnp.sum((p["w"] + 1.0) ** 2) + (p["b"] - 1.0) ** 2
"""
FREE = """\
import jax.numpy as jnp
params = jnp.array([7.0, -3.0])
def loss(x): return jnp.sum((x - 2.0) ** 2)
"""


def many(directory, *words):
    """What a command that succeeds writes, and what it says."""
    done = jaxgd("run", *words, "--out", directory)
    assert done.exit_code == 0, done.output
    return *files_of(directory, "runs"), done.output


def test_many_starts_give_what_multistart_gives_in_the_table_and_in_both_files(tmp_path):
    arrays, facts, output = many(
        tmp_path, "rastrigin", "--starts", 32, "--sampler", "sobol", "--rule", "adam",
        "--learning-rate", 0.05, "--max-steps", 190, "--gtol", 1e-3, "--clip-norm", 50,
        "--seed", 3, "--lanes", 4,
    )  # fmt: skip
    loss = gd.landscapes.Rastrigin()
    expected = gd.multistart(
        loss, gd.starts.sobol(loss.start, loss.domain, 32, seed=3),
        gd.chain(gd.ClipByGlobalNorm(50.0), gd.Adam(0.05)), 190, stop=gd.Stop(gtol=1e-3), lanes=4,
    )  # fmt: skip
    columns = expected.to_dict()
    assert set(arrays) == set(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(arrays[name], column)
    names = [gd.Status(status).name for status in expected.status]
    assert facts["counts"] == {name: names.count(name) for name in names}
    assert len(facts["counts"]) > 1
    best, minima = expected.best, expected.minima()
    assert facts["best"] == {
        "status": gd.Status(int(best.status)).name, "status_code": int(best.status),
        "loss": float(best.loss), "grad_norm": float(best.grad_norm), "steps": int(best.steps),
        "at_step": int(best.at_step), "evaluations": int(best.evaluations),
        "params": best.params.tolist(),
    }  # fmt: skip
    assert facts["minima"] == [
        {"loss": m.loss, "grad_norm": m.grad_norm, "count": m.count, "params": m.params.tolist()}
        for m in minima
    ]
    assert facts["minima_found"] == len(minima) > 1
    assert facts["success_rate"] == expected.success_rate
    given = {name: facts[name] for name in ("runs", "starts", "sampler", "lanes", "seed", "target")}
    assert given == {
        "runs": 32, "starts": 32, "sampler": "sobol", "lanes": 4, "seed": 3, "target": "rastrigin",
    }  # fmt: skip
    assert facts["engine"] == expected.engine
    assert "4 lanes" in facts["engine"]
    assert min(facts["compile_seconds"], facts["run_seconds"]) > 0
    assert [rule["name"] for rule in (*facts["transforms"], facts["rule"])] == [
        "ClipByGlobalNorm", "Adam",
    ]  # fmt: skip
    assert (facts["stop"]["gtol"], facts["max_steps"], facts["message"]) == (1e-3, 190, "")
    assert facts["versions"]["jaxgd"] == gd.__version__
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.json", "runs.npz"]
    rows = dict(expected.rows())
    for name in ("runs", "status", "best loss", "success rate", "steps"):
        assert f"{name:<17} {rows[name]}\n" in output
    assert "sampler           sobol\n" in output
    assert f"minima ({len(minima)})" in output
    lines = output.splitlines()
    assert lines[-1].split() == [str(tmp_path / "runs.json")]
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80


@pytest.mark.parametrize(
    ("sampler", "precision"),
    [("uniform", "float32"), ("latin-hypercube", "float64"), ("normal", "float32")],
)
def test_every_sampler_draws_what_it_draws_in_the_library(sampler, precision, tmp_path):
    words = ("--starts", 5, "--sampler", sampler, "--max-steps", 0, "--seed", 2)
    loss = gd.landscapes.Booth()
    with jax.enable_x64(precision == "float64"):
        arrays, facts, output = many(tmp_path, "booth", *words)
        if sampler == "normal":
            expected = gd.starts.around(loss.start, 1.0, 5, seed=2)
        else:
            draw = getattr(gd.starts, sampler.replace("-", "_"))
            expected = draw(loss.start, loss.domain, 5, seed=2)
        np.testing.assert_allclose(arrays["loss"], jax.vmap(loss)(expected), rtol=1e-5)
    np.testing.assert_array_equal(arrays["start"], expected)
    np.testing.assert_array_equal(arrays["params"], expected)
    assert arrays["start"].dtype == arrays["loss"].dtype == precision
    assert facts["sampler"] == sampler
    assert f"sampler           {sampler}\n" in output
    assert f"precision         {precision}\n" in output


def test_the_bounds_of_a_file_are_the_box_of_the_starts_and_hold_the_runs(tmp_path):
    path = written(tmp_path / "fit.py", FITS)
    words = ("--starts", 8, "--learning-rate", 0.3, "--max-steps", 200)
    arrays, facts, _ = many(tmp_path, f"{path}:loss", *words)
    start = {"w": jnp.zeros(2), "b": 0.5}
    bounds = ({"w": jnp.array([1.0, -2.0]), "b": 0.0}, {"w": 3.0, "b": 2.0})
    expected = gd.starts.sobol(start, bounds, 8)
    for leaf in ("w", "b"):
        np.testing.assert_array_equal(arrays[f"start['{leaf}']"], expected[leaf])
    # The loss is lowest at w = -1, where the first entry must not go.
    np.testing.assert_allclose(arrays["params['w']"], [[1.0, -1.0]] * 8, atol=1e-2)
    np.testing.assert_allclose(arrays["loss"], 4.0, rtol=1e-4)
    assert facts["best"]["params"]["params['w']"][0] == 1.0
    assert facts["sampler"] == "sobol"
    assert "params['w'][0] starts outside its bounds" in refused("run", f"{path}:loss")


def test_a_single_run_stays_in_the_bounds_of_its_file(tmp_path):
    code = "params = 2.5\nbounds = (1, None)\ndef loss(x): return (x + 1) ** 2\n"
    path = written(tmp_path / "fit.py", code)
    done = jaxgd("run", f"{path}:loss", "--learning-rate", 0.3, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert files_of(tmp_path)[0]["params"] == 1.0
    line = refused("run", f"{path}:loss", "--starts", 4)
    assert line == (
        "bounds[1] must be finite in its dtype: give it a number, or use --sampler normal, got inf"
    )
    words = ("--starts", 64, "--sampler", "normal", "--max-steps", 0)
    arrays, _, _ = many(tmp_path, f"{path}:loss", *words)
    assert 1.0 <= arrays["start"].min() < 1.5


def test_a_file_without_bounds_draws_around_its_params(tmp_path):
    path = written(tmp_path / "fit.py", FREE)
    line = refused("run", f"{path}:loss", "--starts", 4)
    assert "--sampler sobol draws in a box: define bounds = (lower, upper) in fit.py" in line
    assert line.endswith("or use --sampler normal")
    words = (f"{path}:loss", "--starts", 6, "--sampler", "normal", "--max-steps", 40)
    arrays, _, output = many(tmp_path, *words, "--learning-rate", 0.5)
    expected = gd.starts.around(jnp.array([7.0, -3.0]), 1.0, 6)
    np.testing.assert_array_equal(arrays["start"], expected)
    assert np.all(np.abs(arrays["params"] - 2.0) < 1.0)
    assert f"files             {tmp_path / 'runs.npz'}" in output


def test_only_a_landscape_that_says_so_is_searched_within_its_domain(tmp_path):
    for name in LANDSCAPES:
        target = find_target(name)
        assert target.box is not None
        assert (target.bounds is target.box) == (name == "influenza")
        assert (target.bounds is None) == (name != "influenza")
    words = ("--starts", 4, "--learning-rate", 30, "--max-steps", 3, "--keep", "last")
    arrays, _, _ = many(tmp_path, "influenza", *words)
    lower, upper = np.asarray(gd.landscapes.Influenza().domain, arrays["params"].dtype)
    assert np.all((lower <= arrays["params"]) & (arrays["params"] <= upper))
    assert np.any((lower == arrays["params"]) | (arrays["params"] == upper))


def test_seeds_draw_the_starts_and_the_noise_of_a_stochastic_file(tmp_path):
    code = """\
    import jax, jax.numpy as jnp
    params, bounds = jnp.ones(2), (-1, 1)
    def loss(x, *, key): return jnp.sum((x - jax.random.uniform(key)) ** 2)
    """
    path, found = written(tmp_path / "noisy.py", code), []
    for seed in (1, 1, 2):
        words = ("--starts", 4, "--lanes", 4, "--seed", seed, "--max-steps", 20)
        arrays, facts, _ = many(tmp_path, f"{path}:loss", *words)
        assert facts["best"]["evaluations"] == 20
        found.append((arrays["start"].tolist(), arrays["loss"].tolist()))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]
    assert 'use keep="last"' in refused("run", f"{path}:loss", "--starts", 4, "--keep", "best")


def test_leaves_that_are_not_optimised_and_odd_dtypes_are_readable_without_jax(tmp_path):
    code = """\
    import jax, jax.numpy as jnp
    params = {"half": jnp.ones(2, jnp.bfloat16), "on": jnp.array([True, False]),
              "n": jnp.int32(3), "key": jax.random.key(0)}
    def loss(p):
        half, n, on = (p[name].astype(float) for name in ("half", "n", "on"))
        return jnp.sum(half ** 2) * n + on[0]
    """
    path = written(tmp_path / "fit.py", code)
    words = ("--starts", 3, "--sampler", "normal", "--max-steps", 5)
    arrays, facts, output = many(tmp_path, f"{path}:loss", *words)
    dtypes = {name: array.dtype for name, array in arrays.items() if name.startswith("params")}
    assert dtypes["params['half']"] == np.float32
    assert dtypes["params['n']"] == np.int32
    assert dtypes["params['on']"] == np.bool_
    assert facts["best"]["params"]["params['on']"] == [True, False]
    assert facts["minima"][0]["count"] >= 1
    assert "bfloat16" not in str(dtypes)
    assert "precision         float32\n" in output


def test_runs_that_fail_are_counted_and_only_if_all_do_the_command_fails(tmp_path):
    code = """\
    import jax.numpy as jnp
    params, bounds = jnp.ones(1), (-1.0, 1.0)
    def loss(x): return jnp.sum(x - jnp.log(x))
    def hopeless(x): return loss(x - 2.0)
    """
    path = written(tmp_path / "bad.py", code)
    arrays, facts, output = many(tmp_path, f"{path}:loss", "--starts", 16, "--max-steps", 3)
    failed = int(np.sum(arrays["status"] == gd.Status.NON_FINITE))
    assert facts["counts"] == {"MAX_STEPS": 16 - failed, "NON_FINITE": failed}
    assert 0 < failed < 16
    assert facts["best"]["status"] == "MAX_STEPS"
    assert "Every run failed" not in output
    done = jaxgd("run", f"{path}:hopeless", "--starts", 4, "--out", tmp_path)
    assert done.exit_code == 1, done.output
    assert "Warning" not in done.output
    assert "Every run failed: the loss or its gradient became NaN or infinite." in done.output
    assert "status            4 NON_FINITE\n" in done.output
    arrays, facts = files_of(tmp_path, "runs")
    assert np.isnan(arrays["loss"]).all()
    assert facts["best"]["loss"] == "NaN"
    assert (facts["success_rate"], facts["minima"]) == (0.0, [])
    assert facts["message"].startswith("Every run failed")


def test_many_minima_and_long_params_are_in_the_npz_alone(tmp_path):
    arrays, facts, _ = many(tmp_path, "rastrigin", "--starts", 130, "--max-steps", 0)
    assert facts["minima_found"] == len(arrays["loss"]) == 130
    losses = [minimum["loss"] for minimum in facts["minima"]]
    assert losses == sorted(arrays["loss"].tolist())[:100]
    words = ("quadratic", "--dimensions", 1001, "--starts", 2, "--max-steps", 1)
    arrays, facts, _ = many(tmp_path, *words)
    assert arrays["params"].shape == (2, 1001)
    assert facts["best"]["params"] is facts["minima"][0]["params"] is None


def test_a_time_limit_ends_runs_that_count_as_finished(tmp_path):
    words = ("booth", "--starts", 64, "--lanes", 2, "--max-steps", 1e9, "--time-limit", 0.3)
    _, facts, output = many(tmp_path, *words, "--keep", "last")
    assert set(facts["counts"]) == {"TIME_LIMIT", "NOT_STARTED"}
    assert facts["message"] == "The time limit passed; this is how far the runs got."
    assert facts["message"] + "\nTo go on from there:\n" in output


def test_ctrl_c_ends_many_runs_with_their_files_and_130(tmp_path):
    # The bar is the sign that the runs have begun.
    words = ("run", "rosenbrock", "--starts", 64, "--lanes", 2, "--max-steps", 2e9, "--progress")
    with spawn(*words, "--out", tmp_path) as process:
        os.set_blocking(process.stderr.fileno(), True)
        seen, deadline = "", time.monotonic() + 60
        while "best loss=" not in seen and time.monotonic() < deadline:
            seen += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, seen + stderr
    assert "Traceback" not in stderr
    assert "Interrupted from the keyboard; this is how far the runs got.\n" in stdout
    arrays, facts = files_of(tmp_path, "runs")
    assert set(facts["counts"]) == {"INTERRUPTED", "NOT_STARTED"}
    assert np.sum(arrays["status"] == gd.Status.INTERRUPTED) == facts["counts"]["INTERRUPTED"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sampler", "sobol"], "--sampler is for many starts: give their number, --starts N"),
        (["--lanes", 2], "--lanes is for many starts: give their number, --starts N"),
        (["--starts", 0], "--starts must be a whole number >= 1, got 0"),
        (["--starts", 2.5], "--starts must be a whole number >= 1, got 2.5"),
        (["--starts", "x"], "'x' is not a number"),
        (["--starts", 2, "--lanes", 0], "--lanes must be a whole number >= 1, got 0"),
        (["--starts", 2, "--sampler", "grid"], "'grid' is not one of 'uniform', 'latin-hypercube'"),
    ],
)  # fmt: skip
def test_bad_usage_is_refused_in_one_line(words, said):
    assert said in refused("run", "booth", *words)


def test_advice_for_python_code_is_given_in_the_words_of_a_shell():
    line = refused("run", "quadratic", "--dimensions", 21202, "--starts", 2)
    assert line.endswith("use --sampler latin-hypercube, which has no limit")


def test_an_error_in_a_file_is_told_with_its_line(tmp_path):
    for code, said in (
        ("params = 1.0\nbounds = 3\ndef loss(x): return x\n", "bounds must be a pair (lower, up"),
        ("params = 1.0\nbounds = (2, 1)\ndef loss(x): return x\n", "must have lower <= upper"),
        ("params = 1.0\nbounds = (0, 1)\ndef loss(x): assert False\n", "line 3: AssertionError"),
    ):
        path = written(tmp_path / "bad.py", code)
        assert said in refused("run", f"{path}:loss", "--starts", 2)


def test_the_help_has_a_heading_for_many_starts_within_80_columns():
    text = jaxgd("run", "--help").output
    section = text[text.index("Many starts:") : text.index("When to stop:")]
    heads = [line.split()[0] for line in section.splitlines() if line.startswith("  --")]
    assert heads == ["--starts", "--sampler", "--lanes"]
    assert "[default: sobol]" in section
    assert max(map(len, text.splitlines())) <= 80
