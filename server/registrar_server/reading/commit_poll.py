"""Looks for the commits of other processes where the database does not announce them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from registrar_server.storage import statements
from registrar_server.storage.database import Database


class CommitPoll:
    """Asks for the revision of the newest event every ``interval`` seconds while it runs, in a thread of its own.

    It calls ``notice`` in this thread when the revision has changed, and when the database does not answer: the reader
    then learns why.
    """

    def __init__(self, database: Database, interval: float, notice: Callable[[], object]) -> None:
        self._database = database
        self._interval = interval
        self._notice = notice
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._ended.set()

    def start(self) -> None:
        """Begin to ask, unless it has begun."""
        if self._ended.is_set():
            self._ended = threading.Event()
            arguments = (self._ended, self._thread)
            self._thread = threading.Thread(target=self._ask, args=arguments, name="commit-poll", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop asking. The thread may still wait for an answer."""
        self._ended.set()

    async def close(self) -> None:
        """Stop asking, and wait for the thread."""
        self.stop()
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    def _ask(self, ended: threading.Event, before: threading.Thread | None) -> None:
        if before:
            before.join()  # It may still wait for an answer. So whoever waits for the last thread waits for all.
        known = -1
        while not ended.wait(self._interval):
            try:
                revision = self._revision()
            except Exception:
                revision = -1
            if revision != known or revision < 0:
                known = revision
                self._notice()

    def _revision(self) -> int:
        with self._database.read_connection() as transaction:
            return transaction.read(statements.LATEST)[statements.REVISION][0]
