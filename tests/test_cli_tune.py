"""Choices before the real run: a learning rate and a rule, as the library makes them."""

import importlib
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from cli_cases import jaxgd, refused, written

import jaxgd as gd

TUNE = ("beale", "--rule", "momentum", "--decay", 0.8, "--clip-norm", 5, "--max-steps", 40,
        "--low", 1e-4, "--high", 1, "--count", 9)  # fmt: skip


def told(directory, name):
    return json.loads((directory / name).read_text())


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where one command of each kind has written its files."""
    return tmp_path_factory.mktemp("choices")


@pytest.fixture(scope="module")
def tuned(directory):
    return jaxgd("tune", *TUNE, "--out", directory, "--plot")


@pytest.fixture(scope="module")
def compared(directory):
    words = ("quadratic", "--rules", "adam, gradient-descent", "--max-steps", 30)
    return jaxgd("compare", *words, "--out", directory, "--plot")


def test_tune_gives_what_the_finder_gives(tuned, directory):
    assert tuned.exit_code == 0, tuned.output
    facts, beale = told(directory, "tune.json"), gd.landscapes.Beale()
    rule = gd.chain(gd.ClipByGlobalNorm(5.0), gd.Momentum(1.0, decay=0.8))
    expected = gd.find_learning_rate(beale, beale.start, rule, 1e-4, 1.0, count=9, max_steps=40)
    np.testing.assert_array_equal(facts["rates"], expected.rates)
    np.testing.assert_array_equal([float(loss) for loss in facts["losses"]], expected.losses)
    assert facts["suggestion"] == expected.suggestion
    assert tuple(facts["stable"]) == expected.stable
    assert facts["rule"] == {
        "name": "Momentum", "learning_rate": expected.suggestion, "decay": 0.8, "nesterov": False,
    }  # fmt: skip
    assert [part["name"] for part in facts["transforms"]] == ["ClipByGlobalNorm"]
    assert facts["command"] == ["jaxgd", "tune", *map(str, TUNE), "--out", str(directory), "--plot"]
    rows = dict(expected.rows())
    for name in ("suggestion", "stable rates", "lowest loss", "steps"):
        assert f"{name:<17} {rows[name]}\n" in tuned.output
    assert "then Momentum(learning_rate=?," in tuned.output
    assert f"precision         {jnp.result_type(float)}\n" in tuned.output
    assert tuned.output.endswith(f"as --learning-rate {expected.suggestion:.3g}.\n")
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        assert (directory / f"tune{suffix}").read_bytes().startswith(start)


def test_where_no_rate_is_stable_the_status_is_1_and_the_advice_is_for_a_shell(tmp_path):
    words = ("quadratic", "--rule", "gradient-descent", "--low", 1e3, "--high", 1e5, "--count", 3)
    done = jaxgd("tune", *words, "--max-steps", 50, "--out", tmp_path)
    assert done.exit_code == 1, done.output
    assert "try a lower one, such as --low 0.1, more steps" in " ".join(done.output.split())
    assert told(tmp_path, "tune.json")["suggestion"] == "NaN"


def test_a_schedule_keeps_its_form(tmp_path):
    path = written(tmp_path / "fit.py", "params = 3.0\ndef loss(x): return x ** 2\n")
    words = ("--schedule", "CosineDecay(2.0, steps=20)", "--max-steps", 20, "--count", 5)
    done = jaxgd("tune", f"{path}:loss", *words, "--rule", "gradient-descent", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    facts = told(tmp_path, "tune.json")
    assert facts["rule"]["learning_rate"] == {
        "name": "Scaled",
        "schedule": {"name": "CosineDecay", "init": 2.0, "steps": 20, "alpha": 0.0},
        "factor": facts["suggestion"] / 2.0,
    }
    assert "Scale the schedule so that its highest rate is the suggestion.\n" in done.output


def test_compare_gives_each_rule_the_rate_that_the_finder_suggests(compared, directory):
    assert compared.exit_code == 0, compared.output
    facts, bowl = told(directory, "compare.json"), gd.landscapes.Quadratic()
    rules = {
        name: gd.find_learning_rate(bowl, bowl.start, rule, max_steps=30).rule
        for name, rule in {"Adam": gd.Adam(1.0), "GradientDescent": gd.GradientDescent(1.0)}.items()
    }
    expected = gd.compare(bowl, bowl.start, rules, 30)
    assert facts["names"] == list(expected.names)
    assert facts["message"] == expected.message
    steps = [[float(step) for step in row] for row in facts["steps_to_target"]]
    np.testing.assert_array_equal(steps, expected.steps_to_target)
    np.testing.assert_allclose(facts["median_loss"], expected.median_loss)
    assert facts["target_loss"] == float(expected.target)
    for name, rule in rules.items():
        assert facts["rules"][name]["learning_rate"] == rule.learning_rate
        assert f"{name} {rule.learning_rate:.3g}\n" in compared.output
    assert "from              the finder, which tried 43 from 1e-06 to 10" in compared.output
    assert (facts["rates_found"], facts["left_out"]) == (True, [])
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        assert (directory / f"compare{suffix}").read_bytes().startswith(start)


def test_compare_from_many_starts_at_a_given_rate(tmp_path):
    words = ("--rules", "adam,lion", "--learning-rate", 0.05, "--starts", 6, "--target", 0.5)
    done = jaxgd("compare", "booth", *words, "--max-steps", 400, "--seed", 2, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    booth = gd.landscapes.Booth()
    starts = gd.starts.sobol(booth.start, booth.domain, 6, seed=2)
    rules = {"Adam": gd.Adam(0.05), "Lion": gd.Lion(0.05)}
    expected = gd.compare(booth, starts, rules, 400, axes=gd.Axes(params=0), target=0.5)
    facts = told(tmp_path, "compare.json")
    assert facts["names"] == list(expected.names)
    np.testing.assert_allclose(facts["success_rate"], expected.success_rate)
    assert (facts["starts"], facts["sampler"], facts["rates_found"]) == (6, "sobol", False)
    assert "starts            6, drawn by sobol\n" in done.output
    assert "from              the command line, the same for all rules\n" in done.output
    assert re.search(r"^rule  success  steps", done.output, flags=re.MULTILINE)


def test_a_rule_without_a_stable_rate_is_left_out_and_without_any_the_status_is_1(tmp_path):
    # Gradient descent needs a rate below 1e-7 here; steps of Lion do not grow with the gradient.
    code = "params = 3.0\ndef loss(x): return 1e7 * x ** 2\n"
    path = written(tmp_path / "steep.py", code)
    words = ("--max-steps", 20, "--out", tmp_path)
    done = jaxgd("compare", f"{path}:loss", "--rules", "gradientdescent,lion", *words)
    assert done.exit_code == 0, done.output
    assert "GradientDescent none is stable, left out\n" in done.output
    facts = told(tmp_path, "compare.json")
    assert (facts["names"], facts["left_out"]) == (["Lion"], ["GradientDescent"])
    done = jaxgd("compare", f"{path}:loss", "--rules", "gradientdescent", "--max-steps", 20)
    assert done.exit_code == 1, done.output
    assert "No rule has a rate in that range that lowers the loss" in done.output
    words = ("--rules", "gradientdescent", "--learning-rate", 9, "--max-steps", 50)
    done = jaxgd("compare", f"{path}:loss", *words)
    assert done.exit_code == 1, done.output
    assert "No rule gave a finite loss" in done.output


def test_a_report_tells_of_both(tuned, compared, directory):
    assert tuned.exit_code == compared.exit_code == 0
    done = jaxgd("report", directory)
    assert done.exit_code == 0, done.output
    text = (directory / "report.html").read_text()
    assert text.count("<svg") == 1
    facts = told(directory, "compare.json")
    for word in ("Learning rates", "Rules compared", facts["message"], "43", "suggestion"):
        assert word in text
    for name, steps in zip(facts["names"], facts["expected_steps"], strict=True):
        shown = "never" if steps == "Infinity" else f"{steps:,.0f}"
        assert re.search(rf"<td>{name}</td><td>[\d.]+%</td><td>{shown}</td>", text)
    for name, change in (
        ("tune.json", {"rates": [1.0]}),
        ("tune.json", {"status": ["LOST"]}),
        ("compare.json", {"failed": []}),
        ("compare.json", {"names": None}),
    ):
        kept = (directory / name).read_text()
        (directory / name).write_text(json.dumps(json.loads(kept) | change))
        line = refused("report", directory)
        assert f"{name} is damaged, or was not written by jaxgd" in line
        (directory / name).write_text(kept)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "Missing argument 'TARGET'"),
        (["tune", "boot"], "there is no landscape 'boot'"),
        (["tune", "booth", "--low", 0], "--low must be a finite learning rate > 0, got 0"),
        (["tune", "booth", "--high", "inf"], "--high must be a finite learning rate > 0, got inf"),
        (["tune", "booth", "--low", 1, "--high", 1], "--high must be above --low, got 1 and 1"),
        (["tune", "booth", "--count", 2], "--count must be a whole number >= 3, got 2"),
        (["tune", "booth", "--max-steps", 0], "--max-steps must be a whole number >= 1, got 0"),
        (["tune", "booth", "--rule", "lion", "--eps", 1], "Lion has no --eps"),
        (["tune", "booth", "--learning-rate", 1], "No such option"),
        (["tune", "booth", "--plot"], "--plot writes pictures: say where to, with --out DIR"),
        (["compare", "booth", "--plot"], "--plot writes pictures: say where to, with --out DIR"),
        (["compare", "booth", "--rules", "adam,Adam"], "--rules has Adam twice"),
        (["compare", "booth", "--rules", "adam,"], "--rules: there is no rule ''"),
        (["compare", "booth", "--rules", "adan"], "there is no rule 'adan'; did you mean Adam?"),
        (["compare", "booth", "--learning-rate", 1, "--schedule", "Constant(1)"], "give one of th"),
        (["compare", "booth", "--target", "nan"], "--target must be a number, got nan"),
        (["compare", "booth", "--tolerance", 1], "--tolerance must be a number between 0 and 1"),
        (
            ["compare", "booth", "--starts", 1e6, "--rules", "adam"],
            "1,001,000,000 here and 100,000",
        ),
        (["compare", "booth", "--sampler", "sobol"], "--sampler is for many starts"),
        (["compare", "booth", "--max-steps", 0], "--max-steps must be a whole number >= 1, got 0"),
    ],
)
def test_bad_usage_is_refused_in_one_line(words, said):
    assert said in refused(*words)


def test_an_error_in_a_file_is_told_with_its_line(tmp_path):
    path = written(tmp_path / "bad.py", "params = 1.0\ndef loss(x): assert False\n")
    for command in ("tune", "compare"):
        assert "bad.py, line 2: AssertionError" in refused(command, f"{path}:loss")


def test_ctrl_c_ends_a_search_with_130(monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    for command in ("tune", "compare"):
        # The attribute of the package is the command itself.
        module = importlib.import_module(f"jaxgd.cli.{command}")
        monkeypatch.setattr(module, "find_learning_rate", interrupted)
        done = jaxgd(command, "booth")
        assert done.exit_code == 130
        assert done.output.strip() == "jaxgd: interrupted"


def test_the_help_fits_80_columns_and_lists_what_there_is():
    for command, some in (
        ("tune", ("--low", "--high", "--count", "--nesterov", "--clip-norm")),
        ("compare", ("--rules", "--tolerance", "--starts", "--clip-norm")),
    ):
        text = jaxgd(command, "--help").output
        assert max(map(len, text.splitlines())) <= 80
        assert all(f"  {word} " in text for word in some)
    text = jaxgd().output
    assert all(f"  {command} " in text for command in ("tune", "compare", "report"))
