"""The README's tables: rules and schedules from the registries, costs from the results.

`python tests/readme_tables.py` writes them into README.md; a test compares.
"""

import dataclasses
import inspect
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


def results():
    """What was measured on CPUs: for each version of jax, cases by their names."""
    folder = README.parent / "benchmarks" / "results"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("cpu-jax*.json"))]


def row_of(case, name):
    return next((row for row in case["rows"] if row["contender"].startswith(name)), None)


def markdown(head, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def cell(row, scale, digits):
    """A time, and for ours how many times as fast as the best peer."""
    if row is None:
        return ""
    gain = row["times_as_fast_as_best_peer"]
    told = f"{row['ms'] * scale:,.{digits}f}"
    return told if row["kind"] != "ours" or gain is None else f"{told} ({gain:.2g})"


def costs():
    """Microseconds per step of one run of 10,000 steps."""
    names = ["optax", "a scan by hand", "jaxgd, keep=\"last\"", "jaxgd, keep=\"best\"",
             "jaxgd, defaults", "C"]  # fmt: skip
    head = ["jax", "parameters", "optax, `jit(scan)`", "by hand", "`keep=\"last\"`, no tests",
            "`keep=\"best\"`, gtol", "defaults", "C"]  # fmt: skip
    rows = []
    for cases in results():
        for name, case in cases.items():
            if name.startswith("one-"):
                cells = [cell(row_of(case, contender), 0.1, 3) for contender in names]
                size = f"{int(name.removeprefix('one-')):,}"
                rows.append([case["surroundings"]["jax"], size, *cells])
    return markdown(head, rows)


def many():
    """Milliseconds of the other cases, with the oldest jax."""
    head = ["case", "the best peer", "optax", '`keep="last"`', '`keep="best"`, gtol', "C"]
    rows = []
    for name, case in results()[0].items():
        peers = [row for row in case["rows"] if row["kind"] == "peer"]
        own = [row for row in case["rows"] if row["kind"] == "ours"]
        if name.startswith(("one-", "second-", "first-")) or not peers:
            continue
        best = min(peers, key=lambda row: row["ms"])
        cells = [cell(row, 1, 0) for row in (row_of(case, "optax"), *own[:2])]
        cells += [""] * (3 - len(cells)) + [cell(row_of(case, "C,"), 1, 0)]
        rows.append([case["work"], f"{best['ms']:,.0f} ({best['contender']})", *cells])
    return markdown(head, rows)


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
