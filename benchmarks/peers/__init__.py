"""Other libraries at the same work, each as its own documentation advises.

None is needed: one that is not installed is left out, and the results say so.
"""

import importlib
import importlib.metadata
from typing import Any

from benchmarks.case import SkippedError

NAMES = ("optax", "jaxopt", "optimistix", "torch", "scipy")


def needed(name: str) -> Any:
    """The module of a peer, or a SkippedError that says that it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as why:
        raise SkippedError(f"{name}: skipped, cannot be imported ({why})") from None


def versions() -> dict[str, str]:
    """By the name of the peer."""
    found = {}
    for name in NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
