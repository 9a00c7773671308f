"""The least client of a gRPC server: one connection, bytes in and out, no threads and no event loop.

``grpc.aio`` takes 150 to 200 µs of processor time per call, as gRPC's threads do, whatever the number of channels. On a
machine with two cores, the server and the database lack this time. This client takes about 50 µs, most of them in the
kernel, and the server's own time is the same.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import NamedTuple

import grpc

from bench.hpack import RequestHeaders, ResponseHeaders, Status

STATUSES = {code.value[0]: code.name for code in grpc.StatusCode}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
ENABLE_PUSH, INITIAL_WINDOW = 0x2, 0x4
FIRST_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
CANCELLED = 1
FRAME = struct.Struct(">BHBBI")
"""Length in two parts, type, flags, stream."""
MESSAGE = struct.Struct(">BI")
"""Whether a message is compressed, and its length."""
READ_BYTES = 1 << 18


class Answer(NamedTuple):
    """The end of a call."""

    stream: int
    status: Status
    message: bytes

    @property
    def failure(self) -> str:
        """The status and the message of an error, or an empty string."""
        return f"{STATUSES[self.status.code]}: {self.status.message}" if self.status.code else ""


class Connection:
    """A connection to a server. ``begin`` prepares calls, ``send`` sends them, ``receive`` waits for answers."""

    def __init__(self, address: str, authorization: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request_headers = RequestHeaders(address, authorization)
        self._response_headers = ResponseHeaders()
        self._next_stream = 1
        self._messages: dict[int, bytes] = {}
        self._rest = b""
        self._out = [PREFACE, _settings({ENABLE_PUSH: 0, INITIAL_WINDOW: LARGEST_WINDOW})]
        self._held: deque[bytes] = deque()
        """Frames of data that wait until the server takes them."""
        self._may_send = FIRST_WINDOW
        self._may_receive = FIRST_WINDOW
        self._widen()

    def fileno(self) -> int:
        """Return the descriptor of the socket, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def begin(self, path: str, message: bytes) -> int:
        """Prepare a call and return its stream."""
        stream = self._next_stream
        self._next_stream += 2
        headers = self._request_headers.encode(path)
        self._messages[stream] = b""
        self._out.append(FRAME.pack(0, len(headers), HEADERS, END_HEADERS, stream) + headers)
        length = MESSAGE.size + len(message)
        self._held.append(FRAME.pack(0, length, DATA, END_STREAM, stream) + MESSAGE.pack(0, len(message)) + message)
        self._release()
        return stream

    def _release(self) -> None:
        """Prepare the data that the server takes by now."""
        while self._held and (size := len(self._held[0]) - FRAME.size) <= self._may_send:
            self._may_send -= size
            self._out.append(self._held.popleft())

    def send(self) -> None:
        """Send all that is prepared."""
        if self._out:
            self._socket.sendall(b"".join(self._out))
            self._out.clear()

    def receive(self) -> list[Answer]:
        """Wait until the server sends something, and return the answers that are complete."""
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise ConnectionError("The server closed the connection.")
        data = self._rest + received if self._rest else received
        answers: list[Answer] = []
        at, end = 0, len(data)
        while end - at >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(data, at)
            begin = at + FRAME.size
            after = begin + (high << 16 | low)
            if after > end:
                break
            payload = data[begin:after]
            if kind == DATA:
                self._take(stream, payload, flags)
            elif kind == HEADERS:
                self._end(stream, payload, flags, answers)
            else:
                self._control(kind, stream, payload, flags, answers)
            at = after
        self._rest = data[at:]
        return answers

    def _take(self, stream: int, payload: bytes, flags: int) -> None:
        if flags & PADDED:
            raise ConnectionError("The server pads its messages, which this client cannot read.")
        # Streams that were reset are forgotten.
        if stream in self._messages:
            self._keep(stream, payload)
        self._may_receive -= len(payload)
        if self._may_receive < LARGEST_WINDOW // 2:
            self._widen()

    def _keep(self, stream: int, payload: bytes) -> None:
        self._messages[stream] += payload

    def _widen(self) -> None:
        """Let the server send as much as it likes."""
        more = LARGEST_WINDOW - self._may_receive
        self._out.append(FRAME.pack(0, 4, WINDOW_UPDATE, 0, 0) + more.to_bytes(4))
        self._may_receive = LARGEST_WINDOW

    def _end(self, stream: int, payload: bytes, flags: int, answers: list[Answer]) -> None:
        if flags & (PADDED | PRIORITY) or not flags & END_HEADERS:
            raise ConnectionError("The server sends headers in a form that this client cannot read.")
        status = self._response_headers.status(payload)
        if flags & END_STREAM and stream in self._messages:
            answers.append(Answer(stream, status, self._messages.pop(stream)[MESSAGE.size :]))

    def _control(self, kind: int, stream: int, payload: bytes, flags: int, answers: list[Answer]) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._out.append(FRAME.pack(0, 0, SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._out.append(FRAME.pack(0, len(payload), PING, ACK, 0) + payload)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._may_send += int.from_bytes(payload)
            self._release()
        elif kind == RST_STREAM and stream in self._messages:
            del self._messages[stream]
            answers.append(Answer(stream, Status(CANCELLED, f"reset with error {int.from_bytes(payload)}"), b""))
        elif kind == GOAWAY and int.from_bytes(payload[4:8]):
            raise ConnectionError(f"The server ends the connection: {payload[8:].decode(errors='replace')}")


def _settings(values: dict[int, int]) -> bytes:
    payload = b"".join(struct.pack(">HI", name, value) for name, value in values.items())
    return FRAME.pack(0, len(payload), SETTINGS, 0, 0) + payload
