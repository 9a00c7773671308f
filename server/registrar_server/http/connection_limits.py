"""The limits of connections, and what the connections of a listener share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from uvicorn.server import ServerState


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the server waits for a client, in seconds."""

    handshake: float = 10.0
    """For the handshake of TLS."""
    head: float = 10.0
    """For the first byte of a connection, and from the first byte of a request to the end of its headers."""
    idle: float = 75.0
    """For the next request of a connection."""
    unread: float = 30.0
    """For a client to read more of its answer."""
    unacknowledged: float = 60.0
    """For a client's system to take what was sent, before the client is taken to have vanished without a sign."""
    linger: float = 5.0
    """For the rest of a request that is already answered."""
    farewell: float = 0.2
    """For the next request of an idle connection when the server stops."""

    @property
    def interval(self) -> float:
        """How often the connections are checked, at most once a second."""
        return min(1.0, min(self.handshake, self.head, self.idle, self.unread, self.linger) / 4)


PATIENCE = Patience()


class Connections(ServerState):
    """What the connections of a listener share. ``connections`` has those that are open and not refused."""

    def __init__(self, maximum: int, patience: Patience) -> None:
        super().__init__()
        self.maximum = maximum
        self.patience = patience
        self.is_stopping = False
        self.changed = asyncio.Event()
        """Set when a connection ends, or has sent its last answer."""


class Outlet(NamedTuple):
    """What uvicorn needs of a transport."""

    write: Callable[[bytes], None]
    close: Callable[[], None]
    is_closing: Callable[[], bool]


class Unsent:
    """Knows since when a client has read nothing of what waits for it."""

    def __init__(self) -> None:
        self._bytes = 0
        self._since = 0.0

    def since(self, now: float, waiting: int) -> float:
        """Return when the client last read something, or now if nothing waits; ``waiting`` is the number of bytes."""
        if self._bytes == 0 or waiting < self._bytes:
            self._since = now
        self._bytes = waiting
        return self._since if waiting else now


def expect_acknowledgements(transport: asyncio.Transport, seconds: float) -> None:
    """Let the system close a connection if its client vanishes without a sign, which a stream would never notice."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Elsewhere the system gives up by itself, after minutes.
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def peer(client: tuple[str, int] | None) -> str:
    """Return the address of a client, in gRPC's form."""
    host, port = client or ("unknown", 0)
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
