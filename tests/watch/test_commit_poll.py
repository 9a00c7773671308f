"""The thread that looks for commits of other processes on SQLite."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from registrar_server.reading.commit_poll import CommitPoll
from registrar_server.storage.database import Database, Transaction


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """A database with its tables."""
    database = Database(sqlite_url)
    yield database
    database.close()


def test_no_thread_outlives_the_poll(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers leave and come while the database does not answer: then two threads wait for it."""
    asked, answers, noticed = threading.Event(), threading.Event(), threading.Event()
    read = database.read_connection

    @contextmanager
    def blocked(*_: Any) -> Iterator[Transaction]:
        asked.set()
        assert answers.wait(10)
        with read() as transaction:
            yield transaction

    monkeypatch.setattr(database, "read_connection", blocked)
    poll = CommitPoll(database, 0.001, noticed.set)
    poll.start()
    assert asked.wait(10)
    first = poll._thread
    assert first is not None
    poll.stop()
    poll.start()
    poll.stop()
    closing = threading.Thread(target=lambda: asyncio.run(poll.close()))
    closing.start()
    closing.join(0.2)
    assert closing.is_alive(), "the first thread still waits for an answer"
    answers.set()
    closing.join(10)
    assert not first.is_alive()
