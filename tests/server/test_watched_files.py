"""Watched files: what counts as a change, and that each change is read and logged once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registrar_server.watched_files import Watched, WatchedFiles
from tests.support.servers import Log


class Notes:
    """A file that must contain ``ok``, and how often it was read."""

    def __init__(self, folder: Path, name: str = "notes") -> None:
        self.file = folder / name
        self.file.write_text("ok")
        self.reads = 0
        self.threads: set[threading.Thread] = set()
        self.watched = Watched(name, [self.file], self.read)

    def read(self) -> None:
        self.reads += 1
        self.threads.add(threading.current_thread())
        if (found := self.file.read_text()) != "ok":
            raise ValueError(f"{self.file.name} has {found}")


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


async def test_unchanged_files_are_not_read(notes: Notes, log: Log) -> None:
    files = WatchedFiles([notes.watched])
    for _ in range(3):
        await files.look()
    assert (notes.reads, log.lines) == (0, [])


def swap(file: Path) -> None:
    """Put another file in the place of a file, with the same contents and times."""
    found = file.stat()
    other = file.with_suffix(".new")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written again": lambda file: file.write_text("ok"),
    "another file in its place": swap,
    "other rights": lambda file: file.chmod(0o640),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_read_once_as_soon_as_two_looks_find_the_same(notes: Notes, change: str, log: Log) -> None:
    """The event loop does not read."""
    files = WatchedFiles([notes.watched])
    CHANGES[change](notes.file)
    reads = []
    for _ in range(4):
        await files.look()
        reads.append(notes.reads)
    assert reads == [0, 1, 1, 1]
    assert threading.current_thread() not in notes.threads
    assert log.of("files_read_again") == [{"event": "files_read_again", "read": "notes", "level": "info"}]


async def test_a_file_that_someone_is_writing_is_left_alone(notes: Notes) -> None:
    files = WatchedFiles([notes.watched])
    for part in ("o", "ok.", "ok"):
        notes.file.write_text(part)
        await files.look()
        assert notes.reads == 0
    await files.look()
    assert notes.reads == 1


async def test_a_broken_file_is_reported_once_until_it_changes(notes: Notes, log: Log) -> None:
    files = WatchedFiles([notes.watched])
    for text in ("junk", "more junk", "ok"):
        notes.file.write_text(text)
        for _ in range(4):
            await files.look()
    assert [(line["level"], line["read"], line.get("failed")) for line in log.of("files_read_again")] == [
        ("warning", "", "notes: notes has junk"),
        ("warning", "", "notes: notes has more junk"),
        ("info", "notes", None),
    ]


async def test_a_file_that_disappears_and_comes_back_is_read(notes: Notes, log: Log) -> None:
    files = WatchedFiles([notes.watched])
    notes.file.unlink()
    for _ in range(4):
        await files.look()
    notes.file.write_text("ok")
    for _ in range(4):
        await files.look()
    assert [line["level"] for line in log.of("files_read_again")] == ["warning", "info"]


async def test_a_change_between_the_first_reading_and_the_first_look_is_not_missed(notes: Notes) -> None:
    """What watches a file is made before the file is read."""
    notes.file.write_text("ok, changed")
    files = WatchedFiles([notes.watched])
    await files.look()
    await files.look()
    assert notes.reads == 1


async def test_all_files_are_read_on_demand_with_one_line(tmp_path: Path, log: Log) -> None:
    """The line says which could be read. What has been read is no change afterwards."""
    first, second, third = (Notes(tmp_path, name) for name in ("first", "second", "third"))
    files = WatchedFiles([first.watched, second.watched])
    files.add(third.watched)
    second.file.write_text("junk")
    await files.read_all()
    for _ in range(3):
        await files.look()
    assert (first.reads, second.reads, third.reads) == (1, 1, 1)
    line = {"event": "files_read_again", "read": "first, third", "failed": "second: second has junk"}
    assert log.lines == [line | {"level": "warning"}]
