"""What the documentation site shows of a class or function, read from its source by griffe.

The fields of a class made by `pytree` become the parameters of its `__init__`. What a class says of
its fields, in `number(doc=…)` or in a docstring below each, becomes a section of its own docstring.
The runnable examples become blocks of code.
"""

import ast
import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """An extension that prepares docstrings for mkdocstrings."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Show the examples of a docstring as code."""
        if obj.docstring is not None:
            obj.docstring.value = with_fenced_examples(obj.docstring.value)

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Leave out annotations that say nothing, and put that of what is returned before its text.

        Without it what stands before a colon is taken for one.
        """
        if func.docstring is not None:
            returned = f"Returns:\n  {func.returns}: "
            func.docstring.value = func.docstring.value.replace("Returns:\n  ", returned, 1)
        for parameter in func.parameters:
            if str(parameter.annotation) == "Any":
                parameter.annotation = None

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Say of a class what its fields are."""
        made_by = {str(decorator.value).split("(")[0] for decorator in cls.decorators}
        if cls.docstring is None or not made_by & {"pytree", "dataclasses.dataclass"}:
            return
        fields = [m for m in cls.members.values() if is_field(m)]
        declared = [declared_in(field) for field in fields]
        told = [f"  {parameter.name}: {doc}" for parameter, doc in declared if doc]
        is_returned = "pytree" in made_by and any(field.docstring for field in fields)
        if told:
            title = "Attributes" if is_returned else "Args"
            cls.docstring.value = with_section(cls.docstring.value, title, told)
        for field in fields if is_returned else ():
            field.annotation = None if str(field.annotation) == "Any" else field.annotation
        if "pytree" in made_by and not is_returned:
            parameters = griffe.Parameters(*(parameter for parameter, _ in declared))
            cls.set_member("__init__", griffe.Function("__init__", parameters=parameters))


def is_field(member: Any) -> bool:
    """Whether a member is a field, neither a property nor an attribute of the class alone."""
    of_class = "class-attribute" in member.labels and "instance-attribute" not in member.labels
    is_data = member.is_attribute and "property" not in member.labels and not of_class
    return is_data and member.annotation is not None


def declared_in(field: Any) -> tuple[griffe.Parameter, str]:
    """A field as a parameter, and what is said of it."""
    default, doc = None if field.value is None else str(field.value), ""
    if default is not None and re.match(r"(number|static|dataclasses\.field)\(", default):
        call: Any = ast.parse(default, mode="eval").body
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        default = ast.unparse(given["default"]) if "default" in given else None
        doc = ast.literal_eval(given["doc"]) if "doc" in given else ""
    if field.docstring is not None:
        doc = " ".join(field.docstring.value.split())
    kind = griffe.ParameterKind.positional_or_keyword
    return griffe.Parameter(field.name, kind=kind, default=default), doc


def with_section(text: str, title: str, told: list[str]) -> str:
    """A docstring with a section before its references and examples."""
    section = "\n".join([f"{title}:", *told, "", ""])
    found = re.search(r"^(References?:|\*\*Example\*\*)", text, re.MULTILINE)
    at = found.start() if found else len(text)
    return f"{text[:at].rstrip()}\n\n{section}{text[at:]}"


def with_fenced_examples(text: str) -> str:
    """A docstring whose doctests are blocks of code."""
    text = re.sub(r"^Example:\n((?:  .*\n?|\n)+)", _heading, text, flags=re.MULTILINE)
    return re.sub(r"^>>> (?:.*\n?)+?(?=\n|\Z)", _fence, text, flags=re.MULTILINE)


def _heading(found: re.Match[str]) -> str:
    return "**Example**\n\n" + re.sub(r"^  ", "", found[1], flags=re.MULTILINE).rstrip() + "\n\n"


def _fence(found: re.Match[str]) -> str:
    code = re.sub(r" *# doctest: .*", "", found[0].rstrip())
    return f"```pycon\n{code}\n```\n"
