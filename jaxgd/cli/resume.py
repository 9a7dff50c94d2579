"""`jaxgd resume`: the command by which an unfinished run was begun, once more."""

import contextlib
import os
from pathlib import Path
from typing import Any

import click

from jaxgd.cli.errors import Refused, refusing
from jaxgd.cli.unfinished import Command, in_its_place, is_inside, kept_command


@click.command(short_help="Go on with an unfinished run.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def resume(directory: Path) -> int:
    """Go on with the run in DIR that was interrupted, or killed.

    DIR is where "jaxgd run --out DIR" was to write. That command, from
    DIR/checkpoint/command.json, runs again where it was typed, and goes on from the last
    checkpoint, to the same bits. If DIR has been moved, the results go where it is now.

    The command may run a Python file: resume what you began yourself. If DIR is another user's, or
    has that file in it, it is refused, with the command to type if you trust it.
    """
    with refusing():
        command = _command_in(directory)
    root = click.get_current_context().find_root()
    elsewhere = not os.path.samefile(os.curdir, command.directory)
    shown = directory.absolute() if elsewhere else directory
    click.echo(f"jaxgd: goes on with: {in_its_place(command) if elsewhere else command}", err=True)
    with contextlib.chdir(command.directory):
        context = _context(command, root)
        context.params["out"] = shown
        root.obj = ["jaxgd", *command.words]  # as which the files tell of it
        with context:
            status: int = context.command.invoke(context)
    return status


def _command_in(directory: Path) -> Command:
    """The command, if it may be run."""
    try:
        command = kept_command(directory)
    except (FileNotFoundError, NotADirectoryError):
        if not directory.is_dir():
            raise ValueError(f"no directory {directory}") from None
        raise ValueError(f"{directory} holds no unfinished run") from None
    there = Path(command.directory)
    # A path that means another place to each process would be a way around what is refused below.
    if not there.is_dir() or os.path.realpath(there) != command.directory:
        raise ValueError(f"{directory}: the directory of its command, {there}, is there no more: "
                         f"go where it shall run, and type {command}")  # fmt: skip
    if is_inside(command, directory.absolute()):
        raise ValueError(f"{directory} has in it the Python file that its command runs: if you "
                         f"trust that, type {in_its_place(command)}")  # fmt: skip
    return command


def _context(command: Command, root: click.Context) -> click.Context:
    group: Any = root.command
    run: click.Command = group.commands["run"]
    try:
        return run.make_context("run", list(command.words[1:]), parent=root)
    except click.UsageError as error:
        raise Refused(f"{command}: {error.format_message()}") from error
