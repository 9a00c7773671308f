"""A wire to PostgreSQL that can be cut at the worst moment."""

from __future__ import annotations

import socket
import threading
from typing import Self

from sqlalchemy.engine import make_url


class Wire:
    """Carries connections from 127.0.0.1 and a free port to a database, inside a ``with`` block."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._cut_at = b""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        # Closing alone would not wake the thread that is waiting for a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    @property
    def url(self) -> str:
        """The URL of the database through this wire."""
        port: int = self._listener.getsockname()[1]
        return self._target.set(port=port).render_as_string(hide_password=False)

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            for end in self._open:
                end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def cut_at_answer(self, answer: bytes) -> None:
        """Cut every connection the next time that the database answers this: the answer is lost, and nothing else."""
        self._cut_at = answer

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((str(self._target.host), self._target.port or 5432))
            with self._lock:
                self._open += [client, server]
            self._start(self._carry, client, server, False)
            self._start(self._carry, server, client, True)

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        while data := _received(source):
            if answers and self._cut_at and self._cut_at in data:
                self._cut_at = b""
                self.cut()
                break
            sink.sendall(data)
        source.close()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""
