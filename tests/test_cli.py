"""The command line from end to end: numbers in files, words in errors, exit statuses."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import jaxgd as gd
from jaxgd.cli import command_line
from jaxgd.files import named_params
from jaxgd.rules import RULES
from jaxgd.schedules import SCHEDULES
from jaxgd.schedules.expression import read_schedule
from jaxgd.target import TRANSFORM_OPTIONS, blame, build_rule, option, options_of


def jaxgd(*words):
    done = CliRunner().invoke(command_line, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def refused(*words):
    """The one line with which bad usage is refused."""
    done = jaxgd(*words)
    assert done.exit_code == 2, done.output
    line = done.output.strip()
    assert "\n" not in line
    assert line.startswith("jaxgd: ")
    return line.removeprefix("jaxgd: ")


def files_of(directory):
    def not_json(word):
        raise AssertionError(f"{word} is not JSON")

    with np.load(directory / "result.npz", allow_pickle=False) as arrays:
        text = (directory / "result.json").read_text()
        return dict(arrays), json.loads(text, parse_constant=not_json)


def written(path, code):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


def spawn(*words, **more):
    command = [sys.executable, "-m", "jaxgd", *map(str, words)]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def test_a_landscape_gives_what_minimize_gives_in_the_table_and_in_both_files(tmp_path):
    out = tmp_path / "new" / "results"
    done = jaxgd("run", "rosenbrock", "--gtol", "1e-3", "--learning-rate", "0.02", "--out", out)
    assert done.exit_code == 0, done.output
    loss = gd.landscapes.Rosenbrock()
    expected = gd.minimize(loss, loss.start, gd.Adam(0.02), 10_000, stop=gd.Stop(gtol=1e-3))
    arrays, facts = files_of(out)
    np.testing.assert_array_equal(arrays["params"], expected.params)
    np.testing.assert_array_equal(arrays["history_loss"], expected.history.loss)
    np.testing.assert_array_equal(arrays["history_grad_norm"], expected.history.grad_norm)
    np.testing.assert_array_equal(arrays["history_step"], np.arange(int(expected.steps) + 1))
    np.testing.assert_allclose(arrays["history_learning_rate"], 0.02)
    assert arrays["status"] == facts["status_code"] == gd.Status.CONVERGED_GRADIENT
    assert arrays["loss"] == facts["loss"] == float(expected.loss)
    assert arrays["at_step"] == facts["at_step"] == int(expected.at_step)
    assert facts["steps"] == arrays["steps"] == int(expected.steps)
    assert facts["evaluations"] == int(expected.evaluations)
    assert facts["params"] == expected.params.tolist()
    assert facts["rule"] == {
        "name": "Adam", "learning_rate": 0.02, "b1": 0.9, "b2": 0.999, "eps": 1e-8,
        "amsgrad": False,
    }  # fmt: skip
    assert facts["stop"] == dict(
        ftol=None, frtol=None, xtol=None, gtol=1e-3, target=None, patience=1
    )
    assert facts["versions"]["jaxgd"] == gd.__version__
    assert facts["message"] == expected.message
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "result.npz"]
    for name, value in (("status", "CONVERGED_GRADIENT"), ("steps", f"{int(expected.steps):,}")):
        assert f"{name:<17} {value}\n" in done.output
    assert "precision         float32\n" in done.output
    assert expected.message in done.output


def test_every_option_of_a_rule_and_every_transform_reaches_it(tmp_path):
    done = jaxgd(
        "run", "quadratic", "--dimensions", 3, "--rule", "rms-prop", "--learning-rate", 0.05,
        "--decay", 0.8, "--eps", "1e-6", "--centered", "--momentum", 0.5, "--nesterov",
        "--clip-norm", 2, "--clip-value", 1, "--l2", 0.1, "--max-steps", "2e1", "--keep", "last",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rule = gd.chain(
        gd.ClipByGlobalNorm(2.0), gd.ClipByValue(1.0), gd.WeightDecay(0.1),
        gd.RMSProp(0.05, decay=0.8, eps=1e-6, centered=True, momentum=0.5, nesterov=True),
    )  # fmt: skip
    loss = gd.landscapes.Quadratic(3)
    expected = gd.minimize(loss, loss.start, rule, 20, keep="last")
    arrays, facts = files_of(tmp_path)
    np.testing.assert_array_equal(arrays["params"], expected.params)
    assert arrays["steps"] == arrays["at_step"] == 20
    assert [part["name"] for part in facts["transforms"]] == [
        "ClipByGlobalNorm", "ClipByValue", "WeightDecay",
    ]  # fmt: skip
    assert (facts["dimensions"], facts["max_steps"], facts["keep"]) == (3, 20, "last")


@pytest.mark.parametrize(
    ("spelled", "name"),
    [("Gradient-Descent", "GradientDescent"), ("adamw", "AdamW"), ("ADA_GRAD", "AdaGrad")],
)
def test_a_rule_is_found_in_any_spelling(spelled, name, tmp_path):
    jaxgd("run", "booth", "--rule", spelled, "--max-steps", 3, "--out", tmp_path)
    arrays, facts = files_of(tmp_path)
    assert facts["rule"]["name"] == name
    assert arrays["loss"] < 74


def test_the_help_has_every_option_of_every_rule_and_fits_80_columns():
    text = jaxgd("run", "--help").output
    for name, rule in RULES.items():
        given = {key: field.default for key, field in options_of(rule).items()}
        for key, value in given.items():
            (line,) = [line for line in text.splitlines() if line.startswith(f"  {option(key)} ")]
            assert ("NUMBER" in line) == (not isinstance(value, bool))
            assert name in text[text.index(line) :].split("\n  --")[0]
        made, transforms = build_rule(
            name, 0.1, {k: v for k, v in given.items() if v is not None}, {}
        )
        assert repr(made) == repr(rule(0.1))
        assert transforms == ()
    assert max(map(len, text.splitlines())) <= 80


def test_a_schedule_takes_the_place_of_the_learning_rate(tmp_path):
    text = "Warmup(CosineDecay(0.1, steps=20), steps=10)"
    jaxgd("run", "booth", "--schedule", text, "--max-steps", 30, "--out", tmp_path)
    schedule = gd.Warmup(gd.CosineDecay(0.1, steps=20), steps=10)
    arrays, facts = files_of(tmp_path)
    expected = jax.vmap(schedule)(jnp.arange(31))
    np.testing.assert_allclose(arrays["history_learning_rate"], expected, rtol=1e-5)
    assert facts["rule"]["learning_rate"] == {
        "name": "Warmup",
        "schedule": {"name": "CosineDecay", "init": 0.1, "steps": 20, "alpha": 0.0},
        "steps": 10,
        "init": 0.0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "Constant(0.1)",
        "ExponentialDecay(0.1, 0.5, every=3, staircase=True, floor=1e-3)",
        "InverseTimeDecay(init=0.1, rate=2)",
        "PiecewiseConstant([0.1, 0.01], boundaries=(5,))",
        "PolynomialDecay(0.1, 0.01, steps=10, power=2)",
        "CosineDecay(0.1, steps=10)",
        "CosineRestarts(0.1, period=4)",
        "Warmup(0.1, steps=4)",
        "OneCycle(0.1, steps=10)",
        " Join([Constant(0.1), Warmup(ExponentialDecay(0.1, 0.5), steps=3)], boundaries=[5]) ",
    ],
)
def test_a_schedule_is_read_as_python_would_evaluate_it(text):
    names = {name: getattr(gd, name) for name in SCHEDULES}
    assert repr(read_schedule(text)) == repr(eval(text.strip().replace("(5,)", "[5]"), names))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CosineDecay(0.1", "--schedule 'CosineDecay(0.1' cannot be read: '(' was never closed"),
        ("", "cannot be read"),
        ("0.1", "must be a schedule like CosineDecay(0.1, steps=1000): '0.1'"),
        ("CosineDecay", "lacks its numbers: write CosineDecay(init, steps, alpha=0.0)"),
        ("CosinDecay(0.1)", "there is no schedule 'CosinDecay'; did you mean CosineDecay?"),
        ("CosineDecay(0.1)", "missing a required argument: 'steps'; write CosineDecay(init, st"),
        ("CosineDecay(-0.1, steps=9)", "--schedule.init must be a number >= 0, got -0.1"),
        ("CosineDecay(0.1, steps=9.5)", "--schedule.steps must be a whole number > 0, got 9.5"),
        ("Constant(1 + 1)", "numbers, lists and keyword arguments only, not '1 + 1'"),
        ("Constant('a')", "only, not \"'a'\""),
        ("Constant(None)", "only, not 'None'"),
        ("Constant(1j)", "only, not '1j'"),
        ("Constant(*[1])", "only, not '*[1]'"),
        ("Constant(**{'value': 1})", "** is not understood; write Constant(value)"),
        ("Constant(0.1).value", "only, not 'Constant(0.1).value'"),
        ("__import__('os').abort()", "there is no schedule"),
        ("Constant(" * 150 + "1" + ")" * 150, "--schedule"),
        ("Constant(" + "-" * 100_000 + "1)", "--schedule"),
    ],
)
def test_a_malformed_schedule_is_refused(text, said):
    assert said in refused("run", "booth", "--schedule", text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument 'TARGET'"),
        (["rosenbrok"], "there is no landscape 'rosenbrok'; did you mean rosenbrock? there are qu"),
        (["zzz"], "there is no landscape 'zzz': there are quadratic, rosenbrock"),
        (["no/such.py:loss"], "no file no/such.py"),
        (["such.py"], "TARGET must be a landscape or path/to/file.py:loss, got 'such.py'"),
        (["such.py:"], "TARGET must be a landscape or path/to/file.py:loss"),
        ([":loss"], "TARGET must be a landscape or path/to/file.py:loss"),
        ([".:loss"], ". is a directory"),
        (["no/such.py:loss", "--dimensions", 2], "--dimensions is for landscapes"),
        (["beale", "--dimensions", 3], "beale always has 2"),
        (["rosenbrock", "--dimensions", 1], "dimensions is 1; expected an int >= 2"),
        (["booth", "--rule", "adamm"], "there is no rule 'adamm'; did you mean Adam?"),
        (["booth", "--b1", "x"], "Invalid value for '--b1': 'x' is not a number"),
        (["booth", "--b1", 1.5], "--b1 must be a number >= 0 and < 1, got 1.5"),
        (["booth", "--learning-rate", -1], "--learning-rate must be a number >= 0, got -1"),
        (["booth", "--learning-rate", "nan"], "--learning-rate must be a number >= 0, got nan"),
        (["booth", "--rule", "adagrad", "--b1", 0.5],
         "AdaGrad has no --b1: its options are --initial-accumulator, --eps"),
        (["booth", "--rule", "GradientDescent", "--nesterov"],
         "GradientDescent has no --nesterov: it has none of its own"),
        (["booth", "--rule", "yogi", "--no-amsgrad"], "Yogi has no --amsgrad: its options are"),
        (["booth", "--schedule", "Constant(0.1)", "--learning-rate", 0.1], "give one of them"),
        (["booth", "--clip-norm", 0], "--clip-norm must be a number > 0, got 0"),
        (["booth", "--max-steps", 1.5], "--max-steps must be a whole number >= 0, got 1.5"),
        (["booth", "--gtol", -1], "--gtol must be a number >= 0, got -1"),
        (["booth", "--patience", 0], "--patience must be a whole number >= 1, got 0"),
        (["booth", "--keep", "first"], "'first' is not one of 'best', 'last'"),
        (["booth", "--seed", -1], "--seed must be a whole number >= 0, got -1"),
        (["booth", "--seed", 2**31], "--seed must be below 2**31, got 2147483648"),
        (["booth", "--max-steps", "1e10"], "--max-steps must be below 2**31, got 1000000"),
        (["booth", "--time-limit", 0], "--time-limit must be a number of seconds > 0, got 0"),
        (["booth", "--out", __file__], "test_cli.py: File exists"),
        (["booth", "--out", f"{__file__}/in"], "test_cli.py/in: Not a directory"),
        (["booth", "--bogus"], 'No such option'),
    ],
)  # fmt: skip
def test_bad_usage_is_refused_in_one_line(words, said):
    assert said in refused("run", *words)


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
    assert [leaf.dtype for leaf in leaves] == [np.float32, np.complex64, np.int32]
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


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\ny = undefined\n", "bad.py, line 2: NameError: name 'undefined' is not defined"),
        ("x = 1\ndef loss(:\n", "bad.py, line 2: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "bad.py, line 2: SystemExit: 3"),
        ("import no_such_module\n", "bad.py, line 1: ModuleNotFoundError: No module named"),
        ("def los(x): return x\n", "bad.py has no 'loss': its functions are los"),
        ("", "bad.py has no 'loss': it defines no function"),
        ("def loss(x): return x\n", "bad.py has no params: define the start"),
        ("def loss(x): return x\ndef params(): return 1.0\n",
         "params(key) of bad.py: TypeError: params() takes 0 positional arguments"),
        ("def loss(x): return x\ndef params(key):\n  return 1 / 0\n",
         "params(key) of bad.py, line 3: ZeroDivisionError: division by zero"),
        ("params = 1.0\nloss = 3\n", "loss must be a function"),
        ("params = 1\ndef loss(x): return x\n", "params is the Python int 1: write 1.0"),
        ("params = 1.0\ndef loss(x):\n  assert False\n", "bad.py, line 3: AssertionError"),
        ("params = 1.0\ndef loss(x): pass\n", "loss must return a scalar float, got None"),
        ("params = 1.0\ndef loss(x):\n  return x if x > 0 else -x\n", "bad.py, line 3"),
        ("import jax.numpy as jnp\nparams = jnp.ones(3)\ndef loss(x):\n  return x @ jnp.ones(4)\n",
         "bad.py, line 4: TypeError: dot_general requires contracting dimensions"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_the_line_to_look_at(code, said, tmp_path):
    path = written(tmp_path / "bad.py", code)
    assert said in refused("run", f"{path}:loss")


def test_an_error_that_is_not_in_the_file_has_no_line(tmp_path):
    assert blame(KeyError(), tmp_path / "fit.py") == "fit.py: KeyError"


def test_a_run_that_goes_non_finite_fails_with_strictly_valid_json(tmp_path):
    code = "import jax.numpy as jnp\nparams = jnp.array([-1.0, jnp.inf])\n"
    path = written(tmp_path / "bad.py", code + "def loss(x): return jnp.sum(jnp.log(x))\n")
    done = jaxgd("run", f"{path}:loss", "--out", tmp_path)
    assert done.exit_code == 1, done.output
    assert "Try a learning rate 3 to 10 times lower, or --clip-norm 1" in done.output
    arrays, facts = files_of(tmp_path)
    assert np.isnan(arrays["loss"])
    assert facts["loss"] == "NaN"
    assert facts["params"] == [-1.0, "Infinity"]
    assert facts["status"] == "NON_FINITE"


def test_a_time_limit_ends_a_run_that_counts_as_finished(tmp_path):
    words = ("booth", "--max-steps", 1e9, "--time-limit", 0.3, "--keep", "last", "--out", tmp_path)
    done = jaxgd("run", *words)
    assert done.exit_code == 0, done.output
    _, facts = files_of(tmp_path)
    assert facts["status"] == "TIME_LIMIT"
    assert 0 < facts["steps"] < 1e9


def test_the_lists_are_complete_and_fit_100_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    for command, names in (
        ("rules", [*RULES, "Transforms", *map(option, TRANSFORM_OPTIONS)]),
        ("schedules", SCHEDULES),
        ("landscapes", gd.landscapes.LANDSCAPES),
    ):
        done = jaxgd(command)
        assert done.exit_code == 0, done.output
        lines = done.output.splitlines()
        heads = [line.split()[0] for line in lines if line and not line.startswith(" ")]
        assert heads == list(names)
        assert max(map(len, lines)) <= 100
    assert "learning_rate, b1=0.9, b2=0.999," in jaxgd("rules").output
    assert "init, steps, alpha=0.0" in jaxgd("schedules").output
    assert "2 dimensions" in jaxgd("landscapes").output


def test_help_and_version():
    assert jaxgd("--version").output.startswith(f"jaxgd {gd.__version__} (JAX {jax.__version__}")
    assert "  run         Minimise a loss.\n" in jaxgd().output


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


def test_ctrl_c_ends_a_long_run_with_its_files_and_130(tmp_path):
    # The bar is the sign that the run has begun.
    words = ("run", "rosenbrock", "--max-steps", 2e9, "--keep", "last", "--progress")
    with spawn(*words, "--out", tmp_path) as process:
        os.set_blocking(process.stderr.fileno(), True)
        seen, deadline = "", time.monotonic() + 60
        while "loss=" not in seen and time.monotonic() < deadline:
            seen += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, seen + stderr
    assert "Traceback" not in stderr
    assert "Interrupted from the keyboard" in stdout
    arrays, facts = files_of(tmp_path)
    assert facts["status"] == "INTERRUPTED"
    assert arrays["steps"] == facts["steps"] > 0
    assert len(arrays["history_loss"]) == facts["steps"] + 1


def test_without_click_one_line_says_how_to_get_it():
    code = "import sys; sys.modules['click'] = None; from jaxgd.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'jaxgd: the command line needs click: pip install "jaxgd[cli]"\n'


def test_jax_keeps_what_it_was_told_where_nothing_is_said():
    assert jnp.ones(1).dtype == jnp.float32
    assert "precision         float32" in jaxgd("run", "booth", "--max-steps", 1).output
