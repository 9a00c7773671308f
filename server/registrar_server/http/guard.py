"""Keeps web pages away: checks the host that a request names, and the page that sends it.

Any page in a browser on this machine can send requests to a loopback address, without the user's knowledge. A page that
makes its own name point to this machine gets past the browser's checks, but its requests still name that host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registrar_server.addresses import Host, is_wildcard, read_host
from registrar_server.http.refusals import HttpReason, HttpRefusal, loggable
from registrar_server.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PROBES = frozenset({"/healthz", "/readyz"})
"""The paths that any host may ask for, because probes use the address of the machine."""

DEFAULT_PORTS = frozenset({"80", "443"})

READABLE = {"access-control-expose-headers": "ETag, Retry-After, WWW-Authenticate", "vary": "Origin"}
PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID,"
    " Registrar-On-Behalf-Of, Registrar-Timeout",
    "access-control-max-age": "600",
    "cache-control": "no-store",
}


class Guard:
    """Refuses requests that name an unknown host, and requests of web pages unless their origin is listed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._knows_host = known_hosts(settings.http_listen, settings.http_hosts)
        self._origins = frozenset(origin.encode() for origin in settings.http_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, answer the question of a page whether it may send one, or raise ``HttpRefusal``."""
        sender = _sender(scope["headers"])
        if sender.origin.lower() in self._origins:
            await self._serve_page(sender, scope, receive, send)
            return
        self._check_host(sender, scope)
        if sender.origin or sender.cross_site:
            raise HttpRefusal(
                HttpReason.ORIGIN_REFUSED,
                "The request comes from a web page whose origin REGISTRAR_HTTP_ORIGINS does not list.",
                logged={"origin": loggable(sender.origin)},
            )
        await self._app(scope, receive, send)

    async def _serve_page(self, sender: Sender, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a page of a listed origin send a request and read the answer, also that of a refusal."""
        headers = {"access-control-allow-origin": sender.origin.decode("latin-1"), **READABLE}

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(headers, message)
            await send(message)

        try:
            self._check_host(sender, scope)
            if scope["method"] == "OPTIONS" and sender.preflight:
                await Response(status_code=204, headers=headers | PREFLIGHT)(scope, receive, send)
            else:
                await self._app(scope, receive, send_readable)
        except HttpRefusal as refusal:
            refusal.headers = {**refusal.headers, **headers}
            raise

    def _check_host(self, sender: Sender, scope: Scope) -> None:
        if not self._knows_host(sender.host) and scope["path"] not in PROBES:
            raise HttpRefusal(
                HttpReason.HOST_UNKNOWN,
                "The server does not know the host of the request: use the address that it listens on, or list the name"
                " in REGISTRAR_HTTP_HOSTS.",
                logged={"host": loggable(sender.host)},
            )


class Sender(NamedTuple):
    """What the headers of a request say about its sender; empty where they say nothing."""

    host: bytes
    origin: bytes
    cross_site: bool
    preflight: bool


def _sender(headers: Iterable[tuple[bytes, bytes]]) -> Sender:
    """Return the sender. Several hosts become one that no list has, and so do several origins."""
    host = origin = None
    cross_site = preflight = False
    for name, value in headers:
        if name == b"host":
            host = value if host is None else b"%b, %b" % (host, value)
        elif name == b"origin":
            origin = (value or b"null") if origin is None else b"%b, %b" % (origin, value)
        elif name == b"sec-fetch-site":
            cross_site = cross_site or value.strip().lower() == b"cross-site"
        elif name == b"access-control-request-method":
            preflight = True
    return Sender(host or b"", origin or b"", cross_site, preflight)


def known_hosts(listen: str, names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return a function that says whether a Host header names loopback, the address to listen on, or a listed name."""
    own = read_host(listen)
    listed = [host for host in map(read_host, names) if host]
    any_port = LOOPBACK_NAMES | {host.name for host in listed if not host.port}
    if own and not is_wildcard(own.name):
        any_port |= {own.name}
    # Callers leave out the port of their scheme.
    exact = {*listed, *(Host(host.name, "") for host in listed if host.port in DEFAULT_PORTS)}

    @lru_cache(64)
    def knows(header: bytes) -> bool:
        host = read_host(header.decode("latin-1"))
        return host is not None and (host.name in any_port or host in exact)

    return knows


def _add(headers: dict[str, str], message: Message) -> None:
    """Add headers to the start of an answer."""
    answer = MutableHeaders(scope=message)
    for name, value in headers.items():
        if name == "vary":
            answer.add_vary_header(value)
        else:
            answer[name] = value
