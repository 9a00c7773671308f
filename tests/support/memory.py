"""The memory file system, where the data of tests costs no disk writes."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path("/dev/shm")
_ROOM = 2**30 * (os.cpu_count() or 1)
"""One GiB for each of the test processes that run at once."""


def folder() -> Path | None:
    """Return the folder of the memory file system, or None if it is missing, full or closed to programs."""
    if not os.access(_FOLDER, os.W_OK | os.X_OK):
        return None
    system = os.statvfs(_FOLDER)
    # PostgreSQL may have to run from a copy in this folder.
    closed = system.f_flag & os.ST_NOEXEC
    return None if closed or system.f_bavail * system.f_frsize < _ROOM else _FOLDER
