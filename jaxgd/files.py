"""The files that are left: `result.npz` and `result.json` of one run, `runs.*` of many.

They are read without JAX: the arrays with `numpy.load(path, allow_pickle=False)`, the JSON, which
is strictly valid, with anything.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import math
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd import fingerprint
from jaxgd.archive import sync
from jaxgd.canonical import is_number
from jaxgd.minima import Minimum
from jaxgd.pytree import is_pytree
from jaxgd.record import History
from jaxgd.result import Result
from jaxgd.runs import Runs, Scale
from jaxgd.status import Status
from jaxgd.tree import PyTree, is_key

NAMES = ("result", "runs", "tune", "compare")
"""Of the files of outcomes."""
MOST_NUMBERS_IN_JSON = 1000
MOST_MINIMA_IN_JSON = 100


def prepare(directory: Path) -> None:
    """Raise an OSError now, rather than after a long run, if files cannot be written there.

    The directory is made for that, and removed if it was not there: who refuses to run for another
    reason leaves nothing behind.
    """
    missing = missing_of(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _replacing(directory / "result.npz", discard=True) as file:
            file.write(b" ")
    finally:
        remove_empty(missing)
    for path in (directory / f"{name}{end}" for name in NAMES for end in (".npz", ".json")):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def missing_of(directory: Path) -> list[Path]:
    """What has to be made for a directory to be there, the directory first."""
    return [place for place in (directory, *directory.parents) if not place.exists()]


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove those in which there is nothing, in their order."""
    for place in directories:
        with contextlib.suppress(OSError):
            place.rmdir()


def write(directory: Path, outcome: Result | Runs, about: dict[str, Any]) -> list[Path]:
    """Write an npz and a JSON file, each whole or not at all.

    Args:
      directory: it is made if need be.
      outcome: of one run, which makes `result.npz` and `result.json`, or of many, which makes
        `runs.npz`, the columns of `Runs.to_dict`, and `runs.json`.
      about: what else the JSON says, in the order given: JSON values, complex numbers, arrays,
        rules and schedules.

    Returns:
      The paths of the files.
    """
    named: dict[str, Any]
    if isinstance(outcome, Runs):
        name, facts = "runs", _facts_of_many(outcome)
        named = {column: _portable(leaf) for column, leaf in outcome.to_dict().items()}
        named |= _history_arrays(outcome.history)
    else:
        name, facts, named = "result", _facts(outcome), {**result_arrays(outcome)}
    arrays = directory / f"{name}.npz"
    with _replacing(arrays) as file:
        np.savez(file, **named)
    return [arrays, write_json(directory / f"{name}.json", {**facts, **about})]


def write_json(path: Path, facts: dict[str, Any]) -> Path:
    """Write a JSON file, whole or not at all; returns its path."""
    text = json.dumps(_plain(facts), indent=2, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, whole or not at all; returns its path."""
    with _replacing(path) as file:
        file.write(content)
    return path


@contextlib.contextmanager
def _replacing(path: Path, *, discard: bool = False) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` at the end, so that no reader meets half of it."""
    # Not tempfile: its files are for their owner's eyes only, and would stay so under the new name.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished.open("wb") as file:
            yield file
            if not discard:  # a checkpoint may be removed once this is there, so it has to last
                file.flush()
                os.fsync(file.fileno())
        if not discard:
            unfinished.replace(path)
            sync(path.parent)
    except OSError as error:
        if error.filename == str(unfinished):
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def result_arrays(result: Result) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `result.npz`.

    Each leaf of params is named by its path, such as `params` or `params['w']`; the history's rows
    are `history_step`, `history_loss`, `history_grad_norm`, `history_learning_rate` and, if they
    were recorded, `history_params`, named like params; the scalars are `loss`, `grad_norm`,
    `steps`, `status` and `at_step`.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda p: p["x"] ** 2, {"x": 1.0}, gd.Adam(0.1), max_steps=5)
      >>> result_arrays(result)["params['x']"].shape
      ()
    """
    arrays = named_params(result.params)
    for name in ("loss", "grad_norm", "steps", "status", "at_step"):
        arrays[name] = _portable(getattr(result, name))
    return arrays | _history_arrays(result.history)


def _history_arrays(history: History | None) -> dict[str, np.ndarray[Any, Any]]:
    if history is None:
        return {}
    names = ("step", "loss", "grad_norm", "learning_rate")
    rows = {f"history_{name}": getattr(history, name) for name in names}
    arrays = {name: _portable(column) for name, column in rows.items() if column is not None}
    return arrays | {f"history_{name}": leaf for name, leaf in named_params(history.params).items()}


def named_params(params: PyTree) -> dict[str, np.ndarray[Any, Any]]:
    """The numeric leaves of params, named by their paths."""
    return {
        "params" + jax.tree_util.keystr(path): _portable(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if is_number(leaf) or is_key(leaf)
    }


def _portable(leaf: Any) -> np.ndarray[Any, Any]:
    """A leaf in a dtype that NumPy alone can read: bfloat16 and its like become float32."""
    array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    if array.dtype.isbuiltin != 2:  # 2 is foreign; a copy of NumPy's own dtype may say 0
        return array
    return array.astype(np.float32 if jnp.issubdtype(array.dtype, np.floating) else np.int32)


def _facts(result: Result) -> dict[str, Any]:
    end = _end(result)
    message = Status(end["status_code"]).message
    return {**end, "message": message, "engine": result.engine, **_times(result)}


def _facts_of_many(runs: Runs) -> dict[str, Any]:
    codes, counts = np.unique(runs.status, return_counts=True)
    minima = runs.minima()
    return {
        "runs": len(runs),
        "counts": {Status(c).name: int(n) for c, n in zip(codes, counts, strict=True)},
        "success_rate": runs.success_rate,
        "engine": runs.engine,
        "scale": _scale(runs.scale),
        **_times(runs),
        "best": _end(runs.best),
        "minima_found": len(minima),
        "minima": [{"count": m.count, **_point(m)} for m in minima[:MOST_MINIMA_IN_JSON]],
    }


def _scale(scale: Scale) -> dict[str, Any]:
    """By what the minima were told apart."""
    params = scale.params if np.size(scale.params) <= MOST_NUMBERS_IN_JSON else None
    return {"loss": float(scale.loss), "ends": float(scale.ends), "params": params}


def _times(outcome: Result | Runs) -> dict[str, Any]:
    return {"compile_seconds": outcome.compile_seconds, "run_seconds": outcome.run_seconds}


def _end(result: Result) -> dict[str, Any]:
    status = Status(int(result.status))
    counts = {name: int(getattr(result, name)) for name in ("steps", "at_step", "evaluations")}
    return {"status": status.name, "status_code": int(status), **counts, **_point(result)}


def _point(end: Result | Minimum) -> dict[str, Any]:
    """Where runs ended; the params only if they are few."""
    params = named_params(end.params)
    small = sum(array.size for array in params.values()) <= MOST_NUMBERS_IN_JSON
    return {
        "loss": float(end.loss),
        "grad_norm": float(end.grad_norm),
        "params": params.get("params", params) if small else None,
    }


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """How a file came about: the words of the command line, when, and what ran."""
    now = datetime.datetime.now(datetime.UTC)
    date = now.isoformat(timespec="seconds")
    return {"command": list(command), "date": date, "versions": versions()}


def versions() -> dict[str, str]:
    """What ran."""
    others = {"numpy": np.__version__, "python": platform.python_version()}
    return {**fingerprint.versions(), **others}


def _plain(value: Any) -> Any:
    """`value` in JSON's types; JSON has no complex numbers, and no NaN or infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if is_pytree(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"name": type(value).__name__, **_plain(fields)}
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite else _NON_FINITE[str(value)]


# As JavaScript spells them; Python's float() reads them.
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
