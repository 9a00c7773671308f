"""Files that are read again while the server runs: when they change, and all of them on SIGHUP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

log = structlog.get_logger()


class _Stamp(NamedTuple):
    """What changes with a file: a new file in its place, new contents, or new rights to read it."""

    inode: int
    size: int
    modified: int
    changed: int


class Watched:
    """Files that belong together, and what reads them.

    Make it before the files are read for the first time, so that no later change is missed. ``read`` runs in a thread.
    If the files are invalid, ``read`` raises an error that says so to the log, and keeps what it has read before.
    """

    def __init__(self, name: str, files: Sequence[Path], read: Callable[[], None]) -> None:
        self.name = name
        self._files = files
        self._read = read
        self._seen = self._used = self._stamps()

    def has_changed(self) -> bool:
        """Look at the files; return whether they differ from those that were read, and are the same as a look ago.

        A file that someone is still writing is thus left alone until it is complete.
        """
        before, self._seen = self._seen, self._stamps()
        return self._seen == before and self._seen != self._used

    def read(self) -> str:
        """Read the files; return what is wrong with them, or an empty string."""
        self._used = self._stamps()
        try:
            self._read()
        except Exception as error:  # Whatever happens, the server goes on with what it has.
            return str(error) or type(error).__name__
        return ""

    def _stamps(self) -> list[_Stamp | None]:
        return [_stamp(file) for file in self._files]


class WatchedFiles:
    """Reads files again and logs it: one line for all that are read at the same time."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = list(watched)
        self._reading = asyncio.Lock()

    def add(self, watched: Watched) -> None:
        """Watch more files."""
        self._watched.append(watched)

    async def look(self) -> None:
        """Read the files that have changed since they were read, outside of the event loop."""
        await self._read(lambda: [one for one in self._watched if one.has_changed()])

    async def read_all(self) -> None:
        """Read all files, outside of the event loop."""
        await self._read(lambda: self._watched)

    async def _read(self, choose: Callable[[], Sequence[Watched]]) -> None:
        async with self._reading:
            problems = await asyncio.to_thread(lambda: {one.name: one.read() for one in choose()})
        if not problems:
            return
        read = ", ".join(name for name, problem in problems.items() if not problem)
        failed = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
        if failed:
            log.warning("files_read_again", read=read, failed=failed)
        else:
            log.info("files_read_again", read=read)


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:  # The file is missing, at least for now.
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
