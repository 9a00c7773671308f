"""Drives one exchange of a PostgreSQL connection from the event loop, with ``add_reader`` and one future."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from registrar_server.storage.bulk.postgresql import Exchange

EXCHANGE_TIMEOUT_S = 20.0
"""How long one exchange may take. Locks time out earlier, so a longer one has lost its database."""


async def converse(connection: Connection[Any], exchange: Exchange) -> list[PGresult]:
    """Send the statements of an exchange and return all results.

    If anything fails, the connection is closed, since a late result would be taken for the result of a later one.
    """
    waiting = _Waiting(connection.pgconn.socket, exchange.fetch())
    try:
        exchange.send()
        return await waiting.results()
    except BaseException:
        _hang_up(connection)
        raise


class _Waiting:
    """Waits for the socket of a connection on behalf of a generator of psycopg."""

    def __init__(self, fd: int, fetch: PQGen[list[PGresult]]) -> None:
        self._fd = fd
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[list[PGresult]] = self._loop.create_future()
        self._writes = False

    async def results(self) -> list[PGresult]:
        limit = self._loop.call_later(EXCHANGE_TIMEOUT_S, self._give_up)
        self._loop.add_reader(self._fd, self._advance, Ready.R)
        try:
            self._advance()
            return await self._ended
        finally:
            limit.cancel()
            self._loop.remove_reader(self._fd)
            if self._writes:
                self._loop.remove_writer(self._fd)

    def _advance(self, ready: Ready | None = None) -> None:
        if self._ended.done():
            return
        try:
            self._follow(next(self._fetch) if ready is None else self._fetch.send(ready))
        except StopIteration as done:
            self._ended.set_result(done.value)
        except BaseException as error:
            self._ended.set_exception(error)

    def _follow(self, wait: Wait) -> None:
        writes = bool(wait & Wait.W)
        if writes and not self._writes:
            self._loop.add_writer(self._fd, self._advance, Ready.W)
        elif self._writes and not writes:
            self._loop.remove_writer(self._fd)
        self._writes = writes

    def _give_up(self) -> None:
        if not self._ended.done():
            self._ended.set_exception(OperationalError(f"no answer within {EXCHANGE_TIMEOUT_S:g} s"))


def _hang_up(connection: Connection[Any]) -> None:
    """End the connection without talking to the database, which may not answer."""
    if connection.pgconn.socket >= 0:
        with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as other:
            other.shutdown(socket.SHUT_RDWR)
