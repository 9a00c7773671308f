"""``/healthz`` and ``/readyz``, for load balancers and orchestrators."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest

from registrar_server import migrate
from registrar_server.app import Server
from registrar_server.http import probes
from tests.support.databases import execute
from tests.support.outages import database_outage
from tests.support.raw_connections import connected, request, serving_http
from tests.support.servers import Log
from tests.support.web_requests import WebAnswer

SERVING = {"status": "SERVING"}


@pytest.fixture
async def server(database_url: str, log: Log) -> AsyncIterator[Server]:
    """A server that notices changes of its database at once."""
    async with serving_http(database_url, health_interval=0.02) as server:
        yield server


async def ask(server: Server, path: str, method: str = "GET", host: str = "localhost") -> WebAnswer:
    """Send a probe over a connection of its own."""
    async with connected(server) as client:
        await client.send(request(method, path).replace(b"localhost", host.encode()))
        return await client.answer(has_body=method != "HEAD")


async def becomes(server: Server, status: int) -> WebAnswer:
    """Return the first answer of ``/readyz`` with a status."""
    async with asyncio.timeout(20):
        while (answer := await ask(server, "/readyz")).status != status:
            pass
    return answer


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
class TestProbes:
    """Both probes."""

    async def test_serving(self, server: Server, path: str) -> None:
        """A server that works answers 200."""
        answer = await ask(server, path)
        assert (answer.status, json.loads(answer.body)) == (200, SERVING)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"

    async def test_head(self, server: Server, path: str) -> None:
        """HEAD gets the same headers without a body."""
        answer = await ask(server, path, "HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, str(len('{"status":"SERVING"}\n')))

    @pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
    async def test_other_methods(self, server: Server, path: str, method: str) -> None:
        """Other methods are refused."""
        answer = await ask(server, path, method)
        assert (answer.status, answer.reason, answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, HEAD")

    async def test_any_host(self, server: Server, path: str) -> None:
        """A probe may use any name of the server."""
        assert (await ask(server, path, host="10.1.2.3:8080")).status == 200

    async def test_log(self, server: Server, path: str, log: Log) -> None:
        """Probes are so frequent that they have no lines in the log."""
        await ask(server, path)
        assert {line["event"] for line in log.lines} == {"server_started"}


class TestHealth:
    """``/healthz``: the process answers."""

    async def test_database_outage(self, server: Server, database_url: str, request: pytest.FixtureRequest) -> None:
        """The process answers without its database too, so nobody restarts it in vain."""
        with database_outage(database_url, request):
            await becomes(server, 503)
            assert (await ask(server, "/healthz")).status == 200


class TestReadiness:
    """``/readyz``: the server can serve calls."""

    async def test_database_outage(self, server: Server, database_url: str, request: pytest.FixtureRequest) -> None:
        """A server is not ready while the database does not answer, and ready afterwards."""
        with database_outage(database_url, request):
            answer = await becomes(server, 503)
            assert (answer.reason, answer.headers["retry-after"]) == ("DATABASE_UNAVAILABLE", "1")
            assert json.loads(answer.body)["message"] == "The database does not answer, or cannot be written."
        await becomes(server, 200)

    async def test_schema_behind(self, server: Server, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server whose schema was downgraded is not ready, and says what is missing."""
        monkeypatch.setattr(probes, "SCHEMA_INTERVAL_S", 0.0)
        await asyncio.to_thread(migrate.downgrade, database_url, "-1")
        answer = await becomes(server, 503)
        assert answer.reason == "SCHEMA_BEHIND"
        assert "and lacks: " in json.loads(answer.body)["message"]
        await asyncio.to_thread(migrate.upgrade, database_url)
        await becomes(server, 200)

    async def test_schema_of_a_newer_version(self, server: Server, database_url: str) -> None:
        """A server stays ready when a newer version migrates its database, because revisions only add to it."""
        execute(database_url, "UPDATE alembic_version SET version_num = '20991231_2359'")
        assert (await ask(server, "/readyz")).status == 200

    async def test_frequent_probes(self, server: Server, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Many probes share one look at the schema, which does not hold up other requests."""
        begun, ends = threading.Semaphore(0), threading.Event()
        current = migrate.runner.current

        def slow(url: str) -> migrate.AppliedMigrations:
            begun.release()
            ends.wait()
            return current(url)

        monkeypatch.setattr(migrate.runner, "current", slow)
        asked = [asyncio.create_task(ask(server, "/readyz")) for _ in range(20)]
        await asyncio.to_thread(begun.acquire)
        assert (await ask(server, "/healthz")).status == 200
        assert not any(task.done() for task in asked)
        ends.set()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert (await ask(server, "/readyz")).status == 200
        assert not begun.acquire(blocking=False)

    async def test_slow_database(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a look at the schema takes too long, further probes do not queue others behind it."""
        ends, looks = threading.Event(), []
        current = migrate.runner.current

        def slow(url: str) -> migrate.AppliedMigrations:
            looks.append(url)
            ends.wait()
            return current(url)

        monkeypatch.setattr(migrate.runner, "current", slow)
        monkeypatch.setattr(probes, "SCHEMA_TIMEOUT_S", 0.05)
        answers = [await ask(server, "/readyz") for _ in range(3)]
        assert [(answer.status, answer.reason) for answer in answers] == [(503, "DATABASE_UNAVAILABLE")] * 3
        ends.set()
        await becomes(server, 200)
        assert len(looks) == 1
