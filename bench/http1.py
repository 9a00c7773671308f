"""The least client of an HTTP/1.1 server: a connection that is kept, one request at a time, bytes in and out."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

OK = 200
READ_BYTES = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_END_OF_HEADERS = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Answer(NamedTuple):
    """The answer to a request."""

    stream: int
    """Always 0, since there is one request at a time."""
    status: int
    message: bytes

    @property
    def failure(self) -> str:
        """The status and the text of an error, or an empty string."""
        return "" if self.status == OK else f"{self.status}: {self.message.decode(errors='replace').strip()}"


class Connection:
    """A connection to a server. ``begin`` prepares a request, ``send`` sends it, ``receive`` waits for its answer."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out = b""
        self._received = b""

    def fileno(self) -> int:
        """Return the descriptor of the socket, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def begin(self, _method: str, request: bytes) -> int:
        """Prepare a whole request, with its headers."""
        self._out = request
        return 0

    def send(self) -> None:
        """Send the request, if there is one."""
        if self._out:
            self._socket.sendall(self._out)
            self._out = b""

    def receive(self) -> list[Answer]:
        """Wait until the server sends something, and return the answer if it is complete."""
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise ConnectionError("The server closed the connection.")
        self._received += received
        head, end, rest = self._received.partition(_END_OF_HEADERS)
        body = _body(head, rest) if end else None
        if body is None:
            return []
        self._received = b""
        return [Answer(0, int(head[9:12]), body)]


def _body(head: bytes, rest: bytes) -> bytes | None:
    """Return the body of an answer, or None if a part of it is missing."""
    if length := _LENGTH.search(head):
        return rest if len(rest) >= int(length[1]) else None
    if not _CHUNKED.search(head):
        raise ConnectionError("The server sends a body in a form that this client cannot read.")
    return b"".join(_chunks(rest)) if rest.endswith(_LAST_CHUNK) else None


def _chunks(rest: bytes) -> list[bytes]:
    chunks: list[bytes] = []
    while rest != _LAST_CHUNK:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        rest = rest[length + 2 :]
    return chunks
