"""Results as they come back from the files: what tables and pictures need of them."""

import ast
import collections
import contextlib
import dataclasses
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgd.record import History
from jaxgd.result import Result
from jaxgd.runs import Mapped, Runs, Scale
from jaxgd.status import Status
from jaxgd.target import first_paragraph
from jaxgd.tree import PyTree

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Stored:
    """What two files say."""

    path: Path
    """The JSON file."""
    facts: dict[str, Any]
    """What is in it."""
    outcome: Result | Runs


@contextlib.contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into a ValueError of one line that names it.

    Raises:
      OSError: the file cannot be opened.
      ValueError: the file is truncated, or not what the command line writes.
    """
    try:
        with np.errstate(all="ignore"):  # what is odd in the numbers is seen in them
            yield
    except Exception as error:  # the file is of anybody's making, and so are the errors
        if isinstance(error, OSError) and error.filename:
            raise
        said = first_paragraph(str(error))
        reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise ValueError(f"{path} is damaged, or was not written by jaxgd: {reason}") from error


def read(path: Path) -> Stored:
    """The outcome of which `result.json` or `runs.json` tells, with its arrays beside it.

    The params come back as one array, or as a mapping from names to arrays: their types and how
    they were nested are not in the files.

    Args:
      path: the JSON file; the npz file of the same name is next to it.

    Raises:
      OSError: a file is not there, or cannot be read.
      ValueError: a file is truncated, or not what the command line writes.
    """
    facts = facts_of(path)
    beside = path.with_suffix(".npz")
    with blaming(beside):
        arrays = _arrays(beside)
    with blaming(path):
        outcome = _result(facts, arrays) if path.stem == "result" else _runs(facts, arrays)
    return Stored(path, facts, outcome)


def facts_of(path: Path) -> dict[str, Any]:
    """What a JSON file says.

    Raises:
      OSError, ValueError: as `read`.
    """
    with blaming(path):
        _refuse_devices(path)
        facts = json.loads(path.read_bytes())
        if not isinstance(facts, dict):
            raise ValueError("there is no object in it")
        return facts


def _refuse_devices(path: Path) -> None:
    """Refuse what might never end, such as a pipe."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is no regular file")


def _arrays(path: Path) -> dict[str, Array]:
    _refuse_devices(path)
    with path.open("rb") as file:
        if file.peek(2)[:2] not in (b"", b"PK", b"\x93N"):
            raise ValueError("it is no npz archive")  # NumPy would advise to load a pickle
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        if isinstance(stored, np.ndarray):
            raise ValueError("there is one array in it, not several by name")
        arrays = {name: stored[name] for name in stored.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
            raise ValueError(f"{name!r} is no array of numbers")
    return arrays


def _result(facts: Mapping[str, Any], arrays: Arrays) -> Result:
    names = ("loss", "grad_norm", "at_step", "steps", "status")
    ends = {name: _scalar(arrays, name) for name in names}
    Status(int(ends["status"]))
    return Result(
        params=_params(arrays, "params"),
        **ends,
        aux=None,
        evaluations=np.int64(facts["evaluations"]),
        history=_history(arrays, ()),
        state=None,
        **_times(facts),
        engine=str(facts.get("engine", "")),
    )


def _runs(facts: Mapping[str, Any], arrays: Arrays) -> Runs:
    count = len(arrays["loss"])
    for name, array in arrays.items():
        if not count or array.shape[:1] != (count,):
            raise ValueError(f"{name!r} has the shape {array.shape} in a file of {count} runs")
    names = ("loss", "grad_norm", "at_step", "steps", "status", "evaluations")
    columns: dict[str, Any] = {name: _shaped(arrays[name], name, (count,)) for name in names}
    for status in np.unique(columns["status"]):
        Status(int(status))
    params, start = _params(arrays, "params"), _params(arrays, "start")
    return Runs(
        params=params,
        **columns,
        aux=None,
        history=_history(arrays, (count,)),
        inputs=Mapped(start, None, None, None),
        scale=_scale(facts["scale"], params, count),
        **_times(facts),
        shape=(count,),
        engine=str(facts["engine"]),
    )


def _times(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(facts[name]) for name in ("compile_seconds", "run_seconds")}


def _scalar(arrays: Arrays, name: str) -> Any:
    return _shaped(arrays[name], name, ())[()]


def _shaped(array: Array, name: str, shape: tuple[int, ...]) -> Array:
    if array.shape != shape or array.dtype.kind == "c":
        raise ValueError(f"{name!r} has the shape {array.shape} and the dtype {array.dtype}")
    return array


def _scale(facts: Mapping[str, Any], params: PyTree, count: int) -> Scale:
    """Typical sizes; those of very many params, which the JSON leaves out, from the ends."""
    leaves = params.values() if isinstance(params, Mapping) else [params]
    flat = [leaf.reshape(count, -1) for leaf in leaves if leaf.dtype.kind in "fc"]
    parts = [part for a in flat for part in ([a.real, a.imag] if np.iscomplexobj(a) else [a])]
    width = sum(part.shape[1] for part in parts)
    if facts["params"] is None:
        sizes = np.concatenate([np.nanmedian(np.abs(part), axis=0) for part in parts])
    else:
        sizes = np.array([float(size) for size in facts["params"]])
    return Scale(float(facts["loss"]), float(facts["ends"]), _shaped(sizes, "scale", (width,)))


def _history(arrays: Arrays, runs: tuple[int, ...]) -> History | None:
    if "history_step" not in arrays:
        return None
    shape = (*runs, arrays["history_step"].shape[-1])
    names = ("step", "loss", "grad_norm", "learning_rate")
    rows: dict[str, Any] = dict.fromkeys(names)
    for name in names:
        if f"history_{name}" in arrays:
            rows[name] = _shaped(arrays[f"history_{name}"], name, shape)
    return History(**rows, params=_params(arrays, "history_params", shape))


def _params(arrays: Arrays, prefix: str, shape: tuple[int, ...] = ()) -> PyTree:
    """The arrays whose names begin so; None where there are none.

    An ordered mapping, since that is the order in which pytrees keep its entries.
    """
    found = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name == prefix or name.startswith((f"{prefix}[", f"{prefix}."))
    }
    for name, array in found.items():
        if array.shape[: len(shape)] != shape:
            raise ValueError(f"{prefix}{name} has the shape {array.shape}")
    if not found and prefix == "params":
        raise ValueError("there are no params in it")
    if not found or list(found) == [""]:
        return found.get("")
    short = [_short(name) for name in found]
    unique = len(set(short)) == len(short)
    return collections.OrderedDict(zip(short if unique else found, found.values(), strict=True))


_STEP = re.compile(
    r"""\[('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]|\[(\d+)\]|\.(\w+)|\[<flat\ index\ (\d+)>\]""",
    re.VERBOSE,
)


def _short(path: str) -> str:
    """`['layers'][0].w` as `layers.0.w`, and what is no such path as it is."""
    steps = list(_STEP.finditer(path))
    if not steps or "".join(step.group() for step in steps) != path:
        return path
    names = [next(part for part in step.groups() if part is not None) for step in steps]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that no name of ours has
        return ".".join(ast.literal_eval(n) if n[0] in "'\"" else n for n in names)
