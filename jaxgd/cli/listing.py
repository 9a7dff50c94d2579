"""`jaxgd rules`, `jaxgd schedules` and `jaxgd landscapes`: what there is to choose from."""

import inspect
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

import click

from jaxgd.landscapes import LANDSCAPES
from jaxgd.rules import RULES
from jaxgd.schedules import SCHEDULES
from jaxgd.schedules.expression import numbers_of
from jaxgd.target import TRANSFORM_OPTIONS, option, takes_dimensions


@click.command()
def rules() -> None:
    """List the update rules, and the transforms before them, with their numbers."""
    _print((name, numbers_of(rule), _summary(rule)) for name, rule in RULES.items())
    click.echo("\nTransforms of the gradient, before the rule:")
    _print(
        (option(name), numbers_of(transform), _summary(transform))
        for name, transform in TRANSFORM_OPTIONS.items()
    )


@click.command()
def schedules() -> None:
    """List the learning-rate schedules with their numbers."""
    _print((name, numbers_of(kind), _summary(kind)) for name, kind in SCHEDULES.items())


@click.command()
def landscapes() -> None:
    """List the built-in losses with their dimensions."""
    _print((name, _dimensions(kind), _summary(kind)) for name, kind in LANDSCAPES.items())


def _dimensions(landscape: type[Any]) -> str:
    default = landscape().dimensions
    return f"any dimensions ({default})" if takes_dimensions(landscape) else f"{default} dimensions"


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


def _print(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print three columns within 100 columns of the terminal; the second and third wrap."""
    rows = list(rows)
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    first = max(len(name) for name, _, _ in rows)
    room = max(20, width - first - 4)
    second = min(room // 2, max(len(middle) for _, middle, _ in rows))
    third = room - second
    for name, middle, last in rows:
        middles, lasts = textwrap.wrap(middle, second), textwrap.wrap(last, third)
        for i in range(max(len(middles), len(lasts))):
            cells = [cell[i] if i < len(cell) else "" for cell in ([name], middles, lasts)]
            click.echo(f"{cells[0]:<{first}}  {cells[1]:<{second}}  {cells[2]}".rstrip())
