"""Where key sets come from: a file, or a server of the identity provider. Reading blocks, so it needs a thread."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from registrar_server.identity.key_sets import KeySetError

MAX_BYTES = 1024 * 1024
MAX_SECONDS = 5.0

REFRESH_S = 300.0
"""How often the key set of a server is read."""
LOOK_S = 5.0
"""How often a file is read, to notice changes."""


class KeySource(Protocol):
    """A place with a key set."""

    @property
    def interval(self) -> float:
        """How often to read it, in seconds."""

    def read(self) -> bytes:
        """Return the key set as it is now. Raises ``KeySetError``."""


class KeyFile(NamedTuple):
    """A file with a key set."""

    path: Path
    interval: float = LOOK_S

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        """Return the content of the file. Raises ``KeySetError``."""
        try:
            with self.path.open("rb") as file:
                return _limited(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise KeySetError(f"the file cannot be read: {error.strerror or error}") from None


class KeyServer(NamedTuple):
    """A URL of a key set. Redirects are not followed."""

    url: str
    interval: float = REFRESH_S
    max_seconds: float = MAX_SECONDS

    def __str__(self) -> str:
        """Return the URL without its query, which may contain a secret."""
        return self.url.partition("?")[0]

    def __repr__(self) -> str:
        """Return what may be shown: no query."""
        return f"KeyServer({str(self)!r})"

    def read(self) -> bytes:
        """Return the body of the answer. Raises ``KeySetError``."""
        due = time.monotonic() + self.max_seconds
        url = urlsplit(self.url)
        try:
            with closing(_connect(url, self.max_seconds)) as connection, _ending_at(due, connection) as is_late:
                try:
                    return _limited(_ask(connection, url))
                finally:
                    if is_late.is_set():
                        raise KeySetError(f"the answer took more than {self.max_seconds:g} s")
        except TimeoutError:
            raise KeySetError(f"the server did not answer within {self.max_seconds:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KeySetError(f"the server cannot be reached: {str(error) or type(error).__name__}") from None


def key_source(keys: str) -> KeySource:
    """Return the source that a setting names: a URL or a path."""
    return KeyServer(keys, REFRESH_S) if "://" in keys else KeyFile(Path(keys), LOOK_S)


def _limited(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise KeySetError(f"the key set has more than {MAX_BYTES} bytes")
    return data


def _connect(url: SplitResult, timeout: float) -> socket.socket:
    """Connect to a server; over https the handshake is still to be done, so that its time can be limited."""
    host = url.hostname or ""
    plain = socket.create_connection((host, url.port or (443 if url.scheme == "https" else 80)), timeout)
    if url.scheme != "https":
        return plain
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


@contextmanager
def _ending_at(due: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Cut a connection off at a time, after which the event is set.

    The timeout of a socket does not end an answer of which a byte comes now and then.
    """
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with suppress(OSError):  # The connection may have ended by itself.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # Without TLS's goodbye, which would wait.

    timer = threading.Timer(due - time.monotonic(), cut)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _ask(connection: socket.socket, url: SplitResult) -> bytes:
    """Send one request and return the body of the answer."""
    if isinstance(connection, ssl.SSLSocket):
        connection.do_handshake()
    asking = http.client.HTTPConnection(url.netloc)
    asking.sock = connection
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    asking.request("GET", target, headers={"accept": "application/json", "connection": "close"})
    with closing(asking.getresponse()) as answer:
        if answer.status != HTTPStatus.OK:
            note = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise KeySetError(f"the server answered with status {answer.status}{note}")
        data = answer.read(MAX_BYTES + 1)
        if len(data) <= MAX_BYTES and answer.length:
            raise KeySetError("the answer was cut off")
        return data
