"""Files of arrays with what they say, found damaged if a single bit is another; no pickles."""

import contextlib
import hashlib
import io
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.tree import is_key

FORMAT = 1
"""Of the files; a later one reads those before it."""
SAYS = {"kinds", "kind", "step", "fingerprint"}
"""What each says at least."""
DIGITS = 16
"""Of a file's SHA-256 that are in its name."""

Contents = tuple[dict[str, Any], dict[str, Any]]
"""What a file says, in JSON's types, and its arrays by name."""


def fill(file: IO[bytes], says: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write an archive: what it says as JSON, and the arrays by number, since names may be any."""
    kinds, stored = {}, {}
    for i, (name, leaf) in enumerate(arrays.items()):
        if is_key(leaf):
            kinds[name] = f"key:{jax.random.key_impl(leaf)}"
            stored[f"a{i}"] = np.asarray(jax.random.key_data(leaf))
            continue
        array = np.asarray(leaf)
        kinds[name] = array.dtype.name
        # NumPy writes the numbers of other libraries, such as bfloat16, as bytes without a name.
        foreign = array.dtype.isbuiltin == 2
        stored[f"a{i}"] = array.view(f"u{array.dtype.itemsize}") if foreign else array
    said = json.dumps({"format": FORMAT, **says, "kinds": kinds}, allow_nan=True).encode()
    np.savez(file, says=np.frombuffer(said, np.uint8), **stored)  # type: ignore[arg-type]


def put(
    directory: Path, name: str, make: Callable[[], Contents], given_up: threading.Event
) -> None:
    """Write an archive, whole or not at all; its digits and .npz are added to its name.

    Args:
      directory: where.
      name: of the file; while it is not whole a dot precedes it.
      make: what is in it.
      given_up: once it is set, nothing more is written.

    Raises:
      OSError: it cannot be written, or was given up.
    """
    unfinished = directory / f".{name}"
    try:
        with io.BufferedRandom(_Abandonable(unfinished, given_up)) as file:
            fill(file, *make())
            file.flush()
            os.fsync(file.fileno())
            digest = digest_of(file)
        unfinished.replace(directory / f"{name}-{digest}.npz")
    finally:
        unfinished.unlink(missing_ok=True)
    sync(directory)


def read(path: Path) -> Contents:
    """What is in a file, whose name has its digits; what it raises otherwise is in `DAMAGES`."""
    with path.open("rb") as file:
        if digest_of(file) not in path.name:
            raise ValueError("its bytes are not those that were written")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            says = json.loads(archive["says"].tobytes())
            if says["format"] > FORMAT:
                raise ValueError(f"it is of format {says['format']}, which is newer than jaxgd")
            if not (says.keys() >= SAYS and {"kind", "versions"} <= says["fingerprint"].keys()):
                raise ValueError("it does not say of what run it is")
            stored = [archive[f"a{i}"] for i in range(len(says["kinds"]))]
    named = zip(says.pop("kinds").items(), stored, strict=True)
    return says, {name: _restored(array, kind) for (name, kind), array in named}


def _restored(array: np.ndarray[Any, Any], kind: str) -> Any:
    if kind.startswith("key:"):
        return jax.random.wrap_key_data(array, impl=kind.removeprefix("key:"))  # type: ignore[arg-type]
    dtype: Any = jnp.dtype(kind)
    return array if array.dtype == dtype else array.view(dtype)


def digest_of(file: IO[bytes]) -> str:
    """The first digits of a file's SHA-256."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]  # type: ignore[arg-type]


DAMAGES = (
    ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError, EOFError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a file raises whose bytes are not ours."""


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read, in a line."""
    return str(error).partition("\n")[0] or type(error).__name__


class _Abandonable(io.FileIO):
    """A new file that takes no more once it has been given up."""

    def __init__(self, path: Path, given_up: threading.Event) -> None:
        super().__init__(path, "x+")
        self._given_up = given_up

    def write(self, data: Any) -> int:
        """Write some bytes."""
        if self._given_up.is_set():
            raise InterruptedError
        return super().write(data)


def sync(directory: Path) -> None:
    """Have the directory's entries on the disk, where a system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
