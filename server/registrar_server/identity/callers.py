"""Callers: their names in the history, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """A role. An admin has the rights of a registrar too, and a registrar those of a reader."""

    STUDENT = "student"
    READER = "reader"
    REGISTRAR = "registrar"
    ADMIN = "admin"


class Permission(StrEnum):
    """A right that no role has by itself."""

    OVERRIDE = "override"
    ON_BEHALF_OF = "on_behalf_of"


_STAFF = (Role.READER, Role.REGISTRAR, Role.ADMIN)
"""Each of these roles has the rights of those before it."""


class Caller(NamedTuple):
    """Whoever makes a call."""

    actor: str
    """The name in the history, such as ``key:sis-sync``; empty if the server does not identify callers."""
    roles: frozenset[Role]
    """The roles, with those that they contain."""
    permissions: frozenset[Permission] = frozenset()
    student_id: str = ""
    """The student whom a caller with the role ``student`` is."""
    on_behalf_of: str = ""
    """The person for whom the caller makes this call."""


def with_contained(roles: Iterable[Role]) -> frozenset[Role]:
    """Return roles with those that they contain."""
    given = frozenset(roles)
    highest = max((_STAFF.index(role) for role in given if role in _STAFF), default=-1)
    return given | frozenset(_STAFF[: highest + 1])


ANYONE = Caller("", with_contained([Role.ADMIN]), frozenset(Permission))
"""The caller of every call if the server does not identify callers."""
