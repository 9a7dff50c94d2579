"""Compiled programs on disk, so that the next process need not compile them again."""

import hashlib
import os
import pathlib
import platform
import sys

import jax

from jaxgd.refusal import described


def cache_programs(directory: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Keep compiled programs on disk, for this process and those after it.

    It switches on JAX's persistent compilation cache, for all that JAX compiles from now on,
    however short that takes. Call it before the first run. A program is found again if the loss,
    the shapes, the versions and the kind of device are the same.

    Args:
      directory: where to keep them; by default a folder of jaxgd in the user's cache folder. Nobody
        else may write there: what is found in it is run. To empty it, delete it.

    Returns:
      The directory, which is made when it is first written to.

    Raises:
      TypeError, ValueError: directory is not a path.
      NotADirectoryError: it is a file.

    Reference: https://docs.jax.dev/en/latest/persistent_compilation_cache.html

    Example:
      >>> import jaxgd as gd
      >>> path = gd.cache_programs()  # doctest: +SKIP
    """
    if not isinstance(directory, str | os.PathLike | None):
        raise TypeError(f"directory must be a path or None, got {described(directory)}")
    if directory is not None and not os.fspath(directory):
        raise ValueError("directory must be a path or None, got ''")
    path = _user_folder() / _processor() if directory is None else pathlib.Path(directory)
    path = path.expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"directory must be a path of one, and {path} is a file")
    for option, value in {
        "jax_compilation_cache_dir": str(path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(option, value)  # type: ignore[no-untyped-call]
    return path


def _user_folder() -> pathlib.Path:
    """Where this system keeps what can be made again."""
    home = pathlib.Path.home()
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "jaxgd/cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/jaxgd"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "jaxgd"


def _processor() -> str:
    """A name for the kind of processor: programs for one may not run on another.

    A home folder may be shared by machines of several kinds, which JAX does not tell apart.
    """
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    kind = "\n".join([platform.machine(), platform.processor(), *sorted(told)])
    return hashlib.sha256(kind.encode()).hexdigest()[:16]
