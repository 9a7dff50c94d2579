"""`jaxgd compare`: which rule."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgd.axes import Axes
from jaxgd.cli.errors import refusing
from jaxgd.cli.given import (
    Folder,
    configure,
    count_of,
    folder_of,
    many_of,
    needed,
    rate_of,
    rule_of,
    wants_bar,
)
from jaxgd.cli.many import Many
from jaxgd.cli.screen import draw, files_row, made_by, precision, say
from jaxgd.files import write_json
from jaxgd.rules import chain
from jaxgd.target import Target, find_target
from jaxgd.tune import Comparison, find_learning_rate
from jaxgd.tune import compare as contest

LOW, HIGH, COUNT = 1e-6, 10.0, 43
"""The rates that the finder tries for each rule."""
MOST_LOSSES = 100_000_000
"""Losses that are kept at once, one for each step of each run of each rule."""
MOST_NUMBERS = 1000
"""Steps to the target that are in the JSON file, rules times runs."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the options say, checked."""

    rules: dict[str, Any]
    """By name, each with the transforms before it."""
    fixed: bool
    """Whether their learning rates are to stay as they are."""
    goal: float | None
    tolerance: float
    max_steps: int
    seed: int
    dimensions: int | None
    many: Many | None
    progress: bool
    out: Folder | None


def compare(what: str, **given: Any) -> int:
    """Compare update rules on the loss of TARGET.

    Rules are ordered by the steps that they need to a target loss, from TARGET's start or from many
    (--starts). Unless you give a rate, each rule has one of its own: first, runs from TARGET's
    start at 43 rates from 1e-6 to 10 find what lowers the loss most in --max-steps steps. A rule
    for which there is none is left out. TARGET is as for "jaxgd run". The exit status is 1 if every
    run failed.
    """
    configure(given)
    with refusing():
        plan = _checked(given)
        target = find_target(what, plan.dimensions, plan.seed)
    with refusing(target.file):
        rules = plan.rules if plan.fixed else _tuned(plan, target)
        comparison = _compared(plan, target, rules) if rules else None
    rows = [("target", what), ("rates", _rates_in_words(plan, rules)), ("from", _origin(plan))]
    rows.append(("starts", "the target's own" if plan.many is None else _drawn(plan.many)))
    rows.append(("precision", precision(target.start)))
    if comparison is None:
        say(rows, "No rule has a rate in that range that lowers the loss: see jaxgd tune.")
        return 1
    message = _in_a_shell(comparison.message)
    if plan.out is not None:
        facts = {"message": message, "target": what, **_facts(plan, comparison, rules)}
        with refusing():
            files = [write_json(plan.out.absolute / "compare.json", facts | made_by())]
            files += draw(plan.out, "compare", comparison.plot().figure) if plan.out.plot else []
        rows.append(files_row(plan.out, files))
    say(rows, message, below=str(comparison).rpartition("\n")[0])
    return int(not np.isfinite(comparison.best_loss).any())


def _checked(given: Mapping[str, Any]) -> Plan:
    rules, goal, tolerance = _rules(given), given["target"], given["tolerance"]
    if goal is not None and np.isnan(goal):
        raise ValueError(f"--target must be a number, got {goal}")
    if not 0 < tolerance < 1:
        raise ValueError(f"--tolerance must be a number between 0 and 1, got {tolerance}")
    max_steps, many = needed(given, "max_steps", at_least=1), many_of(given)
    losses = (1 if many is None else many.starts) * (max_steps + 1) * len(rules)
    if losses > MOST_LOSSES:
        raise ValueError(
            f"every loss is kept, {losses:,} here and {MOST_LOSSES:,} at most: give fewer --starts "
            "or --max-steps"
        )
    return Plan(
        rules=rules,
        fixed=given["learning_rate"] is not None or given["schedule"] is not None,
        goal=goal,
        tolerance=tolerance,
        max_steps=max_steps,
        seed=needed(given, "seed", at_least=0),
        dimensions=count_of(given, "dimensions"),
        many=many,
        progress=wants_bar(given),
        out=folder_of(given),  # last, since it makes the directory
    )


def _rules(given: Mapping[str, Any]) -> dict[str, Any]:
    rate = rate_of(given)
    rules: dict[str, Any] = {}
    for word in given["rules"].split(","):
        try:
            rule, before = rule_of(given, word.strip(), rate)
        except ValueError as error:
            raise ValueError(str(error).replace("--rule:", "--rules:")) from error
        name = type(rule).__name__
        if name in rules:
            raise ValueError(f"--rules has {name} twice")
        rules[name] = chain(*before, rule) if before else rule
    return rules


def _tuned(plan: Plan, target: Target) -> dict[str, Any]:
    """The rules with the rates that are best for them, those for which there is one."""
    found = {
        name: find_learning_rate(
            target.loss, target.start, rule, LOW, HIGH, count=COUNT, max_steps=plan.max_steps,
            bounds=target.bounds, key=target.key, progress=plan.progress,
        )
        for name, rule in plan.rules.items()
    }  # fmt: skip
    return {name: finding.rule for name, finding in found.items() if finding.found}


def _compared(plan: Plan, target: Target, rules: dict[str, Any]) -> Comparison:
    many = plan.many
    return contest(
        target.loss,
        target.start if many is None else many.draw(target, plan.seed),
        rules,
        plan.max_steps,
        axes=Axes(params=None if many is None else 0),
        bounds=target.bounds,
        key=target.key,
        target=plan.goal,
        tolerance=plan.tolerance,
        lanes=None if many is None else many.lanes,
        progress=plan.progress,
    )


def _rate(rule: Any) -> Any:
    return getattr(rule, "rule", rule).learning_rate


def _rates_in_words(plan: Plan, rules: Mapping[str, Any]) -> str:
    said = []
    for name in plan.rules:
        rate = _rate(rules[name]) if name in rules else "none is stable, left out"
        said.append(f"{name} {rate:.3g}" if isinstance(rate, int | float) else f"{name} {rate}")
    return "\n".join(said)


def _origin(plan: Plan) -> str:
    if plan.fixed:
        return "the command line, the same for all rules"
    return (
        f"the finder, which tried {COUNT} from {LOW:g} to {HIGH:g} for each rule, from the "
        f"target's own start for {plan.max_steps:,} steps"
    )


def _drawn(many: Many) -> str:
    return f"{many.starts:,}, drawn by {many.sampler}"


def _in_a_shell(said: str) -> str:
    in_python = "Give more steps, a higher target, or learning rates from gd.find_learning_rate."
    return said.replace(in_python, "Give more --max-steps or a higher --target.")


def _facts(plan: Plan, comparison: Comparison, rules: Mapping[str, Any]) -> dict[str, Any]:
    """What the JSON file says: arrays have an axis of rules, in the order of the names."""
    columns = ("success_rate", "expected_steps", "median_loss", "best_loss")
    seconds = ("compile_seconds", "run_seconds")
    asked = ("max_steps", "tolerance", "seed", "dimensions")
    reached = comparison.steps_to_target
    return {
        "names": comparison.names,
        "target_loss": float(comparison.target),
        **{name: getattr(comparison, name) for name in columns},
        "failed": [int(np.sum(~comparison.runs[name].succeeded)) for name in comparison.names],
        "steps_to_target": reached if reached.size <= MOST_NUMBERS else None,
        **{name: getattr(comparison, name) for name in seconds},
        "rules": {name: rules[name] for name in comparison.names},
        "rates_found": not plan.fixed,
        "left_out": [name for name in plan.rules if name not in rules],
        **{name: getattr(plan, name) for name in asked},
        **({} if plan.many is None else dataclasses.asdict(plan.many)),
    }
