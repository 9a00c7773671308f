"""The listener of HTTP: uvicorn's connections in the server's own event loop."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from registrar_server.http.connections import Connection
from registrar_server.rpc.transport import ListenError
from registrar_server.settings import Settings


class HttpListener:
    """Listens for HTTP and hands requests to an ASGI application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._settings = settings
        self._config = Config(
            app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen, and return the address with its actual port. Raises ``ListenError`` if it is not available."""
        self._config.load()
        host, _, port = self._settings.http_listen.rpartition(":")
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(config=self._config, server_state=self._state, app_state={}),
                host.strip("[]"),
                int(port),
            )
        except OSError as error:
            raise ListenError(
                f"REGISTRAR_HTTP_LISTEN={self._settings.http_listen}: the address is taken or is not this machine's."
                " A second server on this machine needs its own: choose another, or set it empty to serve no HTTP."
            ) from error
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Accept no more connections, and close those that are idle; the others close after their answer."""
        if self._server:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()

    async def end(self) -> None:
        """Cut off the connections that are left."""
        for connection in list(self._state.connections):
            connection.transport.abort()
