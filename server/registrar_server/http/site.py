"""The HTTP application: its routes, and what surrounds every request."""

from __future__ import annotations

import uuid

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from registrar_server.http import answers
from registrar_server.http.guard import Guard
from registrar_server.http.openapi import OPENAPI_PATH, Description
from registrar_server.http.refusals import HttpRefusal
from registrar_server.http.routes import Router, all_routes
from registrar_server.http.transcoder import Transcoder, peer
from registrar_server.rpc import status
from registrar_server.rpc.endpoint import Intake
from registrar_server.settings import Settings

log = structlog.get_logger()


def make_app(intake: Intake, settings: Settings) -> ASGIApp:
    """Return the application. With ``settings.reflection`` it also describes itself."""
    transcoder = Transcoder(
        Router(all_routes(), described=settings.reflection),
        intake,
        slow_call=settings.slow_call,
        max_bytes=settings.max_message_bytes,
    )
    app = Starlette(
        routes=[Route(OPENAPI_PATH, Description())] if settings.reflection else [],
        middleware=[
            Middleware(Refusals),
            Middleware(Guard, settings),
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=5),
        ],
    )
    # A route of Starlette matches no path with a line break, and a redirect answers in plain text.
    app.router.default = transcoder
    app.router.redirect_slashes = False
    return app


class Refusals:
    """Answers a request that was refused before it became a call, or whose answer crashed, and logs it."""

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
        except Exception as error:
            error_id = str(uuid.uuid4())
            log.error("http_crashed", error_id=error_id, peer=peer(scope), exc_info=error)
            await answers.of_status(status.of_crash(error_id).message).send(send)
