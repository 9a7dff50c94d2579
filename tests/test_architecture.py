"""The house: which module may import which, how long files and functions may be, what is public."""

import ast
import dataclasses
import inspect
import pathlib
import subprocess
import sys

import pytest

import jaxgd as gd

ROOT = pathlib.Path(gd.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A module imports from floors below its own, or from its own family (the package it is in).
# The number before the point is the design's; the one behind it orders a floor.
FLOORS = {
    "pytree": 0.0,
    "refusal": 0.0,
    "jaxprs": 0.0,
    "spelling": 0.0,
    "status": 0.0,
    "canonical": 0.1,
    "tree": 0.2,
    "shuffle": 0.2,
    "schedules": 1.0,
    "rules": 2.0,
    "stop": 3.0,
    "evaluate": 3.02,
    "record": 3.05,
    "bounds": 3.0,
    "minima": 3.0,
    "grid": 3.0,
    "races": 3.0,
    "packing": 3.0,
    "loss": 3.0,
    "feed": 3.0,
    "data": 3.1,
    "problem": 3.1,
    "result": 3.1,
    "axes": 3.1,
    "runs": 3.2,
    "averaged": 3.3,
    "loop": 4.0,
    "walk": 4.1,
    "descend": 4.2,
    "engines": 5.0,
    "signals": 6.0,
    "locking": 6.0,
    "archive": 6.0,
    "named": 6.0,
    "gate": 6.0,
    "checkpoint": 6.1,
    "supply": 6.1,
    "progress": 6.0,
    "programs": 6.0,
    "cache": 6.0,
    "lanes": 6.0,
    "refill": 6.1,
    "advance": 6.2,
    "driver": 7.0,
    "journal": 7.0,
    "copies": 7.0,
    "metrics": 7.05,
    "fingerprint": 7.12,
    "state": 7.1,
    "saving": 7.15,
    "calls": 7.16,
    "resuming": 7.17,
    "run": 7.2,
    "diagnosis": 7.25,
    "blocks": 7.1,
    "ledger": 7.1,
    "panel": 7.2,
    "crew": 7.2,
    "keeping": 7.25,
    "conduct": 7.3,
    "harvest": 7.3,
    "minimize": 8.0,
    "asked": 8.1,
    "replay": 8.12,
    "job": 8.15,
    "many": 8.2,
    "landscapes": 9.0,
    "starts": 9.0,
    "plot": 9.1,
    "tune": 9.2,
    "target": 10.0,
    "files": 10.0,
    "report": 10.05,
    "cli": 10.1,
    "__main__": 10.2,
}


def name_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(path, tree):
    """The modules of the library that a module imports, by the first part of their names."""
    inside = path.relative_to(ROOT).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = inside[: len(inside) - node.level]
            names = [node.module or ""] if node.module else [a.name for a in node.names]
            yield from ([package[0]] if package else [name.split(".")[0] for name in names])
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jaxgd"):
            rest = node.module.split(".")[1:]
            yield from [rest[0]] if rest else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("jaxgd."):
                    yield alias.name.split(".")[1]


def parsed(path):
    return ast.parse(path.read_text())


def test_every_module_has_a_floor():
    assert {name_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    here = name_of(path)
    if here == "__init__":
        return
    for there in imports_of(path, parsed(path)):
        if there in {"__version__", here}:
            continue
        assert FLOORS[there] < FLOORS[here], f"{here} imports {there}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = isinstance(getattr(first, "value", None), ast.Constant)
            body = node.body[1:] if documented else node.body
            if body:
                length = body[-1].end_lineno - body[0].lineno + 1
                assert length <= 40, f"{node.name} has {length} lines"


def deepest(node, depth=0):
    """How many blocks stand in one another, `elif` not counted as one in its `if`."""
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
    deeper = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.FunctionDef | ast.Lambda):
                continue
            elif_ = isinstance(node, ast.If) and isinstance(child, ast.If) and field == "orelse"
            step = isinstance(child, blocks) and not elif_
            deeper = max(deeper, deepest(child, depth + step))
    return max(depth, deeper)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_are_nested_three_deep_at_most(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert deepest(node) <= 3, f"{path}: {node.name}"


def test_the_library_is_read_in_an_evening():
    """Lines of code up to floor 8, without docstrings, comments and blanks: 9,100 at most.

    Above it are collections, such as landscapes, and front ends: nobody must read them to know how
    the library works.
    """
    count = 0
    for path in MODULES:
        if FLOORS.get(name_of(path), 0) < 9:
            count += len(ast.unparse(without_docstrings(parsed(path))).splitlines())
    assert count < 9100


def without_docstrings(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return tree


def test_no_module_imports_a_peer_or_compiles_where_it_must_not():
    peers = {"optax", "jaxopt", "optimistix", "torch", "flax", "equinox"}
    for path in MODULES:
        tree = parsed(path)
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert not names & peers, path
        calls_jit = any(
            (isinstance(node, ast.Attribute) and node.attr == "jit")
            or (isinstance(node, ast.ImportFrom) and any(a.name == "jit" for a in node.names))
            for node in ast.walk(tree)
        )
        assert not calls_jit or name_of(path) in {"driver", "engines"}, path


def test_the_public_names_are_these():
    expected = {
        "minimize", "descend", "minimize_many", "multistart", "sweep", "chain",
        "accumulate", "average", "averaged", "partition", "Freeze",
        "Axes", "Batches", "Grid", "grid", "product", "Halving", "Rediscovered", "Runs", "Minimum",
        "Checkpoint", "starts",
        "pytree", "static", "number",
        "find_learning_rate", "Finding", "compare", "Comparison",
        "Result", "History", "Record", "Stop", "Status", "RunFailed",
        "Evaluate", "EarlyStop", "engines", "landscapes", "cache_programs", "__version__",
        *gd.rules.RULES, *gd.rules.TRANSFORMS, *gd.schedules.SCHEDULES,
    }  # fmt: skip
    assert set(gd.__all__) == expected
    assert all(hasattr(gd, name) for name in expected)


def test_what_is_public_is_documented():
    for name in gd.__all__:
        thing = getattr(gd, name)
        if name == "__version__":
            continue
        doc = inspect.getdoc(thing)
        assert doc, name
        if name in gd.rules.RULES:
            assert "Reference:" in doc, name
            assert ">>>" in doc, name
            assert "u = " in doc, name
        if name in gd.rules.TRANSFORMS:
            assert "Reference:" in doc, name
            assert "g = " in doc, name
        if inspect.isclass(thing) or inspect.isfunction(thing):
            has_example = ">>>" in doc or name in {"Status", "History", "RunFailed"}
            assert has_example, name


@pytest.mark.parametrize(
    "field", [(cls, f) for cls in (*gd.rules.RULES.values(), *gd.schedules.SCHEDULES.values())
              for f in dataclasses.fields(cls)],
    ids=lambda pair: f"{pair[0].__name__}.{pair[1].name}",
)  # fmt: skip
def test_every_number_is_documented_once(field):
    _, declared = field
    assert declared.metadata.get("doc")


def test_importing_the_library_imports_nothing_optional():
    code = (
        "import sys, jaxgd; "
        "bad = {'optax', 'flax', 'matplotlib', 'tqdm', 'click', 'pandas'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
