"""Errors of the user's making, in one line and with an exit status."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jax

from jaxgd.target import blame, first_paragraph, is_by

INTERRUPTED = 130
"""The exit status that a shell gives to a command that Ctrl-C ended."""
TERMINATED = 143
"""The same of one that was told to terminate."""

_EXPECTED = (
    TypeError,
    ValueError,
    OSError,
    OverflowError,
    ImportError,
    MemoryError,
    jax.errors.JaxRuntimeError,
)


class Refused(click.ClickException):
    """What was asked for cannot be done; the message says why."""

    exit_code = 2


@contextlib.contextmanager
def refusing(file: Path | None = None) -> Iterator[None]:
    """Turn the errors that a user can cause into `Refused`.

    Args:
      file: the user's; every error that comes out of its code is the user's, whatever its type.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file of the user's may raise anything
        if file is not None and is_by(error, file):
            raise Refused(blame(error, file)) from error
        if isinstance(error, OSError) and error.strerror:
            raise Refused(f"{error.filename or 'output'}: {error.strerror}") from error
        if isinstance(error, _EXPECTED):
            said = first_paragraph(str(error)) or type(error).__name__
            raise Refused(_for_a_shell(said)) from error
        raise


_IN_A_SHELL = {
    "give has_aux=True": "write a function that returns the loss alone",
    "draw with starts.normal": "use --sampler normal",
    "use latin_hypercube": "use --sampler latin-hypercube",
}


def _for_a_shell(said: str) -> str:
    """What the library says, without advice that only Python code could follow."""
    for of_python, instead in _IN_A_SHELL.items():
        said = said.replace(of_python, instead)
    return said


class OneLineErrors(click.Group):
    """A group whose errors are one line, and whose commands return the exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        del ctx
        return list(self.commands)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of a call, whose `obj` is the command line as it was given."""
        command = [info_name or "jaxgd", *args]
        return super().make_context(info_name, args, parent, obj=command, **extra)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run, and exit unless `standalone_mode` is False."""
        run: Any = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            status = run(*args, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(_in_words(error), err=True)
            status = error.exit_code
        except click.Abort:
            click.echo("jaxgd: interrupted", err=True)
            status = INTERRUPTED
        except OSError as error:
            # What was to be written on the screen; at exit Python would try again, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno != errno.EPIPE:
                click.echo(f"jaxgd: output: {error.strerror}", err=True)
            status = 1
        sys.exit(status)


def _in_words(error: click.ClickException) -> str:
    said = error.format_message()
    if not isinstance(error, click.UsageError):
        return f"jaxgd: {_in_a_line(said)}"
    # The bare `jaxgd` is an error of this kind too, whose message is the whole help.
    if error.ctx is not None and said == error.ctx.get_help():
        return said
    said += "" if said.endswith((".", "?")) else "."
    command = error.ctx.command_path if error.ctx else "jaxgd"
    return f'jaxgd: {_in_a_line(said)} Try "{command} --help".'


def _in_a_line(said: str) -> str:
    """A message with its control characters, such as those in the name of a file, written out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in said
    )
