"""Where the server listens for HTTP: addresses, ports that are taken, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from registrar.v1.student_service_pb2 import GetStudentRequest
from registrar_server.app import StartError, start
from tests.support.certificates import Certificates
from tests.support.raw_connections import GET, connected, patient, serving_http
from tests.support.servers import Log, calling, serving, settings


def is_free(address: str) -> bool:
    """Return whether a server could listen on an address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, int(port)))
        except OSError:
            return False
    return True


def free_address() -> str:
    """Return an address that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


class TestAddress:
    """The address of REGISTRAR_HTTP_LISTEN."""

    async def test_free_port(self, sqlite_url: str, log: Log) -> None:
        """Port 0 selects a free port, which the server logs and serves."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            assert (await client.ask(GET)).status == 200
            (line,) = log.of("server_started")
            assert line["http"] == server.http_address
            assert int(server.http_address.removeprefix("127.0.0.1:")) > 0

    async def test_off(self, sqlite_url: str) -> None:
        """An empty address turns HTTP off."""
        async with serving(sqlite_url, http_listen="") as server:
            assert server.http_address == ""

    async def test_ipv6(self, sqlite_url: str) -> None:
        """An IPv6 address is written in brackets."""
        async with serving_http(sqlite_url, http_listen="[::1]:0") as server:
            assert server.http_address.startswith("[::1]:")
            async with connected(server) as client:
                assert (await client.ask(GET)).status == 200

    async def test_localhost(self, sqlite_url: str) -> None:
        """A name with several addresses has the same port on each of them."""
        async with serving_http(sqlite_url, http_listen="localhost:0") as server:
            found = await asyncio.get_running_loop().getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
            for address in {str(one[0]) for *_, one in found}:
                async with connected(server, host=address) as client:
                    assert (await client.ask(GET)).status == 200

    @pytest.mark.parametrize("address", ["203.0.113.1:0", "no-such-host.invalid:0", "no..host:0"])
    async def test_address_of_another_machine(self, sqlite_url: str, address: str) -> None:
        """An address that is not this machine's is refused."""
        with pytest.raises(StartError, match="REGISTRAR_HTTP_LISTEN="):
            await start(
                settings(sqlite_url, http_listen=address, http_hosts=("x",), insecure=True, identity="required")
            )

    async def test_without_tls(self, sqlite_url: str, log: Log) -> None:
        """Serving without TLS on an address that is not loopback logs a warning."""
        async with serving_http(
            sqlite_url, http_listen="0.0.0.0:0", http_hosts=("x",), insecure=True, identity="required"
        ):
            (line,) = log.of("serving_without_tls")
        assert (line["level"], line["address"]) == ("warning", "0.0.0.0:0")


class TestTakenPort:
    """A port that somebody else listens on stops the start, and leaves nothing behind."""

    async def test_port_of_http(self, sqlite_url: str) -> None:
        """A second server on the same port refuses to start, names the setting, and frees its other port."""
        other = free_address()
        async with serving_http(sqlite_url) as first:
            with pytest.raises(StartError) as refusal:
                await start(settings(sqlite_url, listen=other, http_listen=first.http_address))
            assert str(refusal.value) == (
                f"REGISTRAR_HTTP_LISTEN={first.http_address}: the address is taken or is not this machine's. A second"
                " server on this machine needs its own: choose another, or set it empty to serve no HTTP."
            )
            assert is_free(other)

    async def test_port_of_grpc(self, sqlite_url: str) -> None:
        """If the port of gRPC is taken, the port of HTTP is free again."""
        other = free_address()
        async with serving(sqlite_url) as first:
            with pytest.raises(StartError, match="REGISTRAR_LISTEN="):
                await start(settings(sqlite_url, listen=first.address, http_listen=other))
            assert is_free(other)

    async def test_one_of_several_addresses(self, sqlite_url: str) -> None:
        """A port that is taken on one address of a name is taken."""
        async with serving_http(sqlite_url) as first:
            port = first.http_address.rpartition(":")[2]
            with pytest.raises(StartError, match=f"REGISTRAR_HTTP_LISTEN=localhost:{port}"):
                await start(settings(sqlite_url, http_listen=f"localhost:{port}"))


class TestTls:
    """HTTPS, with the files of gRPC."""

    @pytest.fixture
    def files(self, certificates: Certificates) -> dict[str, Any]:
        """The settings of a server with TLS."""
        return {"tls_cert_file": certificates.server, "tls_key_file": certificates.server_key}

    @pytest.fixture
    def trusting(self, certificates: Certificates) -> ssl.SSLContext:
        """How a client trusts the server."""
        return ssl.create_default_context(cafile=str(certificates.authority))

    async def test_https(self, sqlite_url: str, files: dict[str, Any], trusting: ssl.SSLContext, log: Log) -> None:
        """With a certificate and a key, the server serves HTTPS on any address without a warning, as HTTP/1.1."""
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        async with (
            serving_http(
                sqlite_url, http_listen="0.0.0.0:0", http_hosts=("x",), identity="required", **files
            ) as server,
            connected(server, host="127.0.0.1", tls=trusting) as client,
        ):
            assert (await client.ask(GET)).status == 200
            assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert not log.of("serving_without_tls")

    async def test_plain_client(self, sqlite_url: str, files: dict[str, Any]) -> None:
        """A client without TLS gets nothing."""
        async with serving_http(sqlite_url, **files) as server, connected(server) as client:
            await client.send(GET)
            assert b"HTTP" not in await client.rest()

    async def test_broken_request(self, sqlite_url: str, files: dict[str, Any], trusting: ssl.SSLContext) -> None:
        """A broken request is refused over TLS too, and the connection closes."""
        async with serving_http(sqlite_url, **files) as server, connected(server, tls=trusting) as client:
            assert (await client.ask(b"hello\r\n\r\n")).reason == "MALFORMED_HTTP"

    async def test_old_protocol(self, sqlite_url: str, files: dict[str, Any], trusting: ssl.SSLContext) -> None:
        """A client that knows no newer protocol than TLS 1.1 is refused."""
        trusting.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
        async with serving_http(sqlite_url, **files) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(server, tls=trusting):
                    pass

    async def test_client_certificates(
        self, sqlite_url: str, files: dict[str, Any], certificates: Certificates, trusting: ssl.SSLContext
    ) -> None:
        """With a client authority, the server accepts only clients with its certificates."""
        async with serving_http(sqlite_url, tls_client_ca_file=certificates.authority, **files) as server:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                async with connected(server, tls=trusting) as stranger:
                    await stranger.ask(GET)
            trusting.load_cert_chain(certificates.client, certificates.client_key)
            async with connected(server, tls=trusting) as known:
                assert (await known.ask(GET)).status == 200

    async def test_slow_handshake(self, sqlite_url: str, files: dict[str, Any]) -> None:
        """A client that does not finish the handshake in time is cut off."""
        async with (
            serving_http(sqlite_url, patient(handshake=0.2), **files) as server,
            connected(server) as client,
        ):
            assert await client.rest() == b""

    @pytest.mark.parametrize("wrong", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
    async def test_invalid_files(self, sqlite_url: str, files: dict[str, Any], tmp_path: Path, wrong: str) -> None:
        """The error names the file that does not contain a certificate or key."""
        junk = tmp_path / "junk.pem"
        junk.write_text("-----BEGIN NONSENSE-----\n")
        with pytest.raises(StartError, match=f"REGISTRAR_{wrong.upper()}"):
            await start(settings(sqlite_url, http_listen="127.0.0.1:0", **{**files, wrong: junk}))


async def test_both_ports_reach_the_same_data(database_url: str) -> None:
    """A student that is created over HTTP is found over gRPC."""
    async with serving_http(database_url) as server, connected(server) as client, calling(server.address) as registrar:
        body = b'{"student_id": "s-1"}'
        head = b"POST /v1/students HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = await client.ask(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer.status == 200
        found = await registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))
        assert found.student.student_id == "s-1"
