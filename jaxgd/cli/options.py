"""The options of the commands; those of rules, transforms and tests come from their fields."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from jaxgd.cli.many import SAMPLERS
from jaxgd.rules import RULES
from jaxgd.stop import Stop
from jaxgd.target import TRANSFORM_OPTIONS, option, options_of

DEFAULT_RATE = 0.01
DEFAULT_EVERY = 10.0
DEFAULT_SAMPLER = "sobol"
RULES_COMPARED = "gradient-descent,momentum,rmsprop,adam"
_WIDEST = 28  # "--initial-accumulator NUMBER" in the left column of the help


class Option(click.Option):
    """An option that belongs under a heading of the help."""

    def __init__(self, names: list[str], heading: str, text: str, **attributes: Any) -> None:
        super().__init__(names, help=text, **attributes)
        self.heading = heading


class Headed(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading, in columns that are aligned throughout."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", "Help")
                sections.setdefault(heading, []).append((record[0].ljust(_WIDEST), record[1]))
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=_WIDEST)


class Number(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number as it was written, so that messages and files repeat `3` and not `3.0`."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Read the text; a default is a number already."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return kind(value)
        self.fail(f"{value!r} is not a number", param, ctx)


class Directory(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The path of a directory; an empty word, which a shell makes of a variable, is none."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the word."""
        if not value or "\0" in str(value):
            self.fail(f"{value!r} is no path of a directory", param, ctx)
        return Path(value)


def run_options() -> Iterator[Option]:
    """All options of `jaxgd run`, in the order of the help."""
    heading = "The rule and its rate"
    yield _rule_option(heading)
    yield _number("learning_rate", heading, f"A fixed learning rate.  [default: {DEFAULT_RATE}]")
    text = 'In its place, e.g. "CosineDecay(0.1, steps=1000)"; "jaxgd schedules" lists them.'
    yield Option(["--schedule"], heading, text, metavar="SCHEDULE")
    text = "Return the iterate with the lowest loss, or the last one.  [default: best, or last if "
    text += "the loss is stochastic]"
    kept = click.Choice(["best", "last"])
    keep = Option(["--keep"], "The run and what comes out", text, type=kept)
    files = "result.npz and result.json, of many starts runs.npz and runs.json"
    text = "Where a run becomes NaN or infinite, say what did so first."
    debug = Option(["--debug"], "The run and what comes out", text, is_flag=True)
    yield from _outcome_options("The run and what comes out", files, keep, debug)
    yield from _checkpoint_options()
    yield from _many_options()
    yield from _stop_options()
    yield from _transform_options()
    yield from _rule_options()


def tune_options() -> Iterator[Option]:
    """All options of `jaxgd tune`."""
    heading = "The rule"
    yield _rule_option(heading)
    text = "How the rate goes, scaled so that its highest is the one to try."
    yield Option(["--schedule"], heading, text, metavar="SCHEDULE")
    heading = "What to try"
    yield _number("low", heading, "The lowest rate.", default=1e-6, show_default=True)
    yield _number("high", heading, "The highest rate.", default=10, show_default=True)
    yield _number("count", heading, "How many rates.", default=43, show_default=True)
    text = "Steps at each rate: best those of the real run."
    yield _number("max_steps", heading, text, default=100, show_default=True)
    yield from _outcome_options("The runs and what comes out", "tune.json")
    yield from _transform_options()
    yield from _rule_options()


def compare_options() -> Iterator[Option]:
    """All options of `jaxgd compare`."""
    heading = "The rules and their rates"
    text = 'Names with commas between them; "jaxgd rules" lists them.'
    yield Option(["--rules"], heading, text, metavar="RULES", default=RULES_COMPARED,
                 show_default=True)  # fmt: skip
    text = "One rate for all rules.  [default: for each rule what the finder suggests]"
    yield _number("learning_rate", heading, text)
    text = 'In its place, e.g. "CosineDecay(0.1, steps=1000)", for all rules.'
    yield Option(["--schedule"], heading, text, metavar="SCHEDULE")
    heading = "What to reach"
    text = "The loss to reach.  [default: near the lowest that a rule finds]"
    yield _number("target", heading, text)
    text = "How near: the part of what could be gained that may be missing."
    yield _number("tolerance", heading, text, default=1e-4, show_default=True)
    text = "Steps of each run."
    yield _number("max_steps", heading, text, default=1000, show_default=True)
    yield from _outcome_options("The runs and what comes out", "compare.json")
    yield from _many_options()
    yield from _transform_options()


def _number(name: str, heading: str, text: str, **more: Any) -> Option:
    return Option([name, option(name)], heading, text, type=Number(), **more)


def _rule_option(heading: str) -> Option:
    text = 'The update rule; "jaxgd rules" lists them.'
    return Option(["--rule"], heading, text, metavar="RULE", default="adam", show_default=True)


def _outcome_options(heading: str, files: str, *more: Option) -> Iterator[Option]:
    text = "How many the landscape shall have, if it leaves that open."
    yield _number("dimensions", heading, text)
    text = "Seed of the starts, and of the keys for a file's params(key) and a stochastic loss."
    yield _number("seed", heading, text, default=0, show_default=True)
    text = "Compute in double precision.  [default: no, or what JAX_ENABLE_X64 says]"
    yield Option(["--x64/--no-x64"], heading, text, default=None)
    yield from more
    text = "Show a live bar.  [default: yes in a terminal]"
    yield Option(["--progress/--no-progress"], heading, text, default=None)
    text = "Keep compiled programs on disk, where the next run finds them."
    yield Option(["--cache/--no-cache"], heading, text, default=True, show_default=True)
    text = f"Write {files} there; made if need be."
    yield Option(["--out"], heading, text, type=Directory(), metavar="DIR")
    text = "Draw pictures there too, as PNG and SVG; needs Matplotlib."
    yield Option(["--plot"], heading, text, is_flag=True)


def _checkpoint_options() -> Iterator[Option]:
    heading = "To go on after an interruption"
    text = f"From one checkpoint in DIR/checkpoint to the next.  [default: {DEFAULT_EVERY:g}]"
    yield _number("checkpoint_every", heading, text, metavar="SECONDS")
    text = "Keep none, and leave alone what is there."
    yield Option(["no_checkpoint", "--no-checkpoint"], heading, text, is_flag=True)


def _many_options() -> Iterator[Option]:
    heading = "Many starts"
    yield _number("starts", heading, "Descend from that many starts instead of one.")
    text = f"How to draw them in the box; normal is around the start.  [default: {DEFAULT_SAMPLER}]"
    yield Option(["--sampler"], heading, text, type=click.Choice(list(SAMPLERS)))
    text = "Runs under way together on each core.  [default: what suits the device]"
    yield _number("lanes", heading, text)


def _stop_options() -> Iterator[Option]:
    heading = "When to stop"
    yield _number("max_steps", heading, "Steps at most.", default=10000, show_default=True)
    for field in dataclasses.fields(Stop):
        text = _sentence(field.metadata["doc"])
        if field.default is not None:
            text += f"  [default: {field.default}]"
        yield _number(field.name, heading, text)
    yield _number("time_limit", heading, "Seconds after which to stop; compiling does not count.")


def _transform_options() -> Iterator[Option]:
    for name, transform in TRANSFORM_OPTIONS.items():
        (field,) = dataclasses.fields(transform)
        text = f"{transform.__name__}: {field.metadata['doc']}."
        yield _number(name, "Transforms of the gradient, before the rule", text)


def _rule_options() -> Iterator[Option]:
    """One option for every field of any rule, which says what it is to which rules."""
    heading = "Options of the rules"
    texts: dict[str, dict[str, dict[str, list[str]]]] = {}
    flags = set()
    for rule in RULES.values():
        for field in options_of(rule).values():
            is_flag = bool(field.metadata.get("static"))
            flags |= {field.name} if is_flag else set()
            default = "" if is_flag or field.default is None else f"{field.default:g} in "
            by_default = texts.setdefault(field.name, {}).setdefault(field.metadata["doc"], {})
            by_default.setdefault(default, []).append(rule.__name__)
    for name, by_doc in texts.items():
        uses = {
            doc: "; ".join(default + ", ".join(rules) for default, rules in users.items())
            for doc, users in by_doc.items()
        }
        text = " ".join(_sentence(f"{doc} ({use})") for doc, use in uses.items())
        if name in flags:
            spelled = f"{option(name)}/--no-{option(name)[2:]}"
            yield Option([f"rule_{name}", spelled], heading, text, default=None)
        else:
            names = [f"rule_{name}", option(name)]
            yield Option(names, heading, text, type=Number())


def _sentence(doc: str) -> str:
    return doc[0].upper() + doc[1:] + "."
