"""Every RPC with the certificates of each role, alone and beside bearers. Over HTTP a certificate gives nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc.aio import secure_channel

from registrar_server.app import Server
from registrar_server.identity.callers import Role
from tests.support import api_keys
from tests.support.certificates import Authority
from tests.support.doors import ROWS, Door, over_grpc
from tests.support.role_table import ALLOWED, request
from tests.support.servers import OPTIONS, Log, serving

AUTHORITY = Authority()
SANS = {"reader": "IP:2001:db8::1", "registrar": "email:registrar@example.edu", "admin": "DNS:admin.example.edu"}
"""The certificate of each role, by names of the kinds that no other test sends."""
STRANGER = "DNS:stranger.example.edu"


@pytest.fixture
async def server(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that knows a client of each role by its certificate."""
    files = {name: tmp_path / name for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "cert_roles")}
    AUTHORITY.issue("DNS:localhost", "IP:127.0.0.1").write(files["tls_cert_file"], files["tls_key_file"])
    files["tls_client_ca_file"].write_bytes(AUTHORITY.pem)
    entries = (
        f'[[certificates]]\nsan = "{san}"\nname = "the-{role}"\nroles = ["{role}"]\n' for role, san in SANS.items()
    )
    files["cert_roles"].write_text("".join(entries))
    settings: dict[str, Any] = {**files}
    async with serving(sqlite_url, **settings) as server:
        yield server


@contextlib.asynccontextmanager
async def entering_with(server: Server, san: str) -> AsyncIterator[Door]:
    """Open a connection with the certificate of this name."""
    async with secure_channel(server.address, AUTHORITY.as_client(AUTHORITY.issue(san)), OPTIONS) as channel:
        yield over_grpc(channel, server)


async def admitted(door: Door, bearer: str = "") -> set[str]:
    """Return the RPCs that a caller may call; every other one is refused for the role."""
    headers = [("authorization", f"Bearer {bearer}")] if bearer else []
    answers = {name: await door.way.send(name, request(name), headers) for name in ROWS}
    assert not [name for name, answered in answers.items() if answered.reason.startswith("CREDENTIALS_")]
    return {name for name, answered in answers.items() if answered.reason != "ROLE_REQUIRED"}


@pytest.mark.parametrize("role", SANS)
async def test_a_certificate(server: Server, role: str, log: Log) -> None:
    async with entering_with(server, SANS[role]) as door:
        assert await admitted(door) == ALLOWED[role]
        for name in ROWS:
            assert (await log.one("rpc", method=name))["actor"] == f"cert:the-{role}"


async def test_a_certificate_without_an_entry(server: Server) -> None:
    async with entering_with(server, STRANGER) as door:
        for name in ROWS:
            answered = await door.way.send(name, request(name), [])
            assert (answered.status.code, answered.reason) == (16, "CREDENTIALS_INVALID"), name


@pytest.mark.parametrize("san", [SANS["admin"], SANS["reader"], STRANGER])
async def test_a_bearer_beside_a_certificate_decides_alone(server: Server, sqlite_url: str, san: str, log: Log) -> None:
    """The caller has neither more nor less than the rights of the key, and only the name of the key."""
    key = api_keys.add(sqlite_url, role=Role.REGISTRAR)
    async with entering_with(server, san) as door:
        assert await admitted(door, key) == ALLOWED["registrar"]
        for name in ROWS:
            assert (await log.one("rpc", method=name))["actor"] == "key:sis-sync"
