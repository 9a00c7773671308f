"""Header compression of HTTP/2, as far as a caller of gRPC's own server needs it.

Requests refer to headers that the connection has sent before, as every gRPC client does, so that the server reads them
at its usual cost. Of responses only the status and its message are read.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

TABLE_BYTES = 4096
"""The size of a table of sent headers, unless the receiver asks for another one."""
ENTRY_BYTES = 32
"""What an entry counts beside its name and its value."""
STATIC_ENTRIES = 61
MOST_ENTRIES = 65
"""With more sent headers, the number of an entry would not fit into one byte."""
POST_OVER_HTTP = b"\x83\x86"
"""The entries ``:method: POST`` and ``:scheme: http`` of the static table."""

Header = tuple[bytes, bytes]


class RequestHeaders:
    """Encodes the headers of the requests of one connection."""

    def __init__(self, authority: str, authorization: str = "") -> None:
        self._common: list[Header] = [
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"registrar-bench"),
        ]
        if authorization:
            self._common.append((b"authorization", authorization.encode()))
        self._sent: list[Header] = []
        self._size = 0
        self._known: dict[str, bytes] = {}

    def encode(self, path: str) -> bytes:
        """Return the headers of the next request; those that were sent before are only referred to."""
        block = self._known.get(path)
        return self._encode_new(path) if block is None else block

    def _encode_new(self, path: str) -> bytes:
        headers = [(b":path", path.encode()), *self._common]
        block = b"".join(map(self._encode_header, headers))
        # New entries have moved all others, so that their blocks have to be made again.
        self._known.clear()
        if all(header in self._sent for header in headers):
            self._known[path] = POST_OVER_HTTP + b"".join(map(self._encode_header, headers))
        return POST_OVER_HTTP + block

    def _encode_header(self, header: Header) -> bytes:
        if header in self._sent:
            return bytes((0x80 | STATIC_ENTRIES + len(self._sent) - self._sent.index(header),))
        size = ENTRY_BYTES + sum(map(len, header))
        fits = self._size + size <= TABLE_BYTES and len(self._sent) < MOST_ENTRIES
        if fits:
            self._sent.append(header)
            self._size += size
        return (b"\x40" if fits else b"\x00") + b"".join(bytes((len(part),)) + part for part in header)


class Status(NamedTuple):
    """The end of a call: the number of its status, and the message of an error."""

    code: int
    message: str


class ResponseHeaders:
    """Decodes the headers and trailers of the responses of one connection."""

    def __init__(self) -> None:
        self._table: list[Header] = []
        self._known: dict[bytes, Status] = {}

    def status(self, block: bytes) -> Status:
        """Return the status in a block of headers; 0 if it has none."""
        known = self._known.get(block)
        if known is not None:
            return known
        before = list(self._table)
        headers = dict(self._headers(block))
        status = Status(int(headers.get(b"grpc-status", b"0")), _text(headers.get(b"grpc-message", b"")))
        if before == self._table:
            self._known[block] = status
        else:
            # The same bytes mean something else from now on.
            self._known.clear()
        return status

    def _headers(self, block: bytes) -> list[Header]:
        headers, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                headers.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                _size, at = _integer(block, at, 5)
            else:
                header, at = self._literal(block, at, 6 if first & 0x40 else 4)
                headers.append(header)
                if first & 0x40:
                    self._add(header)
        return headers

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        index, at = _integer(block, at, bits)
        name, at = (self._entry(index)[0], at) if index else _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        """Return an entry; those of the static table have no name that matters here."""
        return self._table[index - STATIC_ENTRIES - 1] if index > STATIC_ENTRIES else (b"", b"")

    def _add(self, header: Header) -> None:
        self._table.insert(0, header)
        while sum(ENTRY_BYTES + len(name) + len(value) for name, value in self._table) > TABLE_BYTES:
            self._table.pop()


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[at] & most
    if value < most:
        return value, at + 1
    shift = 0
    while True:
        at += 1
        value += (block[at] & 0x7F) << shift
        shift += 7
        if not block[at] & 0x80:
            return value, at + 1


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return a string and the place after it; a Huffman code, which gRPC uses only for binary values, stays encoded."""
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length


def _text(encoded: bytes) -> str:
    return unquote_to_bytes(encoded).decode(errors="replace")
