"""A run that has not finished, in DIR/checkpoint: whose it is, and how it goes on."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxgd.checkpoint import Checkpoint, tell
from jaxgd.cli.errors import Refused
from jaxgd.cli.given import Folder
from jaxgd.cli.heard import Heard, listening
from jaxgd.files import missing_of, remove_empty, write_bytes
from jaxgd.locking import locked
from jaxgd.target import first_paragraph, location_and_name

COMMAND = "command.json"
MOST_BYTES = 16_384
"""Of that file: a longer command is typed again."""
_ABOUT = re.compile(r"^(checkpoint: |max_steps .*, where the run in )")
_OURS = ("checkpoint-*.npz", ".checkpoint-*", f".{COMMAND}.*", COMMAND, "lock")


@dataclasses.dataclass(frozen=True)
class Command:
    """What was typed, and where."""

    words: tuple[str, ...]
    """Those after "jaxgd"; the first is "run"."""
    directory: str

    def __str__(self) -> str:
        return quoted(["jaxgd", *self.words])


@dataclasses.dataclass
class Unfinished:
    """DIR/checkpoint while a command uses it."""

    out: Folder
    every: float
    """Seconds from one checkpoint to the next."""
    command: Command
    heard: Heard
    resumed_at: int | None = None
    """The step at which the run went on."""

    @property
    def path(self) -> Path:
        """The directory."""
        return self.out.absolute / "checkpoint"

    @property
    def checkpoint(self) -> Checkpoint:
        """As the library takes it."""
        return Checkpoint(self.path, every=float(self.every))

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Say whose the run is, and listen to what the library says and who wants it to end.

        Raises:
          Refused: somebody else's run is there.
        """
        token, missing = tell.set(self._goes_on), missing_of(self.path)
        try:
            with listening(self.heard):
                self._begin()
                yield
        except BaseException as error:
            if not self._has_checkpoints():
                self.let_go()
                remove_empty(missing)
            said = str(error)
            if isinstance(error, ValueError) and _ABOUT.search(said):
                raise Refused(self._in_a_shell(said)) from error
            raise
        finally:
            tell.reset(token)

    def ends(self, *, finished: bool) -> bool:
        """Let go of what is there unless the run can go on; whether it can."""
        if finished or not self._has_checkpoints():
            self.let_go()
        return not finished and (self.path / COMMAND).exists()

    @property
    def how_to_go_on(self) -> str:
        """What to type."""
        if is_inside(self.command, self.out.absolute):
            return str(self.command)
        return resume_of(self.out.shown)

    def let_go(self) -> None:
        """Remove what is ours, unless another process has it now."""
        with contextlib.suppress(OSError, ValueError), locked(self.path):
            for path in [path for pattern in _OURS for path in self.path.glob(pattern)]:
                path.unlink(missing_ok=True)
            self.path.rmdir()

    def _begin(self) -> None:
        """Write the command down, unless there is a run that may be another's."""
        if self.path.exists() and not self.path.is_dir():
            return  # the library says it
        with contextlib.suppress(OSError):  # the library says that nothing can be written
            self.path.mkdir(parents=True, exist_ok=True)
            with locked(self.path) as problem:
                if problem is None and not self._has_checkpoints():
                    self._write()

    def _goes_on(self, step: int) -> None:
        self.resumed_at = step
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        facts = {"command": self.command.words, "directory": self.command.directory}
        content = (json.dumps(facts) + "\n").encode()
        if len(content) <= MOST_BYTES:
            write_bytes(self.path / COMMAND, content)
        else:
            (self.path / COMMAND).unlink(missing_ok=True)

    def _has_checkpoints(self) -> bool:
        return any(self.path.glob("checkpoint-*.npz"))

    def _in_a_shell(self, said: str) -> str:
        """What the library says, in words that can be typed."""
        place, other = f"--out {self.out.shown}", "give another --out or --no-checkpoint"
        if found := re.search(r"holds one of another run, (.*): give another", said, re.DOTALL):
            if self._is_theirs():
                return (
                    f"{place} holds an unfinished run of this command from before a change, "
                    f"{found[1]}: undo the change, or {other}, or remove {self.path}"
                )
            how = f'finish it with "{self.how_to_go_on}", or {other}'
            return f"{place} holds an unfinished run of another command, {found[1]}: {how}"
        if found := re.search(r"is in use by (.*): give another directory", said):
            return f"{place} is in use by {found[1]}: {other}, or wait until it has ended"
        if found := re.search(r"max_steps (.*), where the run .* is, (.*)", said):
            return f"--max-steps {found[1]}, where the unfinished run in {place} is, {found[2]}"
        return f"{said.removeprefix('checkpoint: ')}: {other}"

    def _is_theirs(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return kept_command(self.out.absolute) == self.command
        return False


def resume_of(out: Path) -> str:
    """The command that goes on with what is in a directory."""
    written = str(out)
    return quoted(["jaxgd", "resume", *["--"] * written.startswith("-"), written])


def is_inside(command: Command, out: Path) -> bool:
    """Whether the Python file that a command runs lies in the directory of its results."""
    for word in command.words[1:]:
        found = location_and_name(word)
        file = "" if found is None else os.path.join(command.directory, found[0])
        # Not Path.is_file, to which a word can be too long.
        if os.path.isfile(file) and Path(file).resolve().is_relative_to(out.resolve()):
            return True
    return False


def kept_command(out: Path) -> Command:
    """The command by which the run in a directory was begun.

    Raises:
      FileNotFoundError, NotADirectoryError: there is none.
      OSError: it cannot be read.
      ValueError: the file is not what is written there, or is somebody else's.
    """
    path = out / "checkpoint" / COMMAND
    # Nobody's pipe is waited for, and no link followed to a file of another kind.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    if path.is_symlink():
        raise ValueError(f"{path} is a link")
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{path} is no file")
        content = file.read(MOST_BYTES + 1)
    try:
        command = _checked(content)
    except (ValueError, RecursionError) as error:
        said = first_paragraph(str(error))
        raise ValueError(f"{path} is damaged, or was not written by jaxgd: {said}") from error
    if about.st_uid not in {getattr(os, "geteuid", lambda: about.st_uid)()}:
        raise ValueError(f"{path} is another user's: if you trust it, type {in_its_place(command)}")
    return command


def _checked(content: bytes) -> Command:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    facts: Any = json.loads(content)
    if not isinstance(facts, dict) or set(facts) != {"command", "directory"}:
        raise ValueError("it is no command with its directory")
    words, directory = facts["command"], facts["directory"]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("the command is no list of words")
    if words[:1] != ["run"]:
        raise ValueError('the command is no "run"')
    if not isinstance(directory, str) or not Path(directory).is_absolute():
        raise ValueError("the directory is no absolute path")
    if any("\0" in word for word in [*words, directory]):
        raise ValueError("there is a null character in it")
    return Command(tuple(words), directory)


def in_its_place(command: Command) -> str:
    """What to type to get a command, wherever one is."""
    return f"{quoted(['cd', command.directory])} && {command}"


def quoted(words: Sequence[str]) -> str:
    """A command for a shell, in which nothing moves a terminal's cursor."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    plain = word.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + "".join(c if c.isprintable() else _escaped(c) for c in plain) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
