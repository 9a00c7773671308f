"""The API keys in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, insert, or_, select, update

from registrar_server.identity.callers import Permission
from registrar_server.identity.key_format import KnownKey
from registrar_server.storage.database import Database
from registrar_server.storage.models import ApiKey

HOUR = 3_600_000_000
"""An hour in microseconds."""

_COLUMNS = tuple(getattr(ApiKey, name) for name in KnownKey._fields)
_KNOWN_PERMISSIONS = frozenset(Permission)


def add_key(database: Database, key: KnownKey) -> None:
    """Store a new key."""
    values = key._asdict() | {"permissions": sorted(key.permissions)}
    _write(database, insert(ApiKey).values(values))


def find_keys(database: Database, key_ids: Sequence[str]) -> Mapping[str, KnownKey]:
    """Return the keys with these ids, by their ids."""
    found = _keys(database, select(*_COLUMNS).where(ApiKey.key_id.in_(key_ids)), calls=len(key_ids))
    return {key.key_id: key for key in found}


def all_keys(database: Database) -> list[KnownKey]:
    """Return all keys, also the revoked ones, by name and time."""
    return list(_keys(database, select(*_COLUMNS).order_by(ApiKey.name, ApiKey.create_time)))


def has_keys(database: Database) -> bool:
    """Return whether a key was ever made."""
    return bool(database.rows(select(exists().select_from(ApiKey)))[0][0])


def revoke_keys(database: Database, named: str, now: int) -> int:
    """Revoke the key with this id, or all keys of this name, and return how many were not revoked before."""
    revoked = 0
    for column in (ApiKey.key_id, ApiKey.name):
        live = and_(column == named, ApiKey.revoke_time.is_(None))
        revoked = revoked or _write(database, update(ApiKey).where(live).values(revoke_time=now))
    return revoked


def note_use(database: Database, key_id: str, now: int) -> None:
    """Note that a key is used in this hour."""
    hour = now - now % HOUR
    earlier: ColumnElement[bool] = or_(ApiKey.last_use_time.is_(None), ApiKey.last_use_time < hour)
    _write(database, update(ApiKey).where(ApiKey.key_id == key_id, earlier).values(last_use_time=hour))


def _keys(database: Database, query: Select[*tuple[Any, ...]], *, calls: int = 1) -> Iterable[KnownKey]:
    for key_id, name, role, permissions, *others in database.rows(query, calls=calls):
        # A later version may know more permissions.
        known = frozenset(map(Permission, _KNOWN_PERMISSIONS.intersection(permissions)))
        yield KnownKey(key_id, name, role, known, *others)


def _write(database: Database, statement: Any) -> int:
    """Execute one statement, and return the number of rows that it changed."""
    with database.autocommit.begin() as connection:
        return int(connection.execute(statement).rowcount)
