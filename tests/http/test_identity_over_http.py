"""Credentials over HTTP: what the answers say, where credentials must not be, and what needs none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from registrar_server.errors import database_unavailable
from registrar_server.http.routes import all_routes
from registrar_server.identity.identity import Verified
from registrar_server.rpc.table import METHODS
from tests.support.http_calls import HttpCaller, HttpResponse, read_response
from tests.support.identities import WRONG, identifying
from tests.support.servers import FREE_PORT, Log

PORTAL = "https://portal.example.edu"
SECRET = "rk_0123456789abcdef_f00dfeed"


paths = pytest.mark.parametrize("path", ["/v1/students", "/v1/events:watch"])
"""A call, and a stream, which is refused as a call before it begins."""


class Troubled:
    """Knows a bearer that takes forever to verify, and another one that cannot be verified now."""

    def takes(self, bearer: str) -> bool:
        """Return whether this is one of the bearers."""
        return bearer in ("slow", "unavailable")

    async def verify(self, bearer: str, now: float) -> Verified:
        """Fail, now or never."""
        if bearer == "slow":
            await asyncio.Event().wait()
        raise database_unavailable()


class Site(NamedTuple):
    """A server that identifies its callers."""

    caller: HttpCaller
    log: Log

    async def get(self, path: str = "/v1/students", bearer: str = "", **headers: str) -> HttpResponse:
        """Send a GET with a bearer."""
        sent = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.caller.call("GET", path, query=None, **sent, **headers)


@pytest.fixture
async def site(sqlite_url: str, log: Log) -> AsyncIterator[Site]:
    """A server with pages of a listed origin."""
    async with identifying(sqlite_url, Troubled(), http_listen=FREE_PORT, http_origins=PORTAL) as server:
        yield Site(HttpCaller(server.http_address), log)


class TestAnswers:
    """401 and 403, as RFC 6750 has them."""

    @paths
    async def test_without_credentials(self, site: Site, path: str) -> None:
        answer = await site.get(path)
        assert (answer.status, answer.reason) == (401, "CREDENTIALS_MISSING")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("value", [f"Bearer {WRONG}", "Basic YTpi", "", "Bearer"])
    @paths
    async def test_wrong_credentials(self, site: Site, value: str, path: str) -> None:
        answer = await site.caller.call("GET", path, authorization=value)
        assert (answer.status, answer.reason) == (401, "CREDENTIALS_INVALID")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    @paths
    async def test_another_role(self, site: Site, path: str) -> None:
        answer = await site.get(path, bearer="nobody")
        assert (answer.status, answer.reason) == (403, "ROLE_REQUIRED")
        assert "www-authenticate" not in answer.headers

    @paths
    async def test_while_callers_cannot_be_identified(self, site: Site, path: str) -> None:
        """It is no fault of the credentials."""
        answer = await site.get(path, bearer="unavailable")
        assert (answer.status, answer.reason) == (503, "DATABASE_UNAVAILABLE")

    async def test_the_deadline(self, site: Site) -> None:
        """It also limits how long the server looks for the caller."""
        answer = await site.get(bearer="slow", registrar_timeout="10ms")
        assert (answer.status, answer.refusal.code) == (504, 4)
        assert site.log.of("rpc", method="ListStudents", status="DEADLINE_EXCEEDED")

    async def test_a_caller_who_leaves_before(self, site: Site) -> None:
        async with site.caller.connection() as (_, writer):
            writer.write(b"GET /v1/students HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer slow\r\n\r\n")
            await writer.drain()
        assert await site.log.one("rpc", method="ListStudents", status="CANCELLED")


CREDENTIALS = {
    "none": ({}, 401, "CREDENTIALS_MISSING"),
    "wrong": ({"authorization": f"Bearer {WRONG}"}, 401, "CREDENTIALS_INVALID"),
    "without a role": ({"authorization": "Bearer nobody"}, 403, "ROLE_REQUIRED"),
}


@pytest.mark.parametrize(("headers", "status", "reason"), CREDENTIALS.values(), ids=list(CREDENTIALS))
async def test_every_route(site: Site, headers: dict[str, str], status: int, reason: str) -> None:
    """An RPC can have several routes, and a route several methods."""
    for route in all_routes():
        path = re.sub(r"\{[a-z_.]+\}", "x", route.path)
        for verb in route.verbs:
            body = b"" if verb in ("GET", "HEAD") else b"{}"
            answer = await site.caller.send(verb, path, body, headers)
            assert answer.status == status, (verb, path)
            if verb != "HEAD":
                assert answer.reason == reason, (verb, path)
        assert site.log.of("rpc")[-1]["method"] == route.rpc.name


class TestUrls:
    """URLs are kept in logs and histories, so credentials in them are refused, whether they are needed or not."""

    @pytest.mark.parametrize("name", ["access_token", "token", "key", "api_key", "authorization", "Bearer", "TOKEN"])
    @pytest.mark.parametrize("bearer", ["", "reader"])
    @paths
    async def test_parameters(self, site: Site, name: str, bearer: str, path: str) -> None:
        """A page that watches cannot set headers with the EventSource of browsers."""
        for query in (f"{name}={SECRET}", f"actor=x&{name}={SECRET}", f"{name}={SECRET}&page_size=1"):
            answer = await site.get(f"{path}?{query}", bearer)
            assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
            assert "URL" in answer.faults[name]
            assert SECRET not in answer.body.decode()
        self.check_log(site)

    async def test_a_user_before_the_host(self, site: Site) -> None:
        for user in (f"key:{SECRET}", SECRET):
            answer = await site.get(f"http://{user}@{site.caller.address}/v1/students", "reader")
            assert (answer.status, answer.reason) == (400, "MALFORMED_HTTP")
            assert SECRET not in answer.body.decode()
        self.check_log(site)

    async def test_parameters_that_sound_alike(self, site: Site) -> None:
        """A page_token is no credential."""
        answer = await site.get("/v1/students?page_token=token", "reader")
        assert answer.reason == "INVALID_PAGE_TOKEN"

    def check_log(self, site: Site) -> None:
        """Check that no line has the secret."""
        assert site.log.lines
        assert not [line for line in site.log.lines if SECRET in str(line)]

    def test_no_request_has_a_field_that_is_refused(self) -> None:
        fields = {
            field.name
            for methods in METHODS.values()
            for method in methods.values()
            for field in method.request.DESCRIPTOR.fields
        }
        assert not fields & {"access_token", "token", "key", "api_key", "apikey", "authorization", "bearer"}


class TestBodies:
    """The server knows the caller and the role before it reads a body."""

    @pytest.mark.parametrize(("bearer", "status"), [("", 401), (WRONG, 401), ("reader", 403)])
    async def test_not_awaited(self, site: Site, bearer: str, status: int) -> None:
        """The answer comes although the body never does."""
        head = [
            b"POST /v1/students HTTP/1.1",
            b"host: localhost",
            b"content-type: application/json",
            b"content-length: 1000000",
            *([f"authorization: Bearer {bearer}".encode()] if bearer else []),
        ]
        answer = await site.caller.send_bytes(b"\r\n".join(head) + b"\r\n\r\n")
        assert answer.status == status

    async def test_the_next_request_of_the_connection(self, site: Site) -> None:
        """The body that nobody has read is not taken for a request."""
        body = b'{"student_id": "s-1"}' + b" " * 500_000 + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        head = b"POST /v1/students HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        async with site.caller.connection() as (reader, writer):
            writer.write(head + b"content-length: %d\r\n\r\n" % len(body))
            assert (await read_response(reader)).status == 401
            writer.write(body)
            writer.write(b"GET /v1/students HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer reader\r\n\r\n")
            answer = await read_response(reader)
        assert (answer.status, answer.json) == (200, {"students": [], "next_page_token": ""})

    async def test_not_checked(self, site: Site) -> None:
        """What is wrong with a body does not matter to a caller who may not send it."""
        for body in (b"{", b'{"capacity": "many"}'):
            answer = await site.caller.send("POST", "/v1/courses", body, {"authorization": "Bearer reader"})
            assert answer.reason == "ROLE_REQUIRED"


class TestWithoutCredentials:
    """Probes, the description and preflights."""

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
    async def test_pages(self, site: Site, path: str) -> None:
        assert (await site.get(path)).status == 200

    async def test_no_description_without_reflection(self, sqlite_url: str) -> None:
        async with identifying(sqlite_url, http_listen=FREE_PORT, reflection=False) as server:
            answer = await HttpCaller(server.http_address).call("GET", "/openapi.json")
        assert answer.reason == "PATH_UNKNOWN"

    async def test_preflights(self, site: Site) -> None:
        """A browser sends them without credentials, and asks for the headers that say who calls."""
        question = {
            "origin": PORTAL,
            "access_control_request_method": "GET",
            "access_control_request_headers": "authorization,registrar-on-behalf-of",
        }
        async with site.caller.connection() as (reader, writer):
            lines = [f"{name.replace('_', '-')}: {value}" for name, value in question.items()]
            head = "\r\n".join(["OPTIONS /v1/students HTTP/1.1", f"host: {site.caller.address}", *lines])
            writer.write(f"{head}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 204")
            text = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "registrar-on-behalf-of" in text
        assert "authorization" in text

    async def test_a_page_can_read_what_is_wrong(self, site: Site) -> None:
        answer = await site.get(origin=PORTAL)
        assert answer.status == 401
        assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]
