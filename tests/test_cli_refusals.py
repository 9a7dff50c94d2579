"""What the command line refuses: one line that says what to do, and exit status 2."""

import subprocess
import sys

import pytest
from cli_cases import refused, written

from jaxgd.target import blame


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
        (["booth", "--out", __file__], "test_cli_refusals.py: File exists"),
        (["booth", "--out", f"{__file__}/in"], "test_cli_refusals.py/in: Not a directory"),
        (["booth", "--bogus"], 'No such option'),
    ],
)  # fmt: skip
def test_bad_usage_is_refused_in_one_line(words, said):
    assert said in refused("run", *words)


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


def test_without_click_one_line_says_how_to_get_it():
    code = "import sys; sys.modules['click'] = None; from jaxgd.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'jaxgd: the command line needs click: pip install "jaxgd[cli]"\n'


NOT_IN_A_SHELL = [
    ("params = 1.0\ndef loss(x): return x**2, x\n", "write a function that returns the loss alone"),
    ("import sys\nparams = 1.0\ndef loss(x): sys.exit(0)\n", "bad.py, line 3: SystemExit: 0"),
    ("import sys\ndef params(key): sys.exit(0)\ndef loss(x): return x\n",
     "params(key) of bad.py, line 2: SystemExit: 0"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "said"), NOT_IN_A_SHELL)
def test_what_only_python_code_could_do_is_not_advised(code, said, tmp_path):
    message = refused("run", f"{written(tmp_path / 'bad.py', code)}:loss")
    assert said in message
    assert "has_aux" not in message
