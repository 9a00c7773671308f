"""API keys: how they are made, read and checked. The secret of a key is only in the key itself."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import NamedTuple

from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.storage.models import KEY_ROLES

PREFIX = "rk_"
ROLES = tuple(map(Role, KEY_ROLES))
"""The roles that a key may have."""

_ID_BYTES = 8
_SECRET_BYTES = 32
_KEY = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")
_ID = re.compile(rf"[0-9a-f]{{{2 * _ID_BYTES}}}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Presented(NamedTuple):
    """A key that a caller presents. It can be shown, since it has no secret."""

    key_id: str
    secret_hash: bytes


class KnownKey(NamedTuple):
    """A key as the database has it. Times are microseconds since 1970 UTC; None means never."""

    key_id: str
    name: str
    role: str
    """One of ``ROLES``, or a role of a later version."""
    permissions: frozenset[Permission]
    secret_hash: bytes
    create_time: int
    expire_time: int | None = None
    last_use_time: int | None = None
    revoke_time: int | None = None

    @property
    def caller(self) -> Caller:
        """The caller whom the key stands for, if this version knows the role."""
        return Caller(f"key:{self.name}", with_contained([Role(self.role)]), self.permissions)

    def is_expired(self, now: int) -> bool:
        """Return whether the key has expired."""
        return self.expire_time is not None and self.expire_time <= now


def make_key() -> tuple[str, Presented]:
    """Return a new key, which nobody can read from the database later, and what the database keeps of it."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    return f"{PREFIX}{key_id}_{secret}", Presented(key_id, _hash(secret))


def read_key(bearer: str) -> Presented | None:
    """Return the key in a bearer, or None if it has not the form of a key."""
    found = _KEY.fullmatch(bearer)
    return Presented(found[1], _hash(found[2])) if found else None


def caller_of(presented: Presented, known: KnownKey | None, now: int) -> Caller | CredentialsRefused:
    """Return the caller of a key, or why it is refused; ``known`` is the key with its id in the database."""
    if known is None:
        return CredentialsRefused(f"no key has the id {presented.key_id}")
    named = f"the key {known.name} with the id {known.key_id}"
    if not hmac.compare_digest(presented.secret_hash, known.secret_hash):
        return CredentialsRefused(f"{named} has another secret")
    if known.revoke_time is not None:
        return CredentialsRefused(f"{named} is revoked")
    if known.is_expired(now):
        return CredentialsRefused(f"{named} has expired")
    if known.role not in ROLES:
        return CredentialsRefused(f"{named} has the role {known.role}, which this version does not know")
    return known.caller


def check_key_name(name: str) -> str:
    """Return a name for a key. Raises ValueError if it is none."""
    if not _NAME.fullmatch(name):
        raise ValueError("must have 1 to 64 characters of a-z, 0-9, dot, dash and underscore, the first of a-z or 0-9")
    if _ID.fullmatch(name):
        raise ValueError("must not look like the id of a key")
    return name


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
