"""Pictures beside results, and the page about them: what is in it, and what never is."""

import html.parser
import io
import json
import re
import shlex
import shutil
import sys
import warnings
import xml.etree.ElementTree as ET

import jax.numpy as jnp
import numpy as np
import pytest
from cli_cases import files_of, jaxgd, refused, written

import jaxgd as gd
from jaxgd.report.stored import read

ONE = ("booth", "--learning-rate", 0.1, "--max-steps", 60, "--plot")
MANY = ("himmelblau", "--starts", 24, "--learning-rate", 0.1, "--max-steps", 300, "--gtol", 1e-2)
HOSTILE = "<script>alert('x')</script>"
FILE = """\
import jax.numpy as jnp
params = {"<script>alert('x')</script>": jnp.ones(2), "$\\\\frac$": 0.5, "a & b": jnp.ones(1),
          "\\u6570": 1.0, "n": jnp.int32(3)}
def loss(p): return sum(jnp.sum((v.astype(float) - i) ** 2) for i, v in enumerate(p.values()))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A directory with results of one run, of many and of a file with hostile names."""
    directory = tmp_path_factory.mktemp("results")
    for name, words in (("one", ONE), ("many", (*MANY, "--plot"))):
        done = jaxgd("run", *words, "--out", directory / name)
        assert done.exit_code == 0, done.output
    path = written(directory / "<img src=x onerror=y>" / "fit.py", FILE)
    done = jaxgd("run", f"{path}:loss", "--max-steps", 5, "--out", path.parent, "--plot")
    assert done.exit_code == 0, done.output
    assert "Warning" not in done.output
    return directory


class Seen(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(tag == name for name, _ in self.elements)


def reported(directory):
    done = jaxgd("report", directory)
    assert done.exit_code == 0, done.output
    text = (directory / "report.html").read_text(encoding="utf-8")
    return text, Seen(text), done.output


def test_plot_writes_the_pictures_of_one_run_and_the_path_that_they_show(results):
    here = results / "one"
    assert sorted(path.name for path in here.iterdir()) == [
        "result.json", "result.npz", "result.png", "result.svg",
    ]  # fmt: skip
    arrays, facts = files_of(here)
    booth = gd.landscapes.Booth()
    expected = gd.minimize(booth, booth.start, gd.Adam(0.1), 60, record=gd.Record(params=True))
    np.testing.assert_allclose(arrays["history_params"], expected.history.params, rtol=1e-5)
    assert arrays["history_params"].shape == (61, 2)
    assert facts["command"] == ["jaxgd", "run", *map(str, ONE), "--out", str(here)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["date"])
    for name in ("result", "runs"):
        folder = results / ("one" if name == "result" else "many")
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        root = ET.parse(folder / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_plot_of_many_runs_records_losses_at_as_many_steps_as_are_cheap(results):
    arrays, facts = files_of(results / "many", "runs")
    assert arrays["history_loss"].shape == (24, 301)
    first = np.asarray(gd.landscapes.Himmelblau()(jnp.asarray(arrays["start"][3])))
    np.testing.assert_allclose(arrays["history_loss"][3, 0], first, rtol=1e-5)
    assert facts["scale"]["params"] is not None
    words = ("booth", "--starts", 2000, "--max-steps", 1000, "--plot", "--out", results / "wide")
    done = jaxgd("run", *words)
    arrays, _ = files_of(results / "wide", "runs")
    assert arrays["history_loss"].size <= 500_000
    np.testing.assert_array_equal(np.diff(arrays["history_step"][0]), 5)
    listed = done.output[done.output.index("files") :].split()[1:5]
    assert [name.rpartition(".")[2] for name in listed] == ["npz", "json", "png", "svg"]
    shutil.rmtree(results / "wide")


def test_pictures_need_a_place_and_matplotlib_before_the_run_starts(tmp_path, monkeypatch):
    assert (
        refused("run", "booth", "--plot") == "--plot writes pictures: say where to, with --out DIR"
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("jaxgd.plot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = 'pictures need Matplotlib: pip install "jaxgd[plot]"'
    out = tmp_path / "out"
    # A target that does not exist: nobody looked for it yet.
    for command in ("run", "tune", "compare"):
        assert refused(command, "no_such", "--plot", "--out", out) == line
    assert refused("report", tmp_path) == line
    assert not out.exists()


def test_what_comes_back_from_the_files_is_what_was_found(results):
    one, many = read(results / "one" / "result.json"), read(results / "many" / "runs.json")
    booth, hill = gd.landscapes.Booth(), gd.landscapes.Himmelblau()
    expected = gd.minimize(booth, booth.start, gd.Adam(0.1), 60)
    timed = ("compile time", "run time")
    rows = [row for row in one.outcome.rows() if row[0] not in timed]
    assert rows == [row for row in expected.rows() if row[0] not in timed]
    starts = gd.starts.sobol(hill.start, hill.domain, 24)
    runs = gd.multistart(hill, starts, gd.Adam(0.1), 300, stop=gd.Stop(gtol=1e-2))
    found, sought = many.outcome.minima(), runs.minima()
    assert [m.count for m in found] == [m.count for m in sought]
    assert len(found) > 1
    for mine, theirs in zip(found, sought, strict=True):
        np.testing.assert_allclose(mine.params, theirs.params, rtol=1e-3)
    np.testing.assert_array_equal(many.outcome.status, runs.status)
    np.testing.assert_array_equal(many.outcome.inputs.params, starts)


def test_names_come_back_in_their_order_and_without_the_marks_of_python(results):
    stored = read(results / "<img src=x onerror=y>" / "result.json")
    assert list(stored.outcome.params) == ["$\\frac$", HOSTILE, "a & b", "n", "数"]
    assert list(stored.outcome.history.params or {}) == []


def test_a_report_has_tables_pictures_and_commands_and_needs_nothing_else(results):
    text, seen, output = reported(results)
    assert output == f"results           3\nfiles             {results / 'report.html'}\n"
    assert seen.count("section") == 3
    assert seen.count("svg") == 3 + 4 + 2
    for name, words in (("one", ONE), ("many", (*MANY, "--plot"))):
        command = ["jaxgd", "run", *map(str, words), "--out", str(results / name)]
        assert shlex.join(command) in seen.text
    _, facts = files_of(results / "many", "runs")
    for word in ("MAX_STEPS", f"minima ({facts['minima_found']})", gd.__version__, facts["date"]):
        assert word in seen.text
    for status, count in facts["counts"].items():
        assert f"{count:,} {status}" in seen.text
    kinds = {tag for tag, _ in seen.elements}
    assert not kinds & {"script", "iframe", "object", "embed", "foreignobject", "form"}
    policy = [a["content"] for tag, a in seen.elements if "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "prefers-color-scheme: dark" in text


def test_a_report_refers_to_nothing_outside_itself_and_to_what_is_there(results):
    text, seen, _ = reported(results)
    ids = [attributes["id"] for _, attributes in seen.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = re.findall(r"url\(([^)]*)\)", text)
    for _, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on")]
        targets += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href")]
    inside = {target[1:] for target in targets if target.startswith("#")}
    assert inside
    assert inside <= set(ids)
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"|http-equiv', "", text)


def test_hostile_names_are_text(results):
    text, seen, _ = reported(results)
    assert "alert" not in "".join(tag for tag, _ in seen.elements)
    assert "<img" not in text
    assert "<img src=x onerror=y>: one run" in seen.text
    assert HOSTILE not in text
    assert HOSTILE in seen.text
    assert HOSTILE in read(results / "<img src=x onerror=y>" / "result.json").outcome.params


def test_a_report_on_a_directory_of_its_own_draws_what_was_recorded(tmp_path):
    done = jaxgd("run", *MANY[:3], "--max-steps", 0, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert not [name for name in files_of(tmp_path, "runs")[0] if name.startswith("history")]
    _, seen, _ = reported(tmp_path)
    assert (seen.count("svg"), seen.count("nav")) == (3, 0)
    assert "Many runs" in seen.text


def as_npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def spoilt(source, **changes):
    """The bytes of an npz file with other arrays in it, None for one that is left out."""
    with np.load(source) as arrays:
        kept = {**arrays, **changes}
    return as_npz(**{name: array for name, array in kept.items() if array is not None})


def bad_files(results):
    """Pairs of a file and bad contents for it, with what is said of them."""
    one, many = results / "one" / "result", results / "many" / "runs"
    npz, npz_many = one.with_suffix(".npz"), many.with_suffix(".npz")
    facts = json.loads(one.with_suffix(".json").read_text())
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    text = json.dumps(facts | {"transforms": 3}).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pickled = as_npz(loss=np.array([{}], dtype=object))
    return [
        (npz, npz.read_bytes()[:2000], "BadZipFile"),
        (npz, b"", "result.npz is damaged, or was not written by jaxgd: EOFError"),
        (npz, b"\x93NUMPY", "result.npz is damaged"),
        (npz, pickled, "Object arrays cannot be loaded"),
        (npz, as_npz(loss=np.array("high")), "'loss' is no array of numbers"),
        (npz, spoilt(npz, loss=None), "result.json is damaged, or was not written by jaxgd: Key"),
        (npz, spoilt(npz, loss=np.ones(3)), "'loss' has the shape (3,) and the dtype float64"),
        (npz, spoilt(npz, status=np.array(99)), "99 is not a valid Status"),
        (npz, spoilt(npz, params=None), "there are no params in it"),
        (npz, spoilt(npz, history_loss=np.ones(7)), "'loss' has the shape (7,)"),
        (npz, spoilt(npz, history_params=np.ones((3, 2))), "history_params has the shape (3, 2)"),
        (npz_many, spoilt(npz_many, start=np.ones((5, 2))), "'start' has the shape (5, 2)"),
        (npz_many, spoilt(npz_many, loss=np.ones(())), "runs.json is damaged"),
        (one.with_suffix(".json"), b"{", "JSONDecodeError"),
        (one.with_suffix(".json"), b"[]", "ValueError: there is no object in it"),
        (one.with_suffix(".json"), b"{}", "KeyError"),
        (one.with_suffix(".json"), b"\xff\xfe\x00", "result.json is damaged"),
        (one.with_suffix(".json"), deep, "RecursionError"),
        (one.with_suffix(".json"), text, "result.json is damaged, or was not written by jaxgd"),
    ]


def test_bad_files_are_refused_with_the_file_and_the_reason(results):
    for path, content, said in bad_files(results):
        kept = path.read_bytes()
        path.write_bytes(content)
        try:
            line = refused("report", path.parent)
        finally:
            path.write_bytes(kept)
        assert str(path.parent) in line
        assert said in line
        assert not (path.parent / "report.html").exists()


def test_directories_without_results_are_refused(tmp_path, results):
    assert "no result.json, runs.json, tune.json, compare.json is there" in refused(
        "report", tmp_path
    )
    assert refused("report", tmp_path / "none") == f"{tmp_path / 'none'}: No such file or directory"
    path = results / "one" / "result.json"
    assert refused("report", path) == f"{path}: Not a directory"
    shutil.copy(path, tmp_path)
    npz = tmp_path / "result.npz"
    assert refused("report", tmp_path) == f"{npz}: No such file or directory"
    for at in range(101):
        written(tmp_path / str(at) / "tune.json", "{}")
    assert "holds 102 results, and a page shows 100" in refused("report", tmp_path)
