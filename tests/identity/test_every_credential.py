"""Every RPC with the keys and the tokens of each role: right ones, expired ones, revoked ones and wrong ones."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from registrar_server.identity.callers import Role
from tests.support import api_keys
from tests.support.api_keys import id_of
from tests.support.doors import DOORS, ROWS, Door, entering
from tests.support.role_table import ALLOWED, request
from tests.support.tokens import Issuer

ROLES = {"reader": "reader", "registrar": "registrar", "admin": "admin", "student": "student:s-1"}
"""The roles of tokens, with the callers of the table of roles who may do the same. The student is s-1."""
KEY_ROLES = ("reader", "registrar", "admin")
ISSUER, OTHER = Issuer(), Issuer("other")


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """A server that takes keys and tokens, over gRPC and over HTTP."""
    keys = ISSUER.write_keys(tmp_path / "keys.json")
    async with entering(request.param, database_url, identity="auto", **ISSUER.settings(keys)) as opened:
        yield opened


async def admitted(door: Door, bearer: str) -> set[str]:
    """Return the RPCs that a bearer may call; every other one is refused for the role."""
    found = set()
    for name in ROWS:
        answered = await door.way.send(name, request(name), [("authorization", f"Bearer {bearer}")])
        assert not answered.reason.startswith("CREDENTIALS_"), name
        if answered.reason != "ROLE_REQUIRED":
            found.add(name)
    return found


async def assert_refused(door: Door, bearer: str) -> None:
    """Check that no RPC can be called with a bearer, and that all refusals are the same."""
    for name in ROWS:
        answered = await door.way.send(name, request(name), [("authorization", f"Bearer {bearer}")])
        assert (answered.status.code, answered.reason) == (16, "CREDENTIALS_INVALID"), name


@pytest.mark.parametrize("role", KEY_ROLES)
async def test_a_key(door: Door, database_url: str, role: str) -> None:
    assert await admitted(door, api_keys.add(database_url, role=Role(role))) == ALLOWED[role]


@pytest.mark.parametrize("role", KEY_ROLES)
async def test_a_key_that_no_longer_counts(door: Door, database_url: str, role: str) -> None:
    """It is expired, revoked, or has another secret than the one that was made."""
    expired = api_keys.add(database_url, "expired", Role(role), lifetime=-1)
    revoked, right = api_keys.add(database_url, "revoked", Role(role)), api_keys.add(database_url, "right", Role(role))
    api_keys.revoke(database_url, id_of(revoked))
    for key in (expired, revoked, f"{right[:-1]}{'0' if right[-1] != '0' else '1'}"):
        await assert_refused(door, key)
    assert await admitted(door, right) == ALLOWED[role]


@pytest.mark.parametrize("role", ROLES)
async def test_a_token(door: Door, role: str) -> None:
    token = ISSUER.token(sub="ada", roles=[role], student_id="s-1")
    assert await admitted(door, token) == ALLOWED[ROLES[role]]


@pytest.mark.parametrize("role", ROLES)
async def test_a_token_that_does_not_count(door: Door, role: str) -> None:
    """It is expired, not yet valid, or of another issuer."""
    now = int(time.time())
    claims: dict[str, Any] = {"sub": "ada", "roles": [role], "student_id": "s-1"}
    await assert_refused(door, ISSUER.token(**claims, exp=now - 1))
    await assert_refused(door, ISSUER.token(**claims, nbf=now + 600))
    await assert_refused(door, OTHER.token(**claims))


async def test_a_token_of_a_key_that_was_removed(database_url: str, tmp_path: Path) -> None:
    """The token was accepted before, and is refused as soon as the server has read the new keys."""
    keys = ISSUER.write_keys(tmp_path / "keys.json")
    token = ISSUER.token(sub="ada", roles=["admin"])
    async with entering("grpc", database_url, **ISSUER.settings(keys)) as door:
        assert await admitted(door, token) == ALLOWED["admin"]
        OTHER.write_keys(keys)
        await door.server.reload()
        await assert_refused(door, token)
