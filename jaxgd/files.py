"""The files that a finished run leaves: `result.npz` and `result.json`.

Both are read without JAX: the arrays with `numpy.load(path, allow_pickle=False)`, the JSON, which
is strictly valid, with anything.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.canonical import is_number
from jaxgd.pytree import is_pytree
from jaxgd.result import Result
from jaxgd.status import Status
from jaxgd.tree import PyTree, is_key

MOST_NUMBERS_IN_JSON = 1000


def prepare(directory: Path) -> None:
    """Make the directory, and an OSError now rather than after a long run if it cannot be used."""
    directory.mkdir(parents=True, exist_ok=True)
    with _replacing(directory / "result.npz", discard=True) as file:
        file.write(b" ")


def write(directory: Path, result: Result, about: dict[str, Any]) -> list[Path]:
    """Write `result.npz` and `result.json`, each whole or not at all.

    Args:
      directory: it must exist.
      result: of one run.
      about: what else the JSON says, in the order given: JSON values, complex numbers, arrays,
        rules and schedules.

    Returns:
      The paths of the files.
    """
    arrays, facts = directory / "result.npz", directory / "result.json"
    with _replacing(arrays) as file:
        named: dict[str, Any] = {**result_arrays(result)}
        np.savez(file, **named)
    text = json.dumps(_plain({**_facts(result), **about}), indent=2, allow_nan=False)
    with _replacing(facts) as file:
        file.write((text + "\n").encode())
    return [arrays, facts]


@contextlib.contextmanager
def _replacing(path: Path, *, discard: bool = False) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` at the end, so that no reader meets half of it."""
    # Not tempfile: its files are for their owner's eyes only, and would stay so under the new name.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        if not discard:
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def result_arrays(result: Result) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `result.npz`.

    Each leaf of params is named by its path, such as `params` or `params['w']`; the history's rows
    are `history_step`, `history_loss`, `history_grad_norm` and `history_learning_rate`; the
    scalars are `loss`, `grad_norm`, `steps`, `status` and `at_step`.

    Example:
      >>> import jaxgd as gd
      >>> result = gd.minimize(lambda p: p["x"] ** 2, {"x": 1.0}, gd.Adam(0.1), max_steps=5)
      >>> result_arrays(result)["params['x']"].shape
      ()
    """
    arrays = named_params(result.params)
    for name in ("loss", "grad_norm", "steps", "status", "at_step"):
        arrays[name] = _portable(getattr(result, name))
    if result.history is not None:
        for name in ("step", "loss", "grad_norm", "learning_rate"):
            rows = getattr(result.history, name)
            if rows is not None:
                arrays[f"history_{name}"] = _portable(rows)
    return arrays


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
    if array.dtype.isbuiltin == 1:
        return array
    return array.astype(np.float32 if jnp.issubdtype(array.dtype, np.floating) else np.int32)


def _facts(result: Result) -> dict[str, Any]:
    status = Status(int(result.status))
    params = named_params(result.params)
    small = sum(array.size for array in params.values()) <= MOST_NUMBERS_IN_JSON
    return {
        "status": status.name,
        "status_code": int(status),
        "message": status.message,
        "loss": float(result.loss),
        "grad_norm": float(result.grad_norm),
        "steps": int(result.steps),
        "at_step": int(result.at_step),
        "evaluations": int(result.evaluations),
        "compile_seconds": result.compile_seconds,
        "run_seconds": result.run_seconds,
        "params": (params.get("params", params) if small else None),
    }


def versions() -> dict[str, str]:
    """What ran."""
    from jaxgd import __version__

    return {
        "jaxgd": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


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
