"""API keys that a later version of Registrar has made in the same database, with what this version does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode
from sqlalchemy import NullPool, create_engine, text

from registrar.v1.student_service_pb2 import GetStudentRequest
from registrar_server.identity.api_keys import ApiKeys
from registrar_server.identity.callers import Caller, Permission
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.storage.database import Database
from tests.support.api_keys import ACCEPTED, add, answer_to, bearer, id_of
from tests.support.databases import execute
from tests.support.refusals import refused
from tests.support.servers import Log, calling, serving
from tests.support.shell import Shell

_WITHOUT_CONSTRAINT = {
    "sqlite": "PRAGMA ignore_check_constraints = ON",
    "postgresql": "ALTER TABLE api_keys DROP CONSTRAINT ck_api_keys_role",
}


def add_warden(database_url: str) -> str:
    """Make a key with a role that only a later version knows."""
    key = add(database_url, "rooms")
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(_WITHOUT_CONSTRAINT[engine.dialect.name]))
        connection.execute(text("UPDATE api_keys SET role = 'warden' WHERE name = 'rooms'"))
    return key


@pytest.fixture
async def source(database: Database) -> AsyncIterator[ApiKeys]:
    """The keys of a database."""
    source = ApiKeys(database)
    yield source
    await source.close()


async def test_a_key_with_an_unknown_role_is_refused_and_the_log_says_why(database_url: str, log: Log) -> None:
    key = add_warden(database_url)
    async with serving(database_url) as server, calling(server.address) as registrar:
        call = registrar.students.GetStudent(GetStudentRequest(student_id="nobody"), metadata=bearer(key))
        failure = await refused(call)
        assert (failure.code, failure.reason) == (StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        assert await answer_to(registrar, add(database_url)) == ACCEPTED
    causes = [line["cause"] for line in log.of("rpc") if "cause" in line]
    assert causes == [f"the key rooms with the id {id_of(key)} has the role warden, which this version does not know"]


async def test_keys_in_the_same_look_up_are_let_in(database_url: str, source: ApiKeys) -> None:
    keys = [add_warden(database_url), add(database_url)]
    warden, admin = await asyncio.gather(*(source.verify(key, 0.0) for key in keys))
    assert isinstance(warden.caller, CredentialsRefused)
    assert isinstance(admin.caller, Caller)


def test_the_list_shows_an_unknown_role_as_it_is_stored(database_url: str, tmp_path: Path) -> None:
    add_warden(database_url)
    add(database_url)
    listed = Shell(tmp_path, database_url).run("keys", "list")
    assert listed.returncode == 0
    assert [line.split()[::2][:2] for line in listed.stdout.splitlines()[1:]] == [
        ["rooms", "warden"],
        ["sis-sync", "admin"],
    ]


async def test_an_unknown_permission_is_ignored(database_url: str, source: ApiKeys) -> None:
    key = add(database_url)
    execute(database_url, """UPDATE api_keys SET permissions = '["fly", "override"]'""")
    caller = (await source.verify(key, 0.0)).caller
    assert isinstance(caller, Caller)
    assert caller.permissions == {Permission.OVERRIDE}
