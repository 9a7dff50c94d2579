"""What a command says at its end, and what it leaves on the disk besides the results."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from jax import dtypes

from jaxgd.cli.given import Folder
from jaxgd.files import named_params, provenance, write_bytes
from jaxgd.report.pictures import png_of, svg_of
from jaxgd.tree import PyTree

Rows = list[tuple[str, str]]


def say(rows: Rows, *messages: str, below: str = "", last: str = "") -> None:
    """Print a table, what is below it as it is, sentences within 80 columns, and a command."""
    lines = [_row(name, value) for name, value in rows]
    lines += ["", below, ""] if below else []
    for message in messages:
        lines += textwrap.wrap(message, 80)
    lines += [f"  {last}"] if last else []
    click.echo("\n".join(lines))


def chained(transforms: Sequence[Any], rule: Any) -> str:
    """A rule and the transforms before it in words."""
    return ", then ".join(map(repr, (*transforms, rule)))


def precision(params: PyTree) -> str:
    """The dtype in which params are optimised, or starts will be."""
    inexact = [array for array in named_params(params).values() if array.dtype.kind in "fc"]
    return str(dtypes.canonicalize_dtype(np.result_type(*inexact)))


def made_by() -> dict[str, Any]:
    """What a JSON file says of its making: the command line as it was given, the date, versions."""
    return provenance(typed())


def typed() -> list[str]:
    """The command line as it was given."""
    return click.get_current_context().find_root().obj  # type: ignore[no-any-return]


def draw(out: Folder, name: str, figure: Any) -> list[Path]:
    """Write a Matplotlib figure as PNG and SVG."""
    return [
        write_bytes(out.absolute / f"{name}.png", png_of(figure)),
        write_bytes(out.absolute / f"{name}.svg", svg_of(figure)),
    ]


def files_row(out: Folder, files: Sequence[Path]) -> tuple[str, str]:
    """The row of the table that says what was written, in the words of the command."""
    return "files", "\n".join(str(out.shown / file.name) for file in files)


def _row(name: str, value: str) -> str:
    """A row of the table, of at most 80 columns unless a path is longer."""
    is_path = name in ("target", "files")
    lines = [
        part
        for line in value.splitlines()
        for part in textwrap.wrap(line, 62, break_on_hyphens=False, break_long_words=not is_path)
    ]
    return f"{name:<17} " + ("\n" + " " * 18).join(lines)
