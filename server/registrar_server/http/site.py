"""The HTTP application: its routes, and what surrounds every request."""

from __future__ import annotations

import structlog
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from registrar_server.http import answers
from registrar_server.http.guard import Guard
from registrar_server.http.refusals import HttpRefusal
from registrar_server.http.routes import Router, all_routes
from registrar_server.http.transcoder import Transcoder, peer
from registrar_server.rpc.endpoint import Intake
from registrar_server.settings import Settings

log = structlog.get_logger()


def make_app(intake: Intake, settings: Settings) -> ASGIApp:
    """Return the application.

    It has no layers that a call does not need: each costs some percent of the server's time for a call.
    """
    transcoder = Transcoder(
        Router(all_routes()), intake, slow_call=settings.slow_call, max_bytes=settings.max_message_bytes
    )
    compressed = Compression(transcoder, minimum_size=1024, compresslevel=5)
    return Refusals(Guard(compressed, settings))


class Compression(GZipMiddleware):
    """Compresses the answers to callers that accept it; the requests of other callers pass it by."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        accepts = any(name == b"accept-encoding" and b"gzip" in value.lower() for name, value in scope["headers"])
        await (super().__call__ if accepts else self.app)(scope, receive, send)


class Refusals:
    """Answers a request that was refused before it became a call, and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._app(scope, receive, send)
        except HttpRefusal as refusal:
            answer = answers.of_refusal(refusal)
            log.info("http_refused", status=answer.status, reason=refusal.reason.value, peer=peer(scope))
            await answer.send(send)
