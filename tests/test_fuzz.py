"""Whatever the bytes or the words: exit status 0 or 2, one line if it is 2, no half of a file."""

import datetime
import io
import json
import math
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_cases import jaxgd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxgd.report.stored import read
from jaxgd.schedules import SCHEDULES
from jaxgd.schedules.expression import read_schedule
from jaxgd.target import find_target, landscape_name

READERS = settings(
    max_examples=60, derandomize=True, database=None, deadline=datetime.timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
PAGES = settings(READERS, max_examples=12)  # pictures are slow to draw
WORDS = settings(READERS, max_examples=150)


def one_line(text):
    return text.strip() and all(letter.isprintable() for letter in text.strip())


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The bytes of the files of one run and of many."""
    directory, files = tmp_path_factory.mktemp("stored"), {}
    for words in (("run", "booth"), ("run", "booth", "--starts", 3)):
        done = jaxgd(*words, "--max-steps", 2, "--no-cache", "--out", directory)
        assert done.exit_code == 0, done.output
    for path in directory.iterdir():
        files[path.name] = path.read_bytes()
    assert len(files) == 4
    return files


def checked_report(files):
    """Report on files and see that it is done, or refused and nothing else is written."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        for name, content in files.items():
            (here / name).write_bytes(content)
        done = jaxgd("report", here)
        assert done.exit_code in (0, 2), done.output
        names = {path.name for path in here.iterdir()}
        assert names == set(files) | ({"report.html"} if done.exit_code == 0 else set())
        assert done.exit_code == 0 or one_line(done.output)
        return done


def refusal(call, *args, error=(ValueError, TypeError, OSError)):
    """The words with which a call is refused; None if it is not."""
    try:
        call(*args)
    except error as told:
        return str(told)
    return None


def read_alone(files, name):
    """Read the outcome, or be refused in one line that names a file."""
    with tempfile.TemporaryDirectory() as place:
        for file, content in files.items():
            (Path(place) / file).write_bytes(content)
        said = refusal(read, Path(place) / name)
        assert said is None or (place in said and "\n" not in said)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
arrays = st.builds(
    lambda dtype, shape, fill: np.full(shape, fill).astype(dtype),
    st.sampled_from(["f8", "f4", "i4", "i8", "u1", "?", "c8", "U3", "M8[s]"]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 12),
)


@READERS
@given(content=st.binary(max_size=200), end=st.sampled_from(["json", "npz"]))
@example(content=b"", end="npz")
@example(content=b"PK\x05\x06" + bytes(18), end="npz")
@example(content=b"\x80\x04N.", end="npz")
@example(content=b"\x93NUMPY\xff", end="npz")
@example(content=b"[" * 100_000, end="json")
def test_any_bytes_in_the_place_of_a_file(stored, content, end):
    files = {"result.json": stored["result.json"], "result.npz": stored["result.npz"]}
    assert checked_report(files | {f"result.{end}": content}).exit_code == 2


@READERS
@given(data=st.data(), many=st.booleans(), end=st.sampled_from(["json", "npz"]))
def test_files_with_other_bytes_in_them_or_cut_off(stored, data, many, end):
    name = "runs" if many else "result"
    content = bytearray(stored[f"{name}.{end}"])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    files = {file: stored[file] for file in (f"{name}.json", f"{name}.npz")}
    read_alone(files | {f"{name}.{end}": bytes(content)}, f"{name}.json")


@READERS
@given(data=st.data(), many=st.booleans())
def test_json_with_other_values_in_it(stored, data, many):
    name = "runs" if many else "result"
    facts = json.loads(stored[f"{name}.json"])
    key = data.draw(st.sampled_from(sorted(facts)))
    facts[key] = data.draw(json_values)
    files = {f"{name}.npz": stored[f"{name}.npz"], f"{name}.json": json.dumps(facts).encode()}
    read_alone(files, f"{name}.json")


def with_arrays(content, changes):
    buffer = io.BytesIO()
    with np.load(io.BytesIO(content)) as kept:
        np.savez(buffer, **{**kept, **changes})
    return buffer.getvalue()


@PAGES
@given(data=st.data(), many=st.booleans())
def test_pages_about_files_with_other_arrays_and_facts(stored, data, many):
    name = "runs" if many else "result"
    with zipfile.ZipFile(io.BytesIO(stored[f"{name}.npz"])) as archive:
        names = sorted(member.removesuffix(".npy") for member in archive.namelist())
    changes = {data.draw(st.sampled_from(names)): data.draw(arrays)}
    facts = json.loads(stored[f"{name}.json"])
    facts[data.draw(st.sampled_from(sorted(facts)))] = data.draw(json_values)
    checked_report({
        f"{name}.npz": with_arrays(stored[f"{name}.npz"], changes),
        f"{name}.json": json.dumps(facts).encode(),
    })  # fmt: skip


PIECES = [
    *SCHEDULES, "(", ")", "[", "]", ",", "=", "0.1", "1e400", "-", "*", "**", "{", "}", ":",
    "steps", "value", "'a'", "lambda", "True", "None", "1j", "\n", "\\", "#", "__import__", "\x00",
    "数", "f'",
]  # fmt: skip


@WORDS
@given(text=st.text(max_size=30) | st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@example(text="Constant(" * 300)
@example(text="Join([" * 40 + "1" + "],[])" * 40)
@example(text="Constant(" + "9" * 5000 + ")")
@example(text="PiecewiseConstant([1,[2]],[3])")
def test_any_text_as_a_schedule(text):
    said = refusal(read_schedule, text, "--schedule", error=(ValueError, TypeError))
    if said is None:
        first = float(read_schedule(text, "--schedule")(0))
        assert first >= 0 or math.isnan(first)
    else:
        assert "--schedule" in said
        assert "\n" not in said


@WORDS
@given(text=st.text(max_size=20) | st.builds("{}.py:{}".format, st.text(max_size=9), st.text()))
@example(text=".py:loss")
@example(text="\x00.py:loss")
@example(text="..:loss")
@example(text="/:loss")
def test_any_text_as_a_target(text):
    assert refusal(find_target, text, error=(ValueError, OSError)) or landscape_name(text)


OPTIONS = [
    "--rule", "--rules", "--learning-rate", "--schedule", "--keep", "--max-steps", "--gtol",
    "--starts", "--sampler", "--lanes", "--seed", "--dimensions", "--time-limit", "--b1", "--eps",
    "--nesterov", "--clip-norm", "--low", "--high", "--count", "--target", "--tolerance", "--plot",
    "--x", "--", "-", "-h",
]  # fmt: skip
BAD = [
    "",
    "x",
    "nan",
    "-1",
    "1.5",
    "1e99",
    "adam",
    "Constant(",
    "\n",
    "\x1b[31m",
    "\udc80",
    "数 😀",
]
argv = st.text(st.characters(exclude_characters="\0"), max_size=8)


@WORDS
@given(
    command=st.sampled_from(["run", "tune", "compare", "report", "rules", "schedules"]) | argv,
    words=st.lists(st.sampled_from(OPTIONS) | st.sampled_from(BAD) | argv, max_size=6),
)
@example(command="run", words=["a\nb", "c"])
@example(command="run", words=["--max-steps", "\x1b[31m"])
def test_any_words_on_the_command_line(command, words):
    # The target that does not exist comes last, so that nothing is ever computed.
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        target = ["--out", str(out), "no-such"] if command in ("run", "tune", "compare") else []
        done = jaxgd(command, *target, *words)
        assert done.exit_code in (0, 2)
        assert done.exit_code == 0 or one_line(done.output)
        assert not out.exists()
