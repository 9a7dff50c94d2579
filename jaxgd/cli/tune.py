"""`jaxgd tune`: which learning rate."""

from typing import Any

import numpy as np

from jaxgd.cli.errors import refusing
from jaxgd.cli.given import configure, count_of, folder_of, needed, rate_of, rule_of, wants_bar
from jaxgd.cli.screen import chained, draw, files_row, made_by, precision, say
from jaxgd.files import write_json
from jaxgd.rules import chain
from jaxgd.status import Status
from jaxgd.target import find_target
from jaxgd.tune import Finding, find_learning_rate


def tune(what: str, **given: Any) -> int:
    """Suggest a learning rate for the loss of TARGET.

    A real run is made from the start at each of many rates, all at once, and the rate that lowers
    the loss most is suggested, with the range of those that are stable. TARGET is as for "jaxgd
    run". The exit status is 1 if no rate lowers the loss.
    """
    configure(given)
    with refusing():
        rule, before = rule_of(given, given["rule"], rate_of({"learning_rate": None} | given))
        low, high = _rates(given)
        count, steps = needed(given, "count", at_least=3), needed(given, "max_steps", at_least=1)
        seed, dimensions = needed(given, "seed", at_least=0), count_of(given, "dimensions")
        bar, out = wants_bar(given), folder_of(given)
        target = find_target(what, dimensions, seed)
    with refusing(target.file):
        finding = find_learning_rate(
            target.loss, target.start, chain(*before, rule), low, high, count=count,
            max_steps=steps, bounds=target.bounds, key=target.key, progress=bar,
        )  # fmt: skip
    message = _in_a_shell(finding.message)
    rows = [("target", what), ("rule", _without_rate(given, before, rule)), *finding.rows()]
    rows.append(("precision", precision(target.start)))
    if out is not None:
        used = getattr(finding.rule, "rule", finding.rule) if finding.found else rule
        asked = {"low": low, "high": high, "count": count, "max_steps": steps, "seed": seed}
        about = {"message": message, "target": what, "rule": used, "transforms": before, **asked}
        facts = {**_facts(finding), **about, "dimensions": dimensions, **made_by()}
        with refusing():
            files = [write_json(out.absolute / "tune.json", facts)]
            files += draw(out, "tune", finding.plot().figure) if out.plot else []
        rows.append(files_row(out, files))
    say(rows, message, _next(finding, given["schedule"] is not None))
    return int(not finding.found)


def _rates(given: Any) -> tuple[float, float]:
    low, high = given["low"], given["high"]
    for name in ("low", "high"):
        if not 0 < given[name] < np.inf:
            raise ValueError(f"--{name} must be a finite learning rate > 0, got {given[name]}")
    if not low < high:
        raise ValueError(f"--high must be above --low, got {high} and {low}")
    return low, high


def _without_rate(given: Any, before: Any, rule: Any) -> str:
    """The rule in words; its own rate, which is not looked at, only as the form of a schedule."""
    said = chained(before, rule)
    if given["schedule"] is not None:
        return said
    return said.replace(f"learning_rate={rule.learning_rate!r}", "learning_rate=?")


def _in_a_shell(said: str) -> str:
    return said.replace("low=", "--low ").replace("high=", "--high ")


def _next(finding: Finding, scaled: bool) -> str:
    """How a run gets the suggestion."""
    if not finding.found:
        return ""
    if scaled:
        return "Scale the schedule so that its highest rate is the suggestion."
    return f'Give it to "jaxgd run" as --learning-rate {finding.suggestion:.3g}.'


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "suggestion": float(finding.suggestion),
        "stable": [float(rate) for rate in finding.stable],
        "initial_loss": float(finding.initial_loss),
        "rates": finding.rates,
        "losses": finding.losses,
        "status": [Status(int(code)).name for code in finding.status],
        "compile_seconds": finding.compile_seconds,
        "run_seconds": finding.run_seconds,
    }
