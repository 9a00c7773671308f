"""The connections of the HTTP listener: uvicorn's protocol, with answers in JSON and with limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from registrar_server.http.request_targets import replace_host

CONNECTION = "registrar.connection"
"""The extension of ASGI that names the connection of a request."""


class Connection(HttpToolsProtocol):
    """A connection of a client."""

    def __init__(self, *arguments: object, **others: object) -> None:
        super().__init__(*arguments, **others)  # type: ignore[arg-type]
        self.waiting: set[asyncio.Task[object]] = set()
        """The tasks that answer requests of this connection."""

    def on_message_begin(self) -> None:
        """Let the application find the connection of the request."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"connection": self}}

    def on_headers_complete(self) -> None:
        """Let the application see the host of the request's target, if it names one."""
        if not self.url.startswith(b"/"):
            replace_host(self.headers, self.url)
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the tasks whose answers nobody can receive any more."""
        super().connection_lost(exc)
        for task in self.waiting:
            task.cancel()


@contextmanager
def leaves_with_its_connection(scope: Scope) -> Iterator[None]:
    """Cancel the current task when the connection of its request is lost."""
    connection: Connection | None = scope.get("extensions", {}).get(CONNECTION, {}).get("connection")
    task = asyncio.current_task()
    if connection is None or task is None:
        yield
        return
    connection.waiting.add(task)
    try:
        yield
    finally:
        connection.waiting.discard(task)
