"""The README's tables: rules and schedules from the registries, costs from the results.

`python tests/readme_tables.py` writes them into README.md; a test compares.
"""

import dataclasses
import inspect
import itertools
import json
import pathlib
import re

import jaxgd as gd

README = pathlib.Path(__file__).parent.parent / "README.md"


def fields_of(cls):
    shown = []
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING
        shown.append(field.name if required else f"{field.name}={field.default!r}")
    return ", ".join(shown)


def table(registry, head):
    rows = []
    for name, cls in registry.items():
        doc = inspect.getdoc(cls)
        what = doc.split("\n")[0].rstrip(".:")
        reference = re.search(r"Reference: (.*?)(?:\n\n|\Z)", doc, re.DOTALL)
        cited = re.sub(r"\s+", " ", reference[1]).rstrip(".") if reference else ""
        rows.append(f"| `{name}({fields_of(cls)})` | {what} | {cited} |")
    return "\n".join([f"| {head} | what it is | reference |", "|---|---|---|", *rows])


def costs():
    """What a step costs, from the results of the benchmark."""
    head = ["jax", "parameters", "by hand, no history", "by hand, losses", "`keep=\"last\"`",
            "`keep=\"best\"`", "defaults"]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for path in sorted((README.parent / "benchmarks" / "results").glob("single-cpu-*.json")):
        data = json.loads(path.read_text())
        for size, group in itertools.groupby(data["figures"], lambda f: f["parameters"]):
            cells = [f"{f['us_per_step']:.3f} ({f['ratio_to_stacked']:.2f})" for f in group]
            by_hand = [cell.split(" ")[0] for cell in cells[:2]]
            rows.append([data["surroundings"]["jax"], f"{size:,}", *by_hand, *cells[2:]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def many():
    """What many runs cost, from the results of the benchmark."""
    head = ["case", "with jit and vmap", "the same with optax", "jaxgd"]
    rows = [head, ["---"] * len(head)]
    (path,) = (README.parent / "benchmarks" / "results").glob("many-cpu-jax0.10.*.json")
    figures = json.loads(path.read_text())["figures"]
    for case, members in itertools.groupby(figures, lambda f: f["case"]):
        group = list(members)
        if "ms" not in group[0]:
            continue
        cells = [f"{f['ms']:,.0f} ({f['times_as_fast_as_the_first']:.1f})" for f in group]
        pairs = list(zip(cells, group, strict=True))
        others = [cell for cell, figure in pairs[1:] if "optax" in figure["contender"]]
        rows.append([case, cells[0].split(" ")[0], *(others[:1] or [""]), cells[-1]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def tables():
    """Name to table; each stands in the README between its marker and the next blank line."""
    return {
        "rules": table(gd.rules.RULES, "rule"),
        "transforms": table(gd.rules.TRANSFORMS, "transform"),
        "schedules": table(gd.schedules.SCHEDULES, "schedule"),
        "costs": costs(),
        "many": many(),
    }


def with_tables(text):
    for name, made in tables().items():
        pattern = rf"(<!-- {name} -->\n).*?(\n\n|\Z)"
        text = re.sub(pattern, lambda m, made=made: m[1] + made + m[2], text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
