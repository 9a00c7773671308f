"""A proxy to PostgreSQL that can cut its connections at a chosen moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self

from sqlalchemy.engine import make_url


class Wire:
    """Forwards connections from a free port on 127.0.0.1 to a database within a ``with`` block."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._cut_at = b""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        # Closing the socket does not wake the thread that waits for a connection.
        _end(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    @property
    def url(self) -> str:
        """The URL of the database through this wire."""
        port: int = self._listener.getsockname()[1]
        return self._target.set(port=port).render_as_string(hide_password=False)

    def cut(self) -> None:
        """Cut every connection."""
        for end in list(self._ends):
            _end(end)

    def cut_at_answer(self, answer: bytes) -> None:
        """Cut every connection when the database next sends this answer, so that only the answer is lost."""
        self._cut_at = answer

    def _accept(self) -> None:
        while client := _accepted(self._listener):
            server = socket.create_connection((str(self._target.host), self._target.port or 5432))
            self._ends += [client, server]
            self._start(partial(self._carry, client, server))
            self._start(partial(self._carry, server, client, answers=True))

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket, *, answers: bool = False) -> None:
        while data := _received(source):
            if answers and self._cut_at and self._cut_at in data:
                self._cut_at = b""
                self.cut()
                return
            with suppress(OSError):
                sink.sendall(data)
        _end(sink)


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except OSError:
        return None


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
