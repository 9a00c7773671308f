"""The HTTP application: its routes, and what surrounds every request."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Mapping

import structlog
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from registrar_server.errors import drop_frames
from registrar_server.http import answers
from registrar_server.http.connection_limits import peer
from registrar_server.http.guard import Guard
from registrar_server.http.openapi import OPENAPI_PATH, Description
from registrar_server.http.probes import Probe, Readiness
from registrar_server.http.refusals import HttpRefusal, loggable
from registrar_server.http.routes import Router, all_routes
from registrar_server.http.transcoder import Transcoder
from registrar_server.rpc import status
from registrar_server.rpc.endpoint import Entrance
from registrar_server.settings import Settings

log = structlog.get_logger()


def make_app(entrance: Entrance, settings: Settings, readiness: Readiness) -> ASGIApp:
    """Return the application. With ``settings.reflection`` it also describes itself.

    It has no layers that a call does not need: each costs some percent of the server's time for a call.
    """
    pages: dict[str, ASGIApp] = {"/healthz": Probe(), "/readyz": Probe(readiness)}
    if settings.reflection:
        pages[OPENAPI_PATH] = Description()
    transcoder = Transcoder(
        Router(all_routes(), described=settings.reflection),
        entrance,
        slow_call=settings.slow_call,
        max_bytes=settings.max_message_bytes,
    )
    compressed = Compression(Pages(pages, transcoder), minimum_size=1024, compresslevel=5)
    return Refusals(Guard(compressed, settings))


class Pages:
    """Answers the requests for a few paths, and leaves those for all others to the methods."""

    def __init__(self, pages: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._pages = pages
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._pages.get(scope["path"], self._others)(scope, receive, send)


_accepts_gzip = re.compile(rb"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)").search
"""Returns a match if Accept-Encoding has gzip, and not with a weight of 0, which refuses it."""


class Compression(GZipMiddleware):
    """Compresses the answers to callers that accept it; the requests of other callers pass it by."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        accepts = any(name == b"accept-encoding" and _accepts_gzip(value) for name, value in scope["headers"])
        await (super().__call__ if accepts else self.app)(scope, receive, send)


class Refusals:
    """Answers a request that was refused before it became a call, or that failed on the way, and logs it.

    If the connection of a request is lost, its task is cancelled. Nobody waits for the answer then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            return
        except HttpRefusal as refusal:
            answer = answers.of_refusal(refusal)
            log.info(
                "http_refused",
                status=answer.status,
                reason=refusal.reason.value,
                request=f"{scope['method']} {loggable(scope['raw_path'])}",
                **refusal.logged,
                peer=peer(scope["client"]),
            )
            await answer.send(send)
        except Exception as error:
            error_id = str(uuid.uuid4())
            log.error("http_crashed", error_id=error_id, peer=peer(scope["client"]), exc_info=error)
            drop_frames(error)
            with contextlib.suppress(RuntimeError):  # If the answer had begun, uvicorn raises it, and cuts it off.
                await answers.of_status(status.of_crash(error_id).message).send(send)
