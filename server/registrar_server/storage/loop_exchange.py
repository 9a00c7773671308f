"""A PostgreSQL connection whose socket the event loop watches, so that no thread waits for its results."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from psycopg import Connection, OperationalError, pq

from registrar_server.storage.bulk.postgresql import Exchange

EXCHANGE_TIMEOUT_S = 20.0
"""How long one exchange may take. Locks time out earlier, so a longer one has lost its database."""
RECHECK_S = 0.01
"""How often to look for input that a layer of encryption has kept."""


class LoopConnection:
    """Carries out the exchanges of a connection, one at a time. It belongs to the event loop that is running.

    Only ``abort`` and ``detach`` end the watching, so call one of them before the connection is closed.
    """

    def __init__(self, connection: Connection[Any], timeout: float = EXCHANGE_TIMEOUT_S) -> None:
        self._pgconn = connection.pgconn
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        # libpq closes its socket when it finds the connection lost, and other code may get the same number for a new
        # socket at once. The event loop would then watch that one. So it watches a duplicate, which only ``detach``
        # closes.
        self._socket = socket.socket(fileno=socket.dup(self._pgconn.socket))
        self._buffers_input = _buffers_input(self._pgconn)
        self._exchange: Exchange | None = None
        self._ended: asyncio.Future[None] | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._recheck: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket.fileno(), self._receive)

    @property
    def is_open(self) -> bool:
        """Whether the connection can carry out exchanges, as far as this side knows."""
        return self._socket.fileno() >= 0

    def check(self) -> None:
        """Raise an error if the connection cannot carry out exchanges, as far as this side knows."""
        if not self.is_open:
            raise OperationalError("the connection to the database is lost")

    async def run(self, exchange: Exchange) -> None:
        """Send the statements of an exchange and receive all results.

        If anything fails, or this task is cancelled, the connection is aborted.
        """
        self.check()
        ended = self._begin(exchange)
        try:
            if not exchange.send():
                self._loop.add_writer(self._socket.fileno(), self._send)
            await ended
        except BaseException:
            self.abort()
            raise

    def _begin(self, exchange: Exchange) -> asyncio.Future[None]:
        self._exchange = exchange
        self._ended = ended = self._loop.create_future()
        self._due = self._loop.time() + self._timeout
        if self._timer is None:  # One timer watches over all exchanges that begin before it rings.
            self._timer = self._loop.call_later(self._timeout, self._check_time)
        return ended

    def _receive(self) -> None:
        try:
            if self._exchange is None:
                self._receive_unasked()
            elif self._exchange.receive() or (self._buffers_input and self._exchange.receive()):
                self._end()
            elif self._buffers_input and self._recheck is None:
                self._recheck = self._loop.call_later(RECHECK_S, self._receive_buffered)
        except Exception as error:
            self._end(error)
            self.abort()

    def _receive_unasked(self) -> None:
        """Read what the database sends without a request: a notice, or that it ends the connection."""
        self._pgconn.consume_input()
        self._pgconn.is_busy()  # Otherwise the input would stay in the buffer.

    def _receive_buffered(self) -> None:
        self._recheck = None
        if self._exchange is not None:
            self._receive()

    def _send(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket.fileno())
        except Exception as error:
            self._end(error)
            self.abort()

    def _end(self, error: Exception | None = None) -> None:
        self._exchange = None
        if self._ended is None or self._ended.done():  # The task that waited may be cancelled.
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _check_time(self) -> None:
        self._timer = None
        if self._exchange is None:
            return
        left = self._due - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_time)
            return
        self._end(OperationalError(f"no answer from the database within {self._timeout:g} s"))
        self.abort()

    def abort(self) -> None:
        """Shut the socket down without a message to the database, which may not answer. A thread may close the rest."""
        if self.is_open:
            # Other descriptors of the socket end with it, so closing them does not wait for the database either.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self.detach()

    def detach(self) -> None:
        """Stop watching the connection, which stays open."""
        if not self.is_open:
            return
        for timer in (self._timer, self._recheck):
            if timer is not None:
                timer.cancel()
        self._exchange = None
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()


def _buffers_input(pgconn: pq.abc.PGconn) -> bool:
    """Return whether a layer of encryption may keep a part of the input that it has read from the socket.

    libpq reads at least 8 KB at a time, and a record of TLS has up to 16 KB. So a second read takes the rest of a
    record, but may begin another one that has just arrived. libpq does not tell whether anything is left, and the
    socket does not either. The packets of GSSAPI are of the same size.
    """
    return pgconn.ssl_in_use or (pq.version() >= 160_000 and bool(pgconn.used_gssapi))
