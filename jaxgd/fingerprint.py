"""By what a checkpoint is told from that of another run."""

import dataclasses
import hashlib
import json
import re
from typing import Any

import jax
import numpy as np

from jaxgd.axes import Spread
from jaxgd.blocks import Made, ManyJob
from jaxgd.canonical import is_number
from jaxgd.checkpoint import warn
from jaxgd.data import Batches
from jaxgd.driver import Job, Program
from jaxgd.rules import canonical_rule
from jaxgd.tree import PyTree, is_key

WHOLE = 2**24
"""Bytes of an array up to which all of it is looked at; of a larger one some entries."""
SAMPLE = 4096
"""As many."""
SHORT = 64
"""Numbers of an array that are written down."""


def marks_of(tree: PyTree) -> dict[str, Any]:
    """The form of a pytree, leaf by leaf, and 16 digits for its values."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    form = {jax.tree_util.keystr(path): _form(leaf) for path, leaf in leaves}
    return {"form": form, "values": _digits([leaf for _, leaf in leaves])}


def marks_of_data(data: Any) -> Any:
    """The same of data; what is on the disk, and a source, are not read for it."""
    if not isinstance(data, Batches):
        return None
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    arrays = fields.pop("arrays")
    told = "a source" if data.is_source else marks_of(arrays)
    return {**{name: told_of(value) for name, value in fields.items()}, "arrays": told}


def told_of(value: Any, depth: int = 0) -> Any:
    """A rule, or anything that is made of numbers, in JSON's types."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_number(value) or is_key(value):
        small = (
            not is_key(value) and np.size(value) <= SHORT and np.asarray(value).dtype.kind != "c"
        )
        return _short_floats(np.asarray(value)) if small else _digits([value])
    if depth > 16:
        return type(value).__name__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {"is": type(value).__name__} | {
            field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(name): told_of(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [told_of(item, depth + 1) for item in value]
    return getattr(value, "__qualname__", type(value).__name__)


def fingerprint_of(asked: dict[str, Any], job: Job, program: Program) -> dict[str, Any]:
    """By which a run is told from others: what was given, its rule and its tests."""
    given = {name: marks_of(value) for name, value in asked.items() if name != "data"}
    return {
        "kind": "a single run",
        **given,
        "data": marks_of_data(asked["data"]),
        "rule": told_of(job.rule),
        "stop": sorted(job.stop.given),
        "record": told_of(job.record),
        "metrics": told_of(job.evaluate),
        "keep": None if job.evaluate is not None and job.chooses else job.keep,
        "captured arrays": marks_of(program.captured),
        "loss": program.digest,
        "versions": versions(),
    }


def fingerprint_of_many(
    spread: Spread, job: ManyJob, given: dict[str, Any], made: Made
) -> dict[str, Any]:
    """The same for many runs, of which `given` is what all of them share."""
    told: dict[str, Any] = {"kind": "many runs", "shape": list(spread.shape)}
    for name in ("params", "args", "key"):
        told[name] = marks_of(getattr(spread, name))
    told["rule"] = told_of(canonical_rule(spread.rule))
    for name, columns in spread.columns.items():
        told[f"{name} of the runs"] = marks_of({path: c.array for path, c in columns.items()})
    return {
        **told,
        "bounds": marks_of(given["bounds"]),
        "data": marks_of_data(given["data"]),
        "max_steps": given["max_steps"],
        "prune": told_of(given["prune"]),
        "enough": told_of(given["enough"]),
        "stop": told_of(job.stop),
        "keep": job.keep,
        "record": told_of(job.record),
        "metrics": told_of(job.evaluate),
        "captured arrays": marks_of(made.captured),
        "loss": made.digest,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What runs."""
    from jaxgd import __version__

    return {"jaxgd": __version__, "jax": jax.__version__}


def check(before: dict[str, Any], now: dict[str, Any], directory: Any) -> None:
    """Compare the fingerprint of a checkpoint's run with that of this one.

    Raises:
      ValueError: the runs differ; it says in what.

    Another release of JAX is warned about: it may round otherwise, and write the loss otherwise.
    """
    theirs, ours = before["versions"]["jax"], now["versions"]["jax"]
    if theirs != ours:
        warn(f"made with jax {theirs}, goes on with {ours}: the last bits may differ")
        before = {**before, "loss": now["loss"]}
    found = _difference(
        {**before, "versions": 0}, json.loads(json.dumps({**now, "versions": 0})), ""
    )
    if found is None:
        return
    raise ValueError(
        f"checkpoint: {directory} holds one of another run, {found}: give another directory, or "
        "remove it"
    )


def _difference(before: Any, now: Any, place: str) -> str | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inside = name if name.startswith(("[", ".")) or not place else f".{name}"
            inside = "" if name in ("", "form", "values") else inside
            found = _difference(before.get(name), now.get(name), place + inside)
            if found is not None:
                return found
        return None
    if json.dumps(before) == json.dumps(now):
        return None
    if place == "loss":
        return "whose loss computes something else"
    if isinstance(before, str) and re.fullmatch("[0-9a-f]{16}", before):
        return f"of which {place} had other values"
    return f"of which {place} was {_short(before)}, and is {_short(now)} now"


def _short_floats(array: np.ndarray[Any, Any]) -> Any:
    """Numbers with as many digits as their dtype tells apart: 0.1, not 0.10000000149011612."""
    if array.ndim:
        return [_short_floats(part) for part in array]
    return float(str(array)) if array.dtype.kind == "f" else array.item()


def _short(value: Any) -> str:
    said = value if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= 80 else f"{said[:77]}..."


def _form(leaf: Any) -> str:
    if not is_number(leaf) and not is_key(leaf):
        return type(leaf).__name__
    dtype = getattr(leaf, "dtype", type(leaf).__name__)
    return f"{dtype}{list(np.shape(leaf))}".replace(" ", "")


_BYTES = 8


def _digits(leaves: list[Any]) -> str:
    told = hashlib.blake2b(digest_size=_BYTES)
    for leaf in leaves:
        told.update(_bytes(leaf))
    return told.hexdigest()


def _bytes(leaf: Any) -> bytes:
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if not is_number(leaf):
        return str(told_of(leaf)).encode()
    there = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    if isinstance(leaf, np.memmap) or not there:
        return _form(leaf).encode()
    if np.size(leaf) * getattr(leaf, "dtype", np.dtype(float)).itemsize > WHOLE:
        leaf = leaf.reshape(-1)[:: leaf.size // SAMPLE]
    return np.asarray(leaf).tobytes()
