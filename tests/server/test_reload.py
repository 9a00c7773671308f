"""Files that are read again while the server runs: certificates and the log level, when they change and on SIGHUP.

``tests/identity/test_certificates.py`` has the roles of certificates, ``tests/server/test_watched_files.py`` what
counts as a change.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Channel, secure_channel

from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar_server.app import Server
from registrar_server.rpc.tls_files import TlsFiles
from tests.support.certificates import Authority, Pair
from tests.support.raw_connections import GET, connected, serving_http
from tests.support.servers import OPTIONS, Log, Registrar, calling, over, server_process

LOCALHOST = ("DNS:localhost", "IP:127.0.0.1")


class Files:
    """The TLS files of a server, of an authority that signs its certificate, and how clients reach the server."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "server.pem"
        self.key = folder / "server-key.pem"
        self.authority = Authority()
        self.authority.issue(*LOCALHOST).write(self.certificate, self.key)
        self.settings: dict[str, Any] = {"tls_cert_file": self.certificate, "tls_key_file": self.key}

    def renew(self) -> None:
        """Replace the certificate and its authority, so that clients who trust only the old one cannot connect."""
        self.authority = Authority()
        self.authority.issue(*LOCALHOST).write(self.certificate, self.key)

    def channel(self, server: Server, authority: Authority, pair: Pair | None = None) -> Channel:
        """Return a connection of its own for gRPC."""
        return secure_channel(server.address, authority.as_client(pair), OPTIONS)

    def context(self, authority: Authority) -> ssl.SSLContext:
        """Return how a client of HTTP trusts an authority."""
        return ssl.create_default_context(cadata=authority.pem.decode())

    async def is_served(self, server: Server, authority: Authority) -> tuple[bool, bool]:
        """Return whether new clients that trust only an authority can connect, over gRPC and over HTTP."""
        async with self.channel(server, authority) as channel:
            over_grpc = await reaches(channel)
        try:
            async with connected(server, tls=self.context(authority)) as client:
                over_http = (await client.ask(GET)).status == 200
        except (ssl.SSLError, ConnectionError):
            over_http = False
        return over_grpc, over_http


async def reaches(channel: Channel) -> bool:
    """Return whether a call over a connection reaches the server."""
    try:
        await over(channel).courses.SearchCourses(SearchCoursesRequest())
    except AioRpcError as error:
        return error.code() is not StatusCode.UNAVAILABLE
    return True


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
async def server(sqlite_url: str, files: Files, log: Log) -> AsyncIterator[Server]:
    async with serving_http(sqlite_url, **files.settings) as server:
        yield server


async def test_the_next_handshakes_have_a_renewed_certificate(server: Server, files: Files, log: Log) -> None:
    """Connections of gRPC and of HTTP go on, and the log says what was read."""
    old = files.authority
    async with files.channel(server, old) as channel, connected(server, tls=files.context(old)) as client:
        await over(channel).add_course("c-1")
        await client.ask(GET)
        for renewals in range(1, 4):
            files.renew()
            await server.reload()
            assert await files.is_served(server, files.authority) == (True, True)
            assert await files.is_served(server, old) == (False, False)
            assert len(log.of("files_read_again", read="certificates", level="info")) == renewals
        await over(channel).add_course("c-2")
        assert (await client.ask(GET)).status == 200


class Damage(NamedTuple):
    """A fault of TLS files, and the variable that the log names."""

    inflict: Callable[[Files], object]
    variable: str


DAMAGES = {
    "no certificate": Damage(lambda files: files.certificate.unlink(), "server.pem"),
    "no key": Damage(lambda files: files.key.unlink(), "server-key.pem"),
    "an empty certificate": Damage(lambda files: files.certificate.write_bytes(b""), "REGISTRAR_TLS_CERT_FILE"),
    "half a certificate": Damage(lambda files: os.truncate(files.certificate, 300), "REGISTRAR_TLS_CERT_FILE"),
    "half a key": Damage(lambda files: os.truncate(files.key, 100), "REGISTRAR_TLS_KEY_FILE"),
    "a key of another certificate": Damage(
        lambda files: files.key.write_bytes(Authority().issue("DNS:localhost").key), "REGISTRAR_TLS_KEY_FILE"
    ),
    "a certificate of another key": Damage(
        lambda files: files.certificate.write_bytes(files.authority.issue(*LOCALHOST).certificate),
        "REGISTRAR_TLS_CERT_FILE",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_broken_file_keeps_the_old_certificate(server: Server, files: Files, damage: str, log: Log) -> None:
    """The log warns and contains no key. A repaired pair is served."""
    old = files.authority
    DAMAGES[damage].inflict(files)
    await server.reload()
    assert await files.is_served(server, old) == (True, True)
    (line,) = log.of("files_read_again", level="warning", read="")
    assert line["failed"].startswith("certificates: ")
    assert DAMAGES[damage].variable in line["failed"]
    assert "PRIVATE" not in str(log.lines)
    files.renew()
    await server.reload()
    assert await files.is_served(server, files.authority) == (True, True)


async def test_files_that_change_while_they_are_read_keep_the_old_certificate(
    server: Server, files: Files, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise gRPC and HTTP could serve different ones. The log warns, and the next reading takes the new pair."""
    old, read = files.authority, TlsFiles._context

    def renew_first(tls: TlsFiles) -> ssl.SSLContext:
        files.renew()
        return read(tls)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(TlsFiles, "_context", renew_first)
        await server.reload()
    assert await files.is_served(server, old) == (True, True)
    (line,) = log.of("files_read_again", level="warning", read="")
    assert line["failed"] == "certificates: the TLS files changed while they were read"
    await server.reload()
    assert await files.is_served(server, files.authority) == (True, True)


async def test_a_new_authority_of_clients_counts_for_the_next_handshakes(sqlite_url: str, tmp_path: Path) -> None:
    """Both listeners refuse the clients of the old one."""
    files, clients = Files(tmp_path), [Authority(), Authority()]
    file = tmp_path / "authority.pem"
    file.write_bytes(clients[0].pem)
    async with serving_http(sqlite_url, tls_client_ca_file=file, **files.settings) as server:
        assert await self_and_other(server, files, clients, tmp_path) == [(True, True), (False, False)]
        file.write_bytes(clients[1].pem)
        await server.reload()
        assert await self_and_other(server, files, clients, tmp_path) == [(False, False), (True, True)]


async def self_and_other(
    server: Server, files: Files, clients: list[Authority], folder: Path
) -> list[tuple[bool, bool]]:
    """Return whether clients with certificates of these authorities can call, over gRPC and over HTTP."""
    found = []
    for authority in clients:
        pair = authority.issue("DNS:client.example")
        pair.write(folder / "client.pem", folder / "client-key.pem")
        async with files.channel(server, files.authority, pair) as channel:
            over_grpc = await reaches(channel)
        context = files.context(files.authority)
        context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
        try:
            async with connected(server, tls=context) as client:
                over_http = (await client.ask(GET)).status == 200
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            over_http = False
        found.append((over_grpc, over_http))
    return found


async def test_a_process_reads_what_changes_and_what_sighup_asks_for(sqlite_url: str, tmp_path: Path) -> None:
    """It notices a new log level by itself. SIGHUP reads everything and keeps the process and its connections."""
    Files(tmp_path)
    tls = {"TLS_CERT_FILE": str(tmp_path / "server.pem"), "TLS_KEY_FILE": str(tmp_path / "server-key.pem")}
    async with server_process(sqlite_url, tmp_path, **tls) as process:
        await process.address()
        (tmp_path / ".env").write_text("REGISTRAR_LOG_LEVEL=warning\nREGISTRAR_READ_LANES=5\n")
        restart = await process.logged("settings_need_restart")
        assert restart["names"] == "read_lanes"
        (tmp_path / ".env").write_text("REGISTRAR_LOG_LEVEL=loud\n")
        broken = await process.logged("files_read_again", lambda line: line["level"] == "warning")
        assert broken["failed"].startswith("log_level: REGISTRAR_LOG_LEVEL=loud: ")
        (tmp_path / ".env").unlink()
        process.signal(signal.SIGHUP)
        line = await process.logged("files_read_again", lambda line: "certificates" in line["read"])
        assert (line["level"], line["read"]) == ("info", "certificates, log_level")
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not process.others
    assert "PRIVATE" not in str(process.lines)


async def test_loggers_in_use_follow_the_level(sqlite_url: str, tmp_path: Path) -> None:
    """The lines of calls stop and come back, also on a connection that stays open."""
    async with server_process(sqlite_url, tmp_path) as process, calling(await process.address()) as registrar:
        await registrar.add_course("c-1")
        await levelled(process, registrar, tmp_path, "warning", "c-2")
        await levelled(process, registrar, tmp_path, "debug", "c-3")
        process.signal(signal.SIGTERM)
        await process.wait()
    assert [line["course_id"] for line in process.lines if line["event"] == "rpc"] == ["c-1", "c-3"]


async def levelled(process: Any, registrar: Registrar, folder: Path, level: str, course_id: str) -> None:
    """Change the level with a setting that needs a restart, which is a warning at each level, and make a course."""
    (folder / ".env").write_text(f"REGISTRAR_LOG_LEVEL={level}\nREGISTRAR_SLOW_CALL=60s\n")
    seen = len(process.lines)
    process.signal(signal.SIGHUP)
    await process.logged("settings_need_restart", lambda line: line in process.lines[seen:])
    await registrar.add_course(course_id)


async def test_the_environment_and_flags_decide_before_the_file(sqlite_url: str, tmp_path: Path) -> None:
    """The file may change; the level that the environment says stays."""
    async with server_process(sqlite_url, tmp_path, LOG_LEVEL="info") as process:
        async with calling(await process.address()) as registrar:
            (tmp_path / ".env").write_text("REGISTRAR_LOG_LEVEL=error\n")
            process.signal(signal.SIGHUP)
            await process.logged("files_read_again")
            await registrar.add_course("c-1")
        process.signal(signal.SIGTERM)
        await process.wait()
    assert [line["course_id"] for line in process.lines if line["event"] == "rpc"] == ["c-1"]


async def test_under_nohup_sighup_stays_ignored(sqlite_url: str, tmp_path: Path) -> None:
    """The server neither stops nor reads anything."""
    async with server_process(sqlite_url, tmp_path, below=("nohup",)) as process:
        await process.address()
        process.signal(signal.SIGHUP)
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not [line for line in process.lines if line["event"] == "files_read_again"]
