"""A directory that one process uses at a time."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Of somebody else's making it could lead to any file."""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[str | None]:
    """Have a directory for oneself; the system lets go of it when the process ends, however.

    Yields:
      None, or why nothing can be written there.

    Raises:
      ValueError: somebody has it.
    """
    try:
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | _NOT_A_LINK, 0o666)
    except OSError as error:
        yield error.strerror
        return
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            yield f"{directory / 'lock'} is no file"
            return
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 20).decode(errors="replace").strip()
            by = f"process {owner}" if owner.isdigit() else "another process"
            raise ValueError(
                f"checkpoint: {directory} is in use by {by}: give another directory, or wait until "
                "it has ended"
            ) from None
        except OSError:
            pass  # a file system without locks
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield None
    finally:
        os.close(handle)
