"""The command line in tests: how to call it, and how to read what it leaves."""

import json
import subprocess
import sys
import textwrap

import numpy as np
from click.testing import CliRunner

from jaxgd.cli import command_line


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


def files_of(directory, name="result"):
    def not_json(word):
        raise AssertionError(f"{word} is not JSON")

    with np.load(directory / f"{name}.npz", allow_pickle=False) as arrays:
        text = (directory / f"{name}.json").read_text()
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
