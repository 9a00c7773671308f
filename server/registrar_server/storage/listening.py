"""Learns of the commits of other servers from PostgreSQL, over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from sqlalchemy.engine import URL

from registrar_server.storage.engines import postgresql_arguments
from registrar_server.storage.statements import APPEND_EVENTS

CLOSE_S = 5.0
"""How long to wait at most for a connection to close."""
RETRY_S = 2.0
"""How long to wait before the connection is made again."""

log = structlog.get_logger()


class Listener:
    """Calls ``notice`` for the commits of others while it runs, in the event loop that starts it."""

    def __init__(self, url: URL, notice: Callable[[], object]) -> None:
        self._url = url
        self._notice = notice
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to listen, unless it has begun."""
        if self._task is None:
            self._task = asyncio.create_task(listen(self._url, self._notice))

    def stop(self) -> None:
        """Stop listening. The connection may still be closing."""
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

    async def close(self) -> None:
        """Stop listening, and wait for the connection to close, which a database that does not answer may delay."""
        self.stop()
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_S)


async def listen(url: URL, notice: Callable[[], object], *, retry: float = RETRY_S) -> None:
    """Call ``notice`` whenever a commit has announced new events, until this task is cancelled.

    Announcements get lost while the connection is down. ``notice`` is called when it is back.
    """
    reported = False
    while True:
        try:
            async with await _connect(url) as connection:
                reported = False
                notice()
                async for _ in connection.notifies():
                    notice()
        except Exception as error:  # Whatever it is, another attempt may succeed, and the poll finds the events.
            if not reported:
                log.warning("listening_interrupted", error=str(error).strip())
            reported = True
        await asyncio.sleep(retry)


async def _connect(url: URL) -> psycopg.AsyncConnection[Any]:
    arguments, options = postgresql_arguments(url)
    connection = await psycopg.AsyncConnection.connect(*arguments, **options, autocommit=True)
    try:
        await connection.execute(f"LISTEN {APPEND_EVENTS.channel}")
    except BaseException:
        with suppress(psycopg.Error):
            await connection.close()
        raise
    return connection
