"""API keys for tests, and calls that present them."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
import pytest

from registrar.v1.student_service_pb2 import GetStudentRequest
from registrar_server.identity.callers import Permission, Role
from registrar_server.identity.key_format import KnownKey, make_key
from registrar_server.identity.key_store import add_key, revoke_keys
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.storage.database import Database
from tests.support.refusals import Failure
from tests.support.servers import Registrar

ACCEPTED = "STUDENT_NOT_FOUND"
"""The answer to a caller who is accepted, in ``answer_to``."""


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def add(
    database_url: str,
    name: str = "sis-sync",
    role: Role = Role.ADMIN,
    permissions: Iterable[Permission] = (),
    *,
    lifetime: int | None = None,
) -> str:
    """Make a key as the command does, and return it; ``lifetime`` is in microseconds."""
    key, presented = make_key()
    now = microseconds_now()
    expires = None if lifetime is None else now + lifetime
    known = KnownKey(
        presented.key_id, name, role.value, frozenset(permissions), presented.secret_hash, now, expire_time=expires
    )
    database = Database(database_url)
    add_key(database, known)
    database.close()
    return key


def revoke(database_url: str, named: str) -> None:
    """Revoke the key with this id, or the keys of this name, as the command does."""
    database = Database(database_url)
    assert revoke_keys(database, named, microseconds_now())
    database.close()


def id_of(key: str) -> str:
    """Return the id in a key."""
    return key.split("_")[1]


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with a key."""
    return (("authorization", f"Bearer {key}"),)


async def answer_to(registrar: Registrar, key: str | None = None) -> str:
    """Ask for a student who does not exist, with a key, and return the reason of the refusal."""
    call = registrar.students.GetStudent(GetStudentRequest(student_id="nobody"), metadata=bearer(key) if key else None)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return Failure.read(refused.value).reason
