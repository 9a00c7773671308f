"""When a server identifies its callers, and on which addresses it serves without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from pydantic import ValidationError

from registrar_server import identity_sources
from registrar_server.app import StartError, start
from registrar_server.first_calls import try_next
from tests.support.api_keys import ACCEPTED, add, answer_to, id_of, revoke
from tests.support.databases import execute
from tests.support.http_calls import HttpCaller
from tests.support.outages import database_outage
from tests.support.servers import FREE_PORT, Log, calling, serving, settings

MISSING = "CREDENTIALS_MISSING"


async def answer(database_url: str, key: str | None = None, **others: Any) -> str:
    """Return the answer of a new server to a caller with a key, or without."""
    async with serving(database_url, **others) as server, calling(server.address) as registrar:
        return await answer_to(registrar, key)


class TestSetting:
    """What ``REGISTRAR_IDENTITY`` means."""

    async def test_auto(self, database_url: str) -> None:
        """Callers are identified if there is a key, on loopback too."""
        assert await answer(database_url) == ACCEPTED
        key = add(database_url)
        assert await answer(database_url) == MISSING
        assert await answer(database_url, key) == ACCEPTED

    @pytest.mark.parametrize("column", ["revoke_time", "expire_time"])
    async def test_last_key_ends(self, database_url: str, column: str) -> None:
        """Without a live key, callers are identified all the same."""
        add(database_url)
        execute(database_url, f"UPDATE api_keys SET {column} = 1")
        assert await answer(database_url) == MISSING

    async def test_required(self, database_url: str) -> None:
        """Callers are identified before the first key is made, which then works at once."""
        async with (
            serving(database_url, identity="required") as server,
            calling(server.address) as registrar,
        ):
            assert await answer_to(registrar) == MISSING
            assert await answer_to(registrar, add(database_url)) == ACCEPTED

    async def test_off(self, database_url: str, log: Log) -> None:
        """Nobody is identified, and a warning names what is not used."""
        assert await answer(database_url, identity="off") == ACCEPTED
        assert not log.of("identity_off")
        add(database_url)
        assert await answer(database_url, identity="off") == ACCEPTED
        (line,) = log.of("identity_off")
        assert (line["level"], line["unused"]) == ("warning", "API keys")

    async def test_without_credentials(self, database_url: str) -> None:
        """A server that identifies nobody takes calls with any bearer."""
        assert await answer(database_url, "rk_any") == ACCEPTED


class TestNotice:
    """A server that runs notices the first key."""

    async def test_first_key(self, database_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two servers notice it at their next look, and a line of the log says so."""
        assert identity_sources.POLL_S <= 30
        monkeypatch.setattr(identity_sources, "POLL_S", 0.01)
        async with (
            serving(database_url) as one,
            serving(database_url) as other,
            calling(one.address) as first,
            calling(other.address) as second,
        ):
            assert await answer_to(first) == await answer_to(second) == ACCEPTED
            key = add(database_url)
            await log.several(2, "identity_on")
            assert await answer_to(first) == await answer_to(second) == MISSING
            assert await answer_to(first, key) == await answer_to(second, key) == ACCEPTED

    async def test_last_key_ends(self, database_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that runs stays closed, however often it looks, and so does one that has noticed the first key."""
        monkeypatch.setattr(identity_sources, "POLL_S", 0.01)
        async with serving(database_url) as noticing, calling(noticing.address) as first:
            key = add(database_url)
            async with serving(database_url) as knowing, calling(knowing.address) as second:
                await log.one("identity_on")
                revoke(database_url, id_of(key))
                await asyncio.sleep(0.1)
                assert await answer_to(first) == await answer_to(second) == MISSING

    async def test_outage(
        self, database_url: str, log: Log, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        """An outage stops the look only as long as it lasts, and has no lines of its own but for debugging."""
        monkeypatch.setattr(identity_sources, "POLL_S", 0.01)
        async with serving(database_url) as server, calling(server.address) as registrar:
            with database_outage(database_url, request):
                await log.one("keys_not_read")
            key = add(database_url)
            await log.one("identity_on")
            assert await answer_to(registrar, key) == ACCEPTED
        assert {line["level"] for line in log.of("keys_not_read")} == {"debug"}
        assert len(log.of("database_lost")) <= 1


class TestExposed:
    """Addresses that other machines reach."""

    @pytest.mark.parametrize("variable", ["listen", "http_listen"])
    async def test_refused(self, database_url: str, variable: str) -> None:
        """Without identity, the server does not start, also with --insecure, and says what to set."""
        exposed: dict[str, Any] = {variable: "0.0.0.0:0", "insecure": True, "http_hosts": ("x",)}
        with pytest.raises(StartError) as refusal:
            await start(settings(database_url, **exposed))
        assert str(refusal.value) == (
            f"REGISTRAR_{variable.upper()}=0.0.0.0:0 can be reached from other machines, and nothing identifies callers"
            " yet: make a key with `registrar-server keys create`, or set REGISTRAR_JWT_KEYS, REGISTRAR_CERT_ROLES or"
            " REGISTRAR_IDENTITY=required"
        )

    async def test_both(self, database_url: str) -> None:
        """The message names both addresses."""
        exposed: dict[str, Any] = {"listen": "0.0.0.0:0", "http_listen": "[::]:0", "http_hosts": ("x",)}
        with pytest.raises(StartError) as refusal:
            await start(settings(database_url, insecure=True, **exposed))
        lines = str(refusal.value).splitlines()
        assert [line.partition("=")[0] for line in lines] == ["REGISTRAR_LISTEN", "REGISTRAR_HTTP_LISTEN"]

    async def test_off(self, sqlite_url: str) -> None:
        """Identity that is turned off is refused on such an address, even if there are keys."""
        add(sqlite_url)
        with pytest.raises(ValidationError, match="REGISTRAR_IDENTITY=off would let all of them in"):
            settings(sqlite_url, listen="0.0.0.0:0", insecure=True, identity="off")

    @pytest.mark.parametrize("how", ["key", "required"])
    async def test_identified(self, database_url: str, log: Log, how: str) -> None:
        """With identity, --insecure serves without TLS, and a warning says what can be read."""
        others = {"identity": "required"} if how == "required" else {}
        key = add(database_url)
        async with serving(database_url, listen="0.0.0.0:0", insecure=True, **others) as server:
            address = server.address.replace("0.0.0.0", "127.0.0.1")
            async with calling(address) as registrar:
                assert await answer_to(registrar) == MISSING
                assert await answer_to(registrar, key) == ACCEPTED
        (line,) = log.of("serving_without_tls")
        assert (line["level"], "keys, tokens and the data of students" in line["exposed"]) == ("warning", True)


class TestOpen:
    """What answers without credentials."""

    async def test_health(self, sqlite_url: str) -> None:
        """Health and readiness, over gRPC and HTTP."""
        async with serving(sqlite_url, identity="required", http_listen=FREE_PORT) as server:
            http = HttpCaller(server.http_address)
            for path in ("/healthz", "/readyz"):
                assert (await http.call("GET", path)).status == 200
            async with calling(server.address) as registrar:
                health: Any = HealthStub(registrar.channel)
                answer = await health.Check(HealthCheckRequest())
                assert answer.status == HealthCheckResponse.SERVING

    @pytest.mark.parametrize("shown", [True, False])
    async def test_description(self, sqlite_url: str, shown: bool) -> None:
        """OpenAPI and reflection, as their setting says."""
        others: dict[str, Any] = {"identity": "required", "http_listen": FREE_PORT, "reflection": shown}
        async with serving(sqlite_url, **others) as server:
            http = HttpCaller(server.http_address)
            assert (await http.call("GET", "/openapi.json")).status == (200 if shown else 404)
            if shown:
                async with calling(server.address) as registrar:
                    channel: Any = registrar.channel
                    reflection: Any = ServerReflectionStub(channel)
                    call = reflection.ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
                    assert [answer.HasField("list_services_response") async for answer in call] == [True]


def test_the_suggested_calls_of_a_server_with_identity_have_a_key() -> None:
    text = try_next("127.0.0.1:1", "127.0.0.1:2", identified=True)
    assert "export REGISTRAR_TOKEN=$(registrar-server keys create --name me --role admin --expires 1d)" in text
    assert text.count('grpcurl -plaintext -H "Authorization: Bearer $REGISTRAR_TOKEN" -d') == 3
    assert 'curl -H "Authorization: Bearer $REGISTRAR_TOKEN" http://127.0.0.1:2/students' in text
    assert 'RegistrarClient("127.0.0.1:1", token=os.environ["REGISTRAR_TOKEN"])' in text
    assert "TOKEN" not in try_next("127.0.0.1:1", "127.0.0.1:2")
