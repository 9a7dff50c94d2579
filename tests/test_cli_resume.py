"""Runs of the command line that are ended, and go on."""

import errno
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli_cases import files_of, jaxgd, refused, spawn, written

from jaxgd.cli import unfinished
from jaxgd.cli.unfinished import quoted
from jaxgd.locking import locked

SLOW = """\
import os, time
import jax, jax.numpy as jnp, numpy as np
params = jnp.array([-1.2, 1.0])
def wait(x):
    if os.path.exists("slow"):
        time.sleep(0.02)
    return np.zeros((), x.dtype)
def loss(x):
    seen = jax.pure_callback(wait, jax.ShapeDtypeStruct((), x.dtype), jax.lax.stop_gradient(x))
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + seen
"""
WORDS = ("run", "fit.py:loss", "--max-steps", "400", "--checkpoint-every", "0.1", "--progress")


def ended(directory, *signals, words=WORDS, pause=0.2):
    """A run that gets signals once it has a checkpoint: its exit status, and what it said."""
    written(directory / "fit.py", SLOW)
    (directory / "slow").touch()
    with spawn(*words, "--out", "an out", cwd=directory) as process:
        deadline = time.monotonic() + 90
        while not [*directory.glob("an out/checkpoint/checkpoint-*")]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for signum in signals:
            process.send_signal(signum)
            time.sleep(pause)
        stdout, stderr = process.communicate(timeout=60)
    (directory / "slow").unlink()
    assert "Traceback" not in stderr
    return process.returncode, stdout, stderr


def kept(out):
    return sorted(path.name for path in out.glob("checkpoint/*.npz"))


def cut_short(out, *words):
    """A run that has not finished, without the time limit that ended it."""
    done = jaxgd("run", *words, "--time-limit", 1e-9, "--out", out)
    assert done.exit_code == 0, done.output
    assert "TIME_LIMIT" in done.output
    command = out / "checkpoint" / "command.json"
    facts = json.loads(command.read_text())
    i = facts["command"].index("--time-limit")
    del facts["command"][i : i + 2]
    command.write_text(json.dumps(facts))
    return done


def same_arrays(one, other, name="result"):
    ours, theirs = files_of(one, name)[0], files_of(other, name)[0]
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        assert array.tobytes() == theirs[key].tobytes(), key


@pytest.fixture(scope="module")
def never_ended(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    written(path / "fit.py", SLOW)
    done = jaxgd("run", f"{path / 'fit.py'}:loss", *WORDS[2:], "--out", path / "out")
    assert done.exit_code == 0, done.output
    assert not (path / "out" / "checkpoint").exists()
    return path / "out"


@pytest.mark.parametrize(
    ("signum", "status", "says"),
    [
        (signal.SIGINT, 130, "Interrupted from the keyboard; this is how far the run got."),
        (signal.SIGTERM, 143, "Told to terminate; this is how far the run got."),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_a_run_that_was_ended_goes_on_to_the_same_bits(
    signum, status, says, tmp_path, monkeypatch, never_ended
):
    returned, stdout, stderr = ended(tmp_path, signum)
    assert returned == status, stdout + stderr
    assert says in stdout
    out = tmp_path / "an out"
    if says:
        assert stdout.endswith("  jaxgd resume 'an out'\n")
        assert files_of(out)[1]["status"] == "INTERRUPTED"
    assert kept(out)
    elsewhere = written(tmp_path / "elsewhere" / "it", "").parent
    monkeypatch.chdir(elsewhere)
    done = jaxgd("resume", out)
    assert done.exit_code == 0, done.output
    command = shlex.join(["jaxgd", *WORDS, "--out", "an out"])
    assert done.output.startswith(f"jaxgd: goes on with: cd {tmp_path} && {command}\n")
    assert "resumed           at step " in done.output
    same_arrays(out, never_ended)
    assert files_of(out)[1]["command"] == ["jaxgd", *WORDS, "--out", "an out"]
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "result.npz"]
    assert f"{out} holds no unfinished run" in refused("resume", out)


def test_a_second_ctrl_c_ends_it_without_a_traceback(tmp_path):
    # Not the slow loss: JAX itself reports an interruption of what a loss calls on the host.
    words = ("run", "rosenbrock", "--max-steps", 2e9, "--checkpoint-every", 0.1, "--no-progress")
    twice = (signal.SIGINT, signal.SIGINT)
    returned, _, _ = ended(tmp_path, *twice, words=words, pause=0.05)
    # The first may have ended it when the second comes: then Python, which is closing down, dies of
    # it, and a shell says 130 of that too.
    assert returned in (130, -signal.SIGINT)
    assert kept(tmp_path / "an out")


@pytest.mark.parametrize("more", [[], ["--starts", 400, "--lanes", 2]])
def test_the_same_command_goes_on_after_a_time_limit(more, tmp_path):
    words, name = ("rastrigin", *more, "--max-steps", 2000), "runs" if more else "result"
    first = cut_short(tmp_path / "cut", *words)
    assert first.output.endswith(f"To go on from there:\n  jaxgd resume {tmp_path / 'cut'}\n")
    done = jaxgd("run", *words, "--out", tmp_path / "cut")
    assert done.exit_code == 0, done.output
    assert ("resumed           after " if more else "resumed           at step ") in done.output
    whole = jaxgd("run", *words, "--out", tmp_path / "whole")
    assert "resumed" not in whole.output
    same_arrays(tmp_path / "cut", tmp_path / "whole", name)
    assert not (tmp_path / "cut" / "checkpoint").exists()


def test_a_command_that_is_let_go_on_is_the_one_that_is_kept(tmp_path):
    cut_short(tmp_path, "booth", "--max-steps", 30)
    cut_short(tmp_path, "booth", "--max-steps", 40)
    done = jaxgd("resume", tmp_path)
    assert "steps             40\n" in done.output, done.output


def test_a_run_that_has_finished_is_made_anew(tmp_path):
    for _ in range(2):
        done = jaxgd("run", "booth", "--max-steps", 3, "--out", tmp_path)
        assert done.exit_code == 0, done.output
        assert "resumed" not in done.output
    done = jaxgd("run", "booth", "--rule", "lion", "--max-steps", 3, "--out", tmp_path)
    assert done.exit_code == 0, done.output


def test_results_are_on_the_disk_before_the_checkpoints_go(tmp_path, monkeypatch):
    synced, fsync, let_go = set(), os.fsync, unfinished.Unfinished.let_go

    def noting(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def going(self):
        there = {tmp_path, tmp_path / "result.npz", tmp_path / "result.json"}
        assert {path.stat().st_ino for path in there} <= synced
        gone.append(let_go(self))

    gone = []
    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(unfinished.Unfinished, "let_go", going)
    done = jaxgd("run", "booth", "--max-steps", 20, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert gone


def test_without_checkpoints_nothing_is_kept_and_nothing_taken_up(tmp_path):
    cut_short(tmp_path, "booth", "--max-steps", 30)
    before = kept(tmp_path)
    words = ("booth", "--rule", "lion", "--max-steps", 3, "--no-checkpoint", "--out", tmp_path)
    done = jaxgd("run", *words)
    assert done.exit_code == 0, done.output
    assert kept(tmp_path) == before


def test_a_directory_that_was_moved_has_the_results(tmp_path):
    cut_short(tmp_path / "old", "booth", "--max-steps", 30)
    shutil.move(tmp_path / "old", tmp_path / "new")
    done = jaxgd("resume", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert files_of(tmp_path / "new")[1]["steps"] == 30
    assert not (tmp_path / "old").exists()


def test_of_damaged_checkpoints_the_one_before_is_used(tmp_path):
    for _ in range(2):
        cut_short(tmp_path, "booth", "--max-steps", 300)
    older, newer = sorted(tmp_path.glob("checkpoint/*.npz"))
    newer.write_bytes(newer.read_bytes()[:-9])
    done = jaxgd("resume", tmp_path)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if newer.name in line]
    assert line.startswith("jaxgd: checkpoint: ")
    assert line.endswith(f"the one before it is used, {older.name}")
    assert "resumed" in done.output


def test_of_checkpoints_that_all_are_damaged_the_run_begins_anew(tmp_path):
    cut_short(tmp_path, "booth", "--max-steps", 30)
    for path in tmp_path.glob("checkpoint/*.npz"):
        path.write_bytes(b"")
    done = jaxgd("resume", tmp_path)
    assert done.exit_code == 0, done.output
    assert "there is no other, and the run begins anew\n" in done.output
    assert "resumed" not in done.output
    assert files_of(tmp_path)[1]["steps"] == 30


def test_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jaxgd.archive.fill", full)
    words = ("run", "booth", "--max-steps", 3e5, "--checkpoint-every", 1e-3, "--keep", "last")
    done = jaxgd(*words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.output.count("No space left on device; the run goes on") == 1
    assert done.output.startswith(f"jaxgd: checkpoint: {tmp_path / 'checkpoint'}: No space left")
    assert not (tmp_path / "checkpoint").exists()


def test_a_command_that_is_refused_leaves_nothing_to_resume(tmp_path):
    path = written(tmp_path / "bad.py", "params = 1.0\ndef loss(x): return x > 0\n")
    assert "loss must return a scalar float" in refused(
        "run", f"{path}:loss", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoint-every", 0, "--out"], "must be a number of seconds > 0, got 0"),
        (["--checkpoint-every", "inf", "--out"], "must be a number of seconds > 0, got inf"),
        (["--checkpoint-every", "nan", "--out"], "must be a number of seconds > 0, got nan"),
        (["--checkpoint-every", 1, "--no-checkpoint", "--out"], "exclude each other"),
        (["--checkpoint-every", 1], "say where to, with --out DIR"),
    ],
)
def test_bad_options_of_checkpoints_are_refused(words, said, tmp_path):
    out = [tmp_path] if words[-1] == "--out" else []
    assert said in refused("run", "booth", *words, *out)


def changed(out, **facts):
    path = out / "checkpoint" / "command.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def overwritten(out, content):
    (out / "checkpoint" / "command.json").write_bytes(content)


def linked(out):
    path = out / "checkpoint" / "command.json"
    path.rename(out / "real.json")
    path.symlink_to(out / "real.json")


def piped(out):
    (out / "checkpoint" / "command.json").unlink()
    os.mkfifo(out / "checkpoint" / "command.json")


def own_file(out):
    written(out / "evil.py", "raise SystemExit('it ran')\n")
    changed(out, command=["run", f"{out}/evil.py:loss"])


def own_file_by_a_link(out):
    own_file(out)
    (out.parent / "fit.py").symlink_to(out / "evil.py")
    changed(out, command=["run", "fit.py:loss"], directory=str(out.parent))


DAMAGES = {
    "missing": (shutil.rmtree, "no directory "),
    "a file": (lambda out: (shutil.rmtree(out), out.write_text("")), "no directory "),
    "empty": (lambda out: (shutil.rmtree(out), out.mkdir()), " holds no unfinished run"),
    "a file for checkpoints": (
        lambda out: (shutil.rmtree(out / "checkpoint"), (out / "checkpoint").write_text("")),
        " holds no unfinished run",
    ),
    "no command": (
        lambda out: (out / "checkpoint" / "command.json").unlink(), " holds no unfinished run",
    ),
    "no JSON": (lambda out: overwritten(out, b"{"), "damaged, or was not written by jaxgd: Expec"),
    "a pickle": (lambda out: overwritten(out, pickle.dumps(["run"])), "not written by jaxgd"),
    "no text": (lambda out: overwritten(out, b"\xff\xfe{}"), "not written by jaxgd"),
    "deep": (lambda out: overwritten(out, b"[" * 16_000), "not written by jaxgd"),
    "huge": (lambda out: overwritten(out, b" " * 10**6), "it has more than 16,384 bytes"),
    "a list": (lambda out: overwritten(out, b"[]"), "it is no command with its directory"),
    "more": (lambda out: changed(out, more=1), "it is no command with its directory"),
    "a string": (lambda out: changed(out, command="run booth"), "the command is no list of words"),
    "numbers": (lambda out: changed(out, command=["run", 1]), "the command is no list of words"),
    "another command": (lambda out: changed(out, command=["tune", "booth"]), 'is no "run"'),
    "no words": (lambda out: changed(out, command=[]), 'the command is no "run"'),
    "no options": (
        lambda out: changed(out, command=["run", "booth", "--bogus"]),
        "jaxgd run booth --bogus: No such option",
    ),
    "null": (lambda out: changed(out, command=["run", "a\0b"]), "there is a null character in it"),
    "relative": (lambda out: changed(out, directory="."), "the directory is no absolute path"),
    "a directory that is gone": (
        lambda out: changed(out, directory="/no/such"),
        "the directory of its command, /no/such, is there no more: go where it shall run, and "
        "type jaxgd run booth",
    ),
    "a link": (linked, "command.json is a link"),
    "its own file": (own_file, "evil.py:loss"),
    "its own file by a link": (own_file_by_a_link, "jaxgd run fit.py:loss"),
    "another run": (
        lambda out: changed(out, command=["run", "booth", "--learning-rate", "0.5"]),
        "from before a change, of which rule.rule.learning_rate was 0.01, and is 0.5 now: undo",
    ),
    "fewer steps": (
        lambda out: changed(out, command=["run", "booth", "--max-steps", "0"]),
        "--max-steps must be at least 1, where the unfinished run in --out",
    ),
}  # fmt: skip
if sys.platform != "win32":
    DAMAGES["a pipe"] = (piped, "command.json is no file")
    DAMAGES["a device"] = (
        lambda out: changed(out, directory="/proc/self/cwd"), "/proc/self/cwd, is there no more",
    )  # fmt: skip


@pytest.fixture(scope="module")
def an_unfinished_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("unfinished") / "out"
    cut_short(out, "booth", "--max-steps", 300)
    return out


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_resumed_is_refused_in_one_line(damage, an_unfinished_run, tmp_path):
    out = shutil.copytree(an_unfinished_run, tmp_path / "out")
    spoil, said = DAMAGES[damage]
    spoil(out)
    done = jaxgd("resume", out)
    assert done.exit_code == 2, done.output
    *announced, line = done.output.splitlines()
    assert line.startswith("jaxgd: ")
    assert said in line
    assert "it ran" not in done.output
    assert [a.partition(": jaxgd run ")[0] for a in announced] in ([], ["jaxgd: goes on with"])


def test_what_is_anothers_is_refused(an_unfinished_run, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345, raising=False)
    line = refused("resume", an_unfinished_run)
    assert "command.json is another user's: if you trust it, type cd " in line


def test_other_commands_and_other_processes_are_refused(an_unfinished_run, tmp_path):
    out = shutil.copytree(an_unfinished_run, tmp_path / "an out")
    command, files = (out / "checkpoint" / "command.json").read_bytes(), kept(out)
    line = refused("run", "booth", "--rule", "lion", "--out", out)
    assert line.startswith(f"--out {out} holds an unfinished run of another command, of which ")
    how = f"finish it with \"jaxgd resume '{out}'\", or give another --out or --no-checkpoint"
    assert line.endswith(how)
    with locked(out / "checkpoint"):
        line = refused("run", "booth", "--max-steps", 300, "--out", out)
        assert (
            f"--out {out} is in use by process {os.getpid()}: give another --out or --no-" in line
        )
    assert (out / "checkpoint" / "command.json").read_bytes() == command
    assert kept(out) == files
    shutil.rmtree(out / "checkpoint")
    (out / "checkpoint").write_text("")
    assert "is no directory: give another --out" in refused("run", "booth", "--out", out)


def test_where_resuming_would_run_a_file_of_the_directory_the_command_is_said(tmp_path):
    path = written(tmp_path / "fit.py", "params = 1.0\ndef loss(x): return x ** 2\n")
    done = cut_short(tmp_path, f"{path}:loss", "--max-steps", 30)
    assert f"  jaxgd run {path}:loss --max-steps 30 --time-limit 1e-09 --out" in done.output


def test_a_command_is_shown_so_that_a_shell_reads_it_and_a_terminal_stays_as_it_is(tmp_path):
    words = ["jaxgd", "run", "a b", "", "it's", "ä", "\x1b[2J\n\\'\u202e", "\udcff"]
    assert quoted(words).isprintable()
    assert quoted(words[:6]) == shlex.join(words[:6])
    code = ["bash", "-c", f"printf '%s\\0' {quoted(words)}"]
    read = subprocess.run(code, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    assert os.fsdecode(read).split("\0")[:-1] == words
    assert quoted(words[-2:]) == r"$'\u001b[2J\u000a\\\'\u202e' $'\xff'"


def test_a_very_long_command_is_typed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "MOST_BYTES", 20)
    done = jaxgd("run", "booth", "--time-limit", 1e-9, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "jaxgd resume" not in done.output
    assert np.size(kept(tmp_path)) == 1
