"""The notebooks run, find what they say, and are stored with their outputs."""

import re
from pathlib import Path

import pytest

import jaxgd as gd

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def read(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def text_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A function that executes a notebook in an empty directory; a cell that fails raises."""
    from nbclient import NotebookClient

    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    # Stored as they run for those who have changed none of JAX's settings.
    for variable in ("ENABLE_X64", "NUMPY_DTYPE_PROMOTION", "NUMPY_RANK_PROMOTION"):
        monkeypatch.delenv(f"JAX_{variable}", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)

    def execute(path):
        resources = {"metadata": {"path": str(tmp_path)}}
        client = NotebookClient(read(path), timeout=300, kernel_name="python3", resources=resources)
        return client.execute()

    return execute


def influenza(text):
    loss = float(re.search(r"best loss (\d+\.\d+),", text)[1])
    number = float(re.search(r"reproduction number (\d+\.\d+),", text)[1])
    share = float(re.search(r"found from (\d+\.\d+)% of the starts", text)[1])
    assert loss == pytest.approx(gd.landscapes.Influenza.minimum, rel=0.01)
    assert number == pytest.approx(3.70, abs=0.05)
    assert share > 75


def minibatch(text):
    reached = [float(number) for number in re.findall(r"steps, test accuracy (\d+\.\d) %", text)]
    assert len(reached) == 3
    assert reached[0] < 93  # all of them at each step
    assert min(reached[1:]) > 95
    assert 0.3 < float(re.search(r"learning rates: (\d+\.\d+)", text)[1]) < 20
    assert "STOPPED" in text
    assert float(re.search(r"epochs: test accuracy (\d+\.\d) %", text)[1]) > 97
    assert float(re.search(r"together: (\d+\.\d) %", text)[1]) > 97


def models(text):
    reached = re.findall(r"(\w+): test accuracy (\d+\.\d) %", text)
    assert [name for name, _ in reached] == ["plain", "linen", "nnx", "equinox"]
    assert min(float(number) for _, number in reached) > 96
    assert "the result is a MLP" in text


def quickstart(text):
    lines = re.findall(r"(?:descent|formula): slope (\d+\.\d+), intercept (\d+\.\d+)", text)
    (slope, intercept), formula = ([float(number) for number in line] for line in lines)
    assert [slope, intercept] == pytest.approx(formula, abs=0.02)
    off = [float(number) for number in re.findall(r"slope off by (\d+\.\d+)", text)]
    assert len(off) == 6
    assert off == sorted(off, reverse=True)
    assert off[0] > 1
    assert off[-1] < 0.01
    assert re.search(r"too high: NON_FINITE after \d+ steps, loss (inf|nan)", text)
    assert float(re.search(r"too low: MAX_STEPS after 100 steps, loss (\d+\.\d+)", text)[1]) > 10
    assert float(re.search(r"edge: MAX_STEPS after 100 steps, loss (\d+\.\d+)", text)[1]) < 0.19
    first, last = re.findall(r"step [\d,]+: (\w+), slope (\d+\.\d+)", text)
    assert (first[0], last[0]) == ("MAX_STEPS", "CONVERGED_LOSS")
    assert float(last[1]) == pytest.approx(formula[0], abs=0.05)
    ends = re.findall(r"(?:gradient descent|Adam): (\d+) steps, slope (\d+\.\d+)", text)
    assert [float(end) for _, end in ends] == pytest.approx([formula[0]] * 2, abs=0.02)
    assert int(ends[0][0]) < int(ends[1][0])  # Adam has nothing to gain


def rules(text):
    reached = dict(re.findall(r"(\w+) +loss (\S+) after 300 steps", text))
    assert float(reached["descent"]) > 1
    assert max(float(reached[name]) for name in ("momentum", "Nesterov", "Lion")) < 0.01
    ends = re.findall(r"ends at \( ?(-?\d+\.\d+), (-?\d+\.\d+)\)", text)
    assert ends[0] == ends[2]
    assert ends[0] != ends[1]
    rates = re.findall(r"suggested (\S+), stable up to (\S+)", text)
    assert [float(highest) >= 10 for _, highest in rates] == [False, False, True]
    assert float(rates[1][0]) == float(rates[1][1])  # momentum is best right before it diverges
    assert "momentum is best" in text
    steps = dict(re.findall(r"^(\w[\w, ]*\w) +\d+% +([\d,]+|inf) ", text, re.MULTILINE))
    assert list(steps) == ["momentum, clipped", "Adam", "momentum", "gradient descent"]
    away = re.findall(r"(\d\.\d+) from the minimum at the end", text)
    high, low, *decaying = [float(number) for number in away]
    assert high > 2.5 * low
    assert len(decaying) == 3
    assert max(decaying) < low
    assert float(re.search(r"step 200 on: (\d\.\d+)", text)[1]) < min(decaying)


def starts(text):
    empty = re.findall(r"(\d+) of 16 squares are empty", text)
    assert int(empty[0]) > 0
    assert empty[2] == "0"
    counts = [int(n.replace(",", "")) for n in re.findall(r"\d\): ([\d,]+) runs", text)]
    assert len(counts) == 4
    assert sum(counts) == 4096
    assert min(counts) > 900
    assert re.search(r"CONVERGED_GRADIENT, \d NON_FINITE", text)
    assert float(re.search(r"rates from (\S+) to", text)[1]) < 1e-3
    quickest, steps = re.search(r"quickest is (\S+), with (\d+) steps", text).groups()
    assert float(quickest) > 0.01
    assert int(steps) < 40
    assert "121 minima" in text
    assert 0.5 < float(re.search(r"success rate: (\d\.\d)%", text)[1]) < 1.5
    assert float(re.search(r"^best loss (\S+)", text, re.MULTILINE)[1]) < 1e-6
    everyone, race = re.findall(r": best loss (\S+) after ([\d,]+) steps", text)
    assert everyone[0] == race[0] == "-4.6877"
    assert int(race[1].replace(",", "")) < 0.26 * int(everyone[1].replace(",", ""))


def own_rule(text):
    reached = dict(re.findall(r"(descent|Adam|Rprop): loss (\S+) after 150 steps", text))
    assert float(reached["Rprop"]) < float(reached["Adam"]) < float(reached["descent"])
    assert 100 < int(re.search(r"from all starts by (\d+) of 289", text)[1]) < 250
    assert "as in 1993: 100% of the starts" in text
    assert float(re.search(r"differ by (\S+) at most", text)[1]) < 1e-3
    assert float(re.search(r"a chain of optax: (\S+)", text)[1]) < 1e-3
    assert float(re.search(r"in a loop of optax: (\S+)", text)[1]) < 1e-10
    before, after = re.search(r"TrainState: loss (\S+) before, (\S+) after", text).groups()
    same, best = re.search(r"same by gd.minimize: (\S+), at its best (\S+)", text).groups()
    assert float(after) == pytest.approx(float(same), rel=0.2)
    assert float(best) <= float(same) < 0.1 * float(before)
    away = [float(number) for number in re.findall(r"ends (\d\.\d+) from the minimum", text)]
    assert away == sorted(away, reverse=True)
    assert away[0] > 2 * away[1]
    assert "layers_0: moved by up to 0.00" in text
    assert not re.search(r"layers_2: moved by up to 0\.00", text)
    frozen = float(re.search(r"loss (\S+) with the first layer frozen", text)[1])
    assert 2 * float(best) < frozen < float(before)


CHECKS = {
    "influenza": influenza,
    "minibatch": minibatch,
    "models": models,
    "own_rule": own_rule,
    "quickstart": quickstart,
    "rules": rules,
    "starts": starts,
}


def test_every_notebook_is_checked():
    assert [path.stem for path in NOTEBOOKS] == sorted(CHECKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_finds_what_it_says(path, executed):
    CHECKS[path.stem](text_of(executed(path)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_with_its_outputs(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert all(o.output_type in {"stream", "display_data"} for o in outputs)
    assert all(o.name == "stdout" for o in outputs if o.output_type == "stream")
    assert notebook.metadata.kernelspec.name == "python3"
    assert not re.search(r"(?<!\w)/(home|Users|tmp|root|work)/", path.read_text())
    CHECKS[path.stem](text_of(notebook))
