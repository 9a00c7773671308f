"""The log lines of refused HTTP requests: they say what an administrator needs to find the cause."""

from __future__ import annotations

import pytest

from tests.support.raw_connections import connected, serving_http
from tests.support.servers import Log

REFUSED = {
    "an unknown path": (b"GET /v1/teachers?name=Ada HTTP/1.1\r\nHost: localhost\r\n", {"request": "GET /v1/teachers"}),
    "an unknown host": (
        b"GET /v1/courses HTTP/1.1\r\nHost: registrar.example.edu:8080\r\n",
        {"request": "GET /v1/courses", "host": "registrar.example.edu:8080"},
    ),
    "a web page": (
        b"DELETE /v1/courses/c-1 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://portal.example.edu\r\n",
        {"request": "DELETE /v1/courses/c-1", "origin": "https://portal.example.edu"},
    ),
    "a page that hides its origin": (
        b"GET /v1/courses HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n",
        {"request": "GET /v1/courses", "origin": ""},
    ),
    "a host that is not ASCII": (
        b"GET /v1/courses HTTP/1.1\r\nHost: \xe9\tvil\r\n",
        {"host": "\\xe9\\x09vil"},
    ),
    "a long path": (b"GET /%b HTTP/1.1\r\nHost: localhost\r\n" % (b"a" * 9_000), {"request": "GET /" + "a" * 199}),
}


@pytest.mark.parametrize(("head", "expected"), REFUSED.values(), ids=REFUSED)
async def test_line(sqlite_url: str, log: Log, head: bytes, expected: dict[str, str]) -> None:
    """The line has the request without its query, and the host or origin that was refused, both shortened."""
    async with serving_http(sqlite_url) as server, connected(server) as client:
        await client.ask(head + b"\r\n")
        (line,) = log.of("http_refused")
        assert {name: line.get(name) for name in expected} == expected
