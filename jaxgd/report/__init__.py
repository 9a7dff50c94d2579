"""A page about results, made from the files that the command line writes."""

import os
from collections.abc import Iterator
from pathlib import Path

from jaxgd.report.page import page
from jaxgd.report.sections import section
from jaxgd.report.stored import blaming, read

__all__ = ["MOST", "outcomes_in", "report"]

MOST = 100
"""Outcomes of which a page may tell."""
_NAMES = ("result.json", "runs.json")


def outcomes_in(directory: Path) -> list[Path]:
    """The JSON files of outcomes in a directory and below it, in the order of their paths.

    Raises:
      OSError: there is no such directory.
      ValueError: there are none in it, or very many.
    """
    os.scandir(directory).close()
    found = list(_found(directory))
    if not found:
        raise ValueError(f"{directory}: no result.json or runs.json is there or below")
    if len(found) > MOST:
        raise ValueError(
            f"{directory} holds {len(found):,} results, and a page shows {MOST}: give a directory "
            "below it"
        )
    return found


def _found(directory: Path) -> Iterator[Path]:
    for here, below, files in os.walk(directory):
        below.sort()
        yield from (Path(here, name) for name in _NAMES if name in files)


def report(directory: Path) -> str:
    """A page of HTML about the results in a directory and below it.

    Tables, statuses, messages, pictures and the commands that made them. The page needs no network
    and runs no script. Contours are drawn for landscapes only: no code of the user's is run.

    Args:
      directory: where `jaxgd run --out` wrote, or a directory above such ones.

    Raises:
      ImportError: Matplotlib is not installed.
      OSError: a file is not there, or cannot be read.
      ValueError: there are no results, or a file is truncated or of somebody else's making.
    """
    sections = []
    for path in outcomes_in(directory):
        stored = read(path)
        with blaming(path):
            sections.append(section(stored, _title(directory, path)))
    name = directory.absolute().name or str(directory.absolute())
    return page(f"Results in {name}", sections)


def _title(directory: Path, path: Path) -> str:
    """The place of the outcome within the directory."""
    place = path.relative_to(directory).parent
    what = "one run" if path.stem == "result" else "many runs"
    return what.capitalize() if place == Path() else f"{place}: {what}"
