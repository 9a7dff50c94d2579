"""The command line from end to end: numbers in files, words on the screen, exit statuses."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cli_cases import files_of, jaxgd, spawn, written

import jaxgd as gd
from jaxgd.rules import RULES
from jaxgd.schedules import SCHEDULES
from jaxgd.schedules.expression import read_schedule
from jaxgd.target import TRANSFORM_OPTIONS, build_rule, option, options_of


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
    assert f"precision         {jnp.result_type(float)}\n" in done.output
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


def test_jax_keeps_what_it_was_told_where_nothing_is_said():
    told = jnp.ones(1).dtype
    assert f"precision         {told}\n" in jaxgd("run", "booth", "--max-steps", 1).output
    assert jnp.ones(1).dtype == told


def test_the_files_are_written_though_nobody_reads_the_table(tmp_path):
    for name, end in (("gone", "pipe"), ("full", "/dev/full")):
        out, words = tmp_path / name, ["run", "booth", "--max-steps", "3", "--out"]
        command = [sys.executable, "-m", "jaxgd", *words, str(out)]
        if end == "pipe":
            reader, writer = os.pipe()
            os.close(reader)
            sink = os.fdopen(writer, "wb")
        else:
            sink = open(end, "wb", buffering=0)  # noqa: SIM115
        done = subprocess.run(command, stdout=sink, stderr=subprocess.PIPE, text=True, check=False)
        with contextlib.suppress(OSError):
            sink.close()
        assert done.returncode == 1
        assert done.stderr == ("" if end == "pipe" else "jaxgd: output: No space left on device\n")
        files_of(out)


def test_a_narrow_terminal_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    for command in ("rules", "schedules", "landscapes"):
        assert jaxgd(command).exit_code == 0
