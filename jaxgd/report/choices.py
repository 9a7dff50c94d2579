"""What a report says of a learning-rate finder and of rules side by side."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgd.report.pictures import svg_of
from jaxgd.report.sections import Section, Table, asked, command_of, made
from jaxgd.status import Status
from jaxgd.tune import Finding


def of_tune(facts: Mapping[str, Any], title: str) -> Section:
    """All that a report says of `tune.json`.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    from jaxgd import plot

    finding = _finding(facts)
    found = f"suggestion {finding.suggestion:.3g}" if finding.found else "no rate is stable"
    return Section(
        title=title,
        command=command_of(facts),
        summary=found,
        message=str(facts["message"]),
        facts=[*asked(facts), *finding.rows(), *made(facts)],
        tables=[],
        pictures=[("Losses by learning rate", svg_of(plot.finder(finding).figure))],
    )


def _finding(facts: Mapping[str, Any]) -> Finding:
    rates, losses = (_numbers(facts[name]) for name in ("rates", "losses"))
    status = np.array([Status[name] for name in facts["status"]])
    low, high = (float(rate) for rate in facts["stable"])
    if not len(rates) or not len(rates) == len(losses) == len(status):
        raise ValueError(f"{len(rates)} rates, {len(losses)} losses, {len(status)} statuses")
    return Finding(
        rates=rates,
        losses=losses,
        status=status,
        initial_loss=float(facts["initial_loss"]),
        suggestion=float(facts["suggestion"]),
        stable=(low, high),
        rule=None,
        compile_seconds=float(facts["compile_seconds"]),
        run_seconds=float(facts["run_seconds"]),
        steps=int(facts["max_steps"]),
    )


def _steps(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "never"


_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "success_rate": ("success", "{:.1%}".format),
    "expected_steps": ("steps", _steps),
    "median_loss": ("median loss", "{:.6g}".format),
    "best_loss": ("best loss", "{:.6g}".format),
    "failed": ("failed", "{:,.0f}".format),
    "run_seconds": ("run", "{:.3f} s".format),
    "compile_seconds": ("compile", "{:.3f} s".format),
}


def of_compare(facts: Mapping[str, Any], title: str) -> Section:
    """All that a report says of `compare.json`; the losses that were drawn are not in it."""
    names = [str(name) for name in facts["names"]]
    columns = [_numbers(facts[name]) for name in _COLUMNS]
    if not names or any(len(column) != len(names) for column in columns):
        raise ValueError("there is not one number of each kind for each rule")
    looks = [look for _, look in _COLUMNS.values()]
    rows = [
        (name, *(look(value) for look, value in zip(looks, values, strict=True)))
        for name, *values in zip(names, *columns, strict=True)
    ]
    head = ("rule", *(word for word, _ in _COLUMNS.values()))
    return Section(
        title=title,
        command=command_of(facts),
        summary=f"{names[0]} is first of {len(names)}",
        message=str(facts["message"]),
        facts=[*asked(facts), ("target loss", f"{float(facts['target_loss']):.9g}"), *made(facts)],
        tables=[Table(head, rows)],
        pictures=[],
    )


def _numbers(values: Any) -> np.ndarray[Any, Any]:
    """Numbers of a JSON file, in which those that are not finite are words."""
    return np.array([float(value) for value in values])
