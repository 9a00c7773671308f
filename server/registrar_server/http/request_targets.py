"""Targets of requests that name a host, such as ``GET http://registrar.example.edu/v1/courses``."""

from __future__ import annotations

import httptools


def replace_host(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    """Replace the Host header by the host of a target, because the target takes precedence (RFC 9112, 3.2.2)."""
    parsed = httptools.parse_url(target)
    if parsed.host is None:
        return
    host = b"[%b]" % parsed.host if b":" in parsed.host else parsed.host
    if parsed.port:
        host += b":%d" % parsed.port
    headers[:] = [*(header for header in headers if header[0] != b"host"), (b"host", host)]
