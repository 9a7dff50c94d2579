"""A page about results, made from the files that the command line writes."""

import os
from collections.abc import Iterator
from pathlib import Path

from jaxgd.refusal import described
from jaxgd.report.choices import of_compare, of_tune
from jaxgd.report.page import page
from jaxgd.report.sections import Section, section
from jaxgd.report.stored import blaming, facts_of, read

__all__ = ["MOST", "outcomes_in", "report"]

MOST = 100
"""Outcomes of which a page may tell."""
_TITLES = {
    "result.json": "one run",
    "runs.json": "many runs",
    "tune.json": "learning rates",
    "compare.json": "rules compared",
}


def outcomes_in(directory: Path) -> list[Path]:
    """The JSON files of outcomes in a directory and below it, in the order of their paths.

    Raises:
      OSError: there is no such directory.
      ValueError: there are none in it, or very many.
    """
    if not isinstance(directory, Path):
        raise TypeError(f"directory must be a pathlib.Path, got {described(directory)}")
    os.scandir(directory).close()
    found = list(_found(directory))
    if not found:
        raise ValueError(f"{directory}: no {', '.join(_TITLES)} is there or below")
    if len(found) > MOST:
        raise ValueError(
            f"{directory} holds {len(found):,} results, and a page shows {MOST}: give a directory "
            "below it"
        )
    return found


def _found(directory: Path) -> Iterator[Path]:
    for here, below, files in os.walk(directory):
        below.sort()
        yield from (Path(here, name) for name in _TITLES if name in files)


def report(directory: Path) -> str:
    """A page of HTML about the results in a directory and below it.

    Tables, statuses, messages, pictures and the commands that made them. The page needs no network
    and runs no script. Contours are drawn for landscapes only: no code of the user's is run.

    Args:
      directory: where the command line wrote with `--out`, or a directory above such ones.

    Raises:
      ImportError: Matplotlib is not installed.
      OSError: a file is not there, or cannot be read.
      ValueError: there are no results, or a file is truncated or of somebody else's making.
    """
    sections = [_section(directory, path) for path in outcomes_in(directory)]
    name = directory.absolute().name or str(directory.absolute())
    return page(f"Results in {name}", sections)


def _section(directory: Path, path: Path) -> Section:
    what = _TITLES[path.name].capitalize()
    place = path.relative_to(directory).parent
    title = what if place == Path() else f"{place}: {what.lower()}"
    if path.name in ("tune.json", "compare.json"):
        facts = facts_of(path)
        with blaming(path):
            return (of_tune if path.name == "tune.json" else of_compare)(facts, title)
    stored = read(path)
    with blaming(path):
        return section(stored, title)
