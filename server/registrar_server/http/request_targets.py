"""Targets of requests: those that name a host, and those that have credentials, which URLs must not contain."""

from __future__ import annotations

import re

import httptools

from registrar_server.errors import FieldViolation, invalid_fields

_find_credentials = re.compile(
    rb"(?:^|&)(access_token|api_key|apikey|authorization|bearer|key|token)(?:=|&|$)", re.IGNORECASE
).search
"""Finds a query parameter that people use for credentials. No request has a field of such a name."""


def refuse_credentials(query: bytes) -> None:
    """Raise INVALID_FIELD if a query has credentials, whether they are valid or not."""
    if query and (found := _find_credentials(query)):
        expected = (
            "must not be in a URL, which logs and histories keep: send `Authorization: Bearer`, with a new secret"
        )
        raise invalid_fields([FieldViolation(found[1].decode(), expected)])


def has_user(target: bytes) -> bool:
    """Return whether a target that is a whole URL has a user or a password before the host."""
    return bool(httptools.parse_url(target).userinfo)


def replace_host(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    """Replace the Host header by the host of a target, because the target takes precedence (RFC 9112, 3.2.2)."""
    parsed = httptools.parse_url(target)
    if parsed.host is None:
        return
    host = b"[%b]" % parsed.host if b":" in parsed.host else parsed.host
    if parsed.port:
        host += b":%d" % parsed.port
    headers[:] = [*(header for header in headers if header[0] != b"host"), (b"host", host)]
