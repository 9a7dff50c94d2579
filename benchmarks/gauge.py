"""What a process holds: memory, arrays, programs, threads, open files."""

import contextlib
import ctypes
import gc
import os
import pathlib
import resource
import sys
import threading
from typing import Any

import jax

from benchmarks.jobs import BROUGHT
from jaxgd import programs

SELF = pathlib.Path("/proc/self")
MIB = 2**20


def held() -> dict[str, Any]:
    """All that can be read here, after what nobody refers to is gone; None for the rest."""
    gc.collect()
    return {
        "memory": resident_mib(),
        "arrays": len(jax.live_arrays()),
        "programs": sum(len(shelf.programs) for _, shelf in programs._shelves.values()),
        "losses": len(programs._shelves),
        "brought": len(BROUGHT),
        "executables": _executables(),
        "jax_caches": _jax_caches(),
        "objects": len(gc.get_objects()),
        "threads": threading.active_count(),
        "native_threads": _entries(SELF / "task"),
        "descriptors": _entries(SELF / "fd"),
    }


def resident_mib() -> float:
    """Of this process; its peak where there is no /proc."""
    if (SELF / "statm").exists():
        pages = int((SELF / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def give_back() -> None:
    """What the allocator has free, to the system, where it is that of glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _executables() -> int | None:
    """All that XLA has compiled and still holds, whoever asked for it."""
    client = jax.devices()[0].client
    return len(client.live_executables()) if hasattr(client, "live_executables") else None


def _jax_caches() -> int | None:
    """Entries of JAX's own caches, each of which is bounded by some thousands."""
    try:
        from jax._src.util import _caches

        infos = [cache.cache_info() for cache in list(_caches) if hasattr(cache, "cache_info")]
        return sum(info.currsize for info in infos)
    except (ImportError, AttributeError):  # not public: another release may have others
        return None


def _entries(directory: pathlib.Path) -> int | None:
    return len(os.listdir(directory)) if directory.exists() else None
