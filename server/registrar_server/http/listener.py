"""The listener of HTTP: uvicorn's connections in the server's own event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import suppress
from email.utils import formatdate

from starlette.types import ASGIApp
from uvicorn.config import Config

from registrar_server.http.connection_limits import PATIENCE, Connections, Patience
from registrar_server.http.connections import Connection
from registrar_server.rpc.transport import ListenError, warn_without_tls
from registrar_server.settings import Settings

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""The errors of an address that the machine does not have, such as ::1 without IPv6."""


class HttpListener:
    """Listens for HTTP and hands requests to an ASGI application."""

    def __init__(
        self, app: ASGIApp, settings: Settings, encryption: ssl.SSLContext | None, patience: Patience = PATIENCE
    ) -> None:
        self._settings = settings
        self._encryption = encryption
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._connections = Connections(settings.http_max_connections, patience)
        self._servers: list[asyncio.Server] = []
        self._watching: asyncio.Task[None] | None = None
        self._farewell: asyncio.TimerHandle | None = None

    async def start(self) -> str:
        """Listen, and return the address with its actual port. Raises ``ListenError`` if it is not available."""
        if self._encryption is None:
            warn_without_tls(self._settings.http_listen)
        self._config.load()
        self._set_date()
        host, _, port = self._settings.http_listen.rpartition(":")
        try:
            await self._listen(host.strip("[]"), int(port), self._encryption)
        except (OSError, UnicodeError) as error:  # A host such as a..b cannot be looked up.
            await self.close()
            raise ListenError(
                f"REGISTRAR_HTTP_LISTEN={self._settings.http_listen}: the address is taken or is not this machine's."
                " A second server on this machine needs its own: choose another, or set it empty to serve no HTTP."
            ) from error
        self._watching = asyncio.create_task(self._watch())
        return f"{host}:{self._port}"

    async def _listen(self, host: str, port: int, encryption: ssl.SSLContext | None) -> None:
        """Listen on every address of a host, on the same port. Raises ``OSError`` if it is not available."""
        loop, patience = asyncio.get_running_loop(), self._connections.patience
        missing: OSError | None = None
        for address in await _addresses(host):
            try:
                server = await loop.create_server(
                    lambda: Connection(self._config, self._connections),
                    address,
                    port or self._port,
                    ssl=encryption,
                    ssl_handshake_timeout=patience.handshake if encryption else None,
                    ssl_shutdown_timeout=patience.linger if encryption else None,
                )
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                missing = error
            else:
                self._servers.append(server)
        if missing and not self._servers:
            raise missing

    @property
    def _port(self) -> int:
        """The port of the first address; 0 before there is one."""
        return int(self._servers[0].sockets[0].getsockname()[1]) if self._servers else 0

    async def _watch(self) -> None:
        """Check the connections again and again, and tell the time to those who ask for it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._connections.patience.interval)
            self._set_date()
            for connection in self._open():
                connection.check(loop.time())

    def _open(self) -> list[Connection]:
        return [one for one in self._connections.connections if isinstance(one, Connection)]

    def _set_date(self) -> None:
        # In place: a request that is under way keeps this list, and its answer has the time of the answer.
        self._connections.default_headers[:] = [(b"date", formatdate(usegmt=True).encode())]

    async def close(self) -> None:
        """Accept no more connections, and close the others after their answers.

        Idle ones stay open for a moment: a request may be on its way, and its client must learn what becomes of it.
        """
        self._connections.is_stopping = True
        await stop_listening(*self._servers)
        for connection in self._open():
            if not connection.is_idle:
                connection.shutdown()
        self._farewell = asyncio.get_running_loop().call_later(self._connections.patience.farewell, self._close_all)

    def _close_all(self) -> None:
        for connection in self._open():
            connection.shutdown()

    async def finish(self, seconds: float) -> None:
        """Wait until the clients have their answers, at most some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(connection.has_left for connection in self._open()):
                    self._connections.changed.clear()
                    await self._connections.changed.wait()

    def end(self) -> None:
        """Cut off the connections that are left."""
        if self._watching:
            self._watching.cancel()
        if self._farewell:
            self._farewell.cancel()
        for connection in self._open():
            connection.abort()


async def stop_listening(*servers: asyncio.Server) -> None:
    """Accept no more connections, and close the sockets that listen.

    asyncio accepts a connection in two steps of its event loop. If the server is closed between them, asyncio drops the
    connection without closing it, and the client waits.
    """
    loop = asyncio.get_running_loop()
    for listening in (one for server in servers for one in server.sockets):
        loop.remove_reader(listening.fileno())
    try:
        await asyncio.sleep(0)
    finally:
        for server in servers:
            server.close()


async def _addresses(host: str) -> list[str]:
    """Return the addresses of a host, each once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
