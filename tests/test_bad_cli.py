"""Bad files and words on the command line: one line, exit status 2, and the disk as it was."""

import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_cases import jaxgd, refused, written

FAST = ("--max-steps", 2, "--no-cache")
GOOD = "params = 1.0\ndef loss(x): return x**2\n"
PATHS = ["fit.py", "a b/my fit.py", "ü/数 😀.py", "a:b/c.py", "it's/$HOME.py", "fit.txt", "-x/f.py"]


def seen(directory):
    """All that is in a directory."""
    return sorted(str(p) for p in directory.rglob("*") if p.name != "__pycache__")


def printable(line):
    return all(letter.isprintable() for letter in line)


@pytest.mark.parametrize("name", PATHS)
def test_valid_paths_work_whatever_they_are_called(name, tmp_path):
    path = written(tmp_path / name, GOOD)
    out = tmp_path / "o ü" / f"{path.stem} 😀"
    done = jaxgd("run", f"{path}:loss", *FAST, "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == ["result.json", "result.npz"]


def test_a_file_may_print(tmp_path):
    path = written(tmp_path / "fit.py", "print('hello')\n" + GOOD)
    done = jaxgd("run", f"{path}:loss", *FAST)
    assert done.exit_code == 0
    assert done.output.startswith("hello\ntarget ")


FILES = [
    ("class E(BaseException): pass\nraise E('stop')\n", "bad.py, line 2: E: stop"),
    ("raise GeneratorExit\n", "bad.py, line 1: GeneratorExit"),
    ("raise ExceptionGroup('two', [ValueError(1)])\n", "bad.py, line 1: ExceptionGroup: two"),
    ("class E(Exception):\n  def __str__(self): return 1\nraise E\n", "bad.py, line 3: E"),
    ("raise ValueError('one\\ntwo')\n", "bad.py, line 1: ValueError: one two"),
    ("raise ValueError('\\x1b[31mred\\x1b[0m')\n", "ValueError: \\x1b[31mred"),
    ("raise ValueError('\\udc80')\n", "bad.py, line 1: ValueError: \\udc80"),
    ("def f(): f()\nf()\n", "bad.py, line 1: RecursionError"),
    ("def __getattr__(name): raise RuntimeError(name)\n", "bad.py, line 1: RuntimeError: loss"),
    ("params = 1.0\nclass loss: pass\n", "loss must be a function of the params, got the class"),
    ("params = 1.0\nloss = None\n", "loss must be a function of the params, got None"),
    ("params = 'far'\ndef loss(x): return x\n", "params has no leaf to optimise", "got 'far'"),
    ("params = None\ndef loss(x): return x\n", "params has no leaf to optimise"),
    ("params = {1: 1.0, 'a': 2.0}\ndef loss(x): return x\n", "params must be a pytree, got dict"),
    ("import os as params\ndef loss(x): return x\n", "params has no leaf", "got module"),
    ("params = [object()]\ndef loss(x): return x\n", "params has no leaf", "got object"),
    ("def params(key): raise BaseException('no')\ndef loss(x): return x\n",
     "params(key) of bad.py, line 1: BaseException: no"),
    ("params = 1.0\ndef loss(x): raise BaseException('no')\n", "bad.py, line 2: BaseException: no"),
    ("params = 1.0\ndef loss(x): return loss(x)\n", "bad.py, line 2: RecursionError"),
    (GOOD + "bounds = 3\n", "bounds must be a pair (lower, upper)", "got 3"),
    (GOOD + "def bounds(): pass\n", "bounds must be a pair (lower, upper)", "got function"),
    (GOOD + "bounds = (2, 3)\n", "params starts outside its bounds: 1.0 is not in [2.0, 3.0]"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words"), [(code, words) for code, *words in FILES])
def test_a_bad_file_is_refused_and_leaves_nothing(code, words, tmp_path):
    path = written(tmp_path / "bad.py", code)
    before = seen(tmp_path)
    line = refused("run", f"{path}:loss", *FAST, "--out", tmp_path / "out" / "deep")
    assert all(word in line for word in words)
    assert printable(line)
    assert seen(tmp_path) == before


@pytest.mark.parametrize(
    "code",
    ["raise KeyboardInterrupt\n", "loss = abs\ndef params(key): raise KeyboardInterrupt\n"],
)
def test_ctrl_c_in_a_file_is_an_interruption(code, tmp_path):
    path = written(tmp_path / "bad.py", code)
    done = jaxgd("run", f"{path}:loss", "--out", tmp_path / "out")
    assert (done.exit_code, done.output.strip()) == (130, "jaxgd: interrupted")
    assert seen(tmp_path) == [str(path)]


def test_bytes_that_are_no_text_are_no_python(tmp_path):
    path = tmp_path / "bad.py"
    path.write_bytes(bytes(range(256)))
    assert "bad.py: SyntaxError" in refused("run", f"{path}:loss")


WORDS = [
    ((), "there is no landscape ''"),
    (("-",), "there is no landscape '-'"),
    (("bo\x1bth",), "there is no landscape 'bo\\x1bth'"),
    (("no\nsuch.py:loss",), "no file no such.py"),
    (("no\udc80.py:loss",), "no file no\\udc80.py"),
    (("/dev/null:loss",), "no file /dev/null"),
    (("fit.py:a.b",), "TARGET must be a landscape or path/to/file.py:loss"),
    (("x" * 5000 + ".py:loss",), "File name too long"),
    (("booth", "be\nale"), "Got unexpected extra argument (be\\nale)"),
    (("booth", "--out", ""), "Invalid value for '--out': '' is no path of a directory"),
    (("booth", "--out", "a\0b"), "'--out': 'a\\x00b' is no path of a directory"),
    (("booth", "--out", "x" * 300), "File name too long"),
    (("booth", "--out", "/dev/null"), "/dev/null: File exists"),
    (("booth", "--max-steps", ""), "'--max-steps': '' is not a number"),
    (("booth", "--max-steps", "0x10"), "'--max-steps': '0x10' is not a number"),
    (("booth", "--max-steps", "nan"), "--max-steps must be a whole number >= 0, got nan"),
    (("booth", "--max-steps", "9" * 5000), "--max-steps must be a whole number >= 0, got inf"),
    (("booth", "--max-steps=-3"), "--max-steps must be a whole number >= 0, got -3"),
    (("booth", "--seed", "nan"), "--seed must be a whole number >= 0, got nan"),
    (("quadratic", "--dimensions", "inf"), "--dimensions must be a whole number >= 1, got inf"),
    (("booth", "--time-limit", "nan"), "--time-limit must be a number of seconds > 0, got nan"),
    (("booth", "--gtol", "nan"), "--gtol must be a number >= 0, got nan"),
    (("booth", "--target", "nan"), "--target must be a number, got nan"),
    (("booth", "--starts", "1e10"), "--starts must be below 2**31, got 10000000000.0"),
    (("booth", "--starts", 3, "--lanes", "nan"), "--lanes must be a whole number >= 1, got nan"),
    (("booth", "--rule", "adam\n"), "there is no rule 'adam\\n'; did you mean Adam?"),
    (("booth", "--keep", ""), "Invalid value for '--keep'"),
    (("booth", "--clip-norm", "nan"), "--clip-norm must be a number > 0, got nan"),
    (("booth", "--l2", -1), "--l2 must be a number >= 0, got -1"),
    (("booth", "--b1="), "Invalid value for '--b1': '' is not a number"),
    (("booth", "--nesterov=1"), "'--nesterov' does not take a value"),
    (("booth", "--schedule", "\n"), "--schedule '\\n' cannot be read"),
    (("booth", "--schedule", "Constant(9**9)"), "--schedule may hold", "not '9 ** 9'"),
    (("booth", "--schedule", "Constant\0"), "--schedule 'Constant\\x00' cannot be read"),
    (("booth", "--schedule", "Constant(1);1"), "--schedule 'Constant(1);1' cannot be read"),
    (("booth", "--schedule", "x:=1"), "--schedule 'x:=1' cannot be read"),
    (("booth", "--schedule", "Constant(True)"), "--schedule.value must be a number", "got True"),
    (("booth", "--schedule", "Join([Constant(1)],[2])"), "--schedule.schedules must have one"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), [(words, said) for words, *said in WORDS])
def test_bad_words_are_refused_and_leave_nothing(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words or ("",)
    out = () if "--out" in words else ("--out", tmp_path / "out")
    line = refused("run", *words, *out)
    assert all(word in line for word in said)
    assert printable(line)
    assert not seen(tmp_path)


@pytest.mark.parametrize("command", ["run", "tune", "compare"])
def test_places_where_nothing_can_be_written_are_seen_before_the_run(command, tmp_path):
    (tmp_path / f"{command.replace('run', 'result')}.json").mkdir()
    before = seen(tmp_path)
    assert ".json: Is a directory" in refused(command, "no_such", "--out", tmp_path)
    odd = written(tmp_path / "a\nfile", "")
    assert "/a\\nfile/x: Not a directory" in refused(command, "no_such", "--out", odd / "x")
    odd.unlink()
    assert "there is no landscape" in refused(command, "no_such", "--out", tmp_path / "new" / "x")
    assert seen(tmp_path) == before


class Pickled:
    """Loading it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npz(**arrays):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def header(shape):
    said = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The two files of a run."""
    directory = tmp_path_factory.mktemp("result")
    assert jaxgd("run", "booth", *FAST, "--out", directory).exit_code == 0
    return [(directory / f"result.{end}").read_bytes() for end in ("json", "npz")]


def placed(directory, facts, arrays):
    for end, content in (("json", facts), ("npz", arrays)):
        if content is not None:
            (directory / f"result.{end}").write_bytes(content)
    return directory


def test_pickles_are_never_loaded(tmp_path, result):
    facts, arrays = result
    bomb = Pickled(tmp_path / "made")
    objects = np.array([bomb], object)
    single = io.BytesIO()
    np.save(single, objects, allow_pickle=True)
    for content in (
        pickle.dumps(bomb), npz(loss=objects), single.getvalue(), zipped(loss=pickle.dumps(bomb)),
    ):  # fmt: skip
        line = refused("report", placed(tmp_path, facts, content))
        assert "result.npz is damaged, or was not written by jaxgd" in line
        assert "unsafely" not in line
    line = refused("report", placed(tmp_path, pickle.dumps(bomb), arrays))
    assert "result.json is damaged, or was not written by jaxgd" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "result.npz"]
    pickle.loads(pickle.dumps(bomb)).close()
    assert (tmp_path / "made").exists()  # or the test would prove nothing


ARCHIVES = {
    "no archive": (b"hello", "it is no npz archive"),
    "other members": (zipped(**{"../../evil": b"x"}), "'../../evil' is no array of numbers"),
    "huge": (zipped(loss=header((10**13,))), "MemoryError"),
    "negative": (zipped(loss=header((-1,))), "negative dimensions"),
    "other arrays": (npz(x=np.ones(3)), "KeyError: 'loss'"),
    "words": (npz(loss=np.array("low")), "'loss' is no array of numbers"),
    "dates": (npz(loss=np.array("2020", "M8[D]")), "'loss' is no array of numbers"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_from_elsewhere_are_refused(name, tmp_path, result):
    content, said = ARCHIVES[name]
    line = refused("report", placed(tmp_path, result[0], content))
    assert str(tmp_path) in line
    assert "is damaged, or was not written by jaxgd" in line
    assert said in line
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_file_is_refused(tmp_path, result):
    placed(tmp_path, *result)
    facts = tmp_path / "result.json"
    facts.unlink()
    os.mkfifo(facts)
    assert "result.json is damaged" in (line := refused("report", tmp_path))
    assert "it is no regular file" in line
    facts.unlink()
    facts.symlink_to(facts)
    assert refused("report", tmp_path) == f"{facts}: Too many levels of symbolic links"
    facts.unlink()
    facts.mkdir()
    assert "no result.json, runs.json" in refused("report", tmp_path)
    assert "'' is no path of a directory" in refused("report", "")
    assert refused("report", Path("nö\n数")) == "nö\\n数: No such file or directory"


def test_one_damaged_file_of_several_is_named(tmp_path, result):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        placed(tmp_path / name, *result)
    (tmp_path / "b" / "result.npz").write_bytes(result[1][:100])
    assert refused("report", tmp_path).startswith(f"{tmp_path / 'b' / 'result.npz'} is damaged")
    (tmp_path / "report.html").mkdir()
    placed(tmp_path / "b", *result)
    assert refused("report", tmp_path) == f"{tmp_path / 'report.html'}: Is a directory"


FACTS = {
    "versions": 3, "command": 3, "stop": 3, "transforms": None, "evaluations": "x",
    "run_seconds": None, "compile_seconds": [],
}  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_another_kind_are_refused(name, tmp_path, result):
    facts = json.dumps(json.loads(result[0]) | {name: FACTS[name]}).encode()
    line = refused("report", placed(tmp_path, facts, result[1]))
    assert line.startswith(f"{tmp_path / 'result.json'} is damaged, or was not written by jaxgd: ")
    assert not (tmp_path / "report.html").exists()
