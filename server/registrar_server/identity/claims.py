"""The claims of a verified token: who its caller is, and what the caller may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registrar_server.core import texts
from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.ids import match_id

MAX_SUB_CHARACTERS = 196
"""With its prefix, an actor has at most 200 characters, so that ListEvents can filter by it."""

_ROLES = frozenset(role.value for role in Role)
_PERMISSIONS = {
    "registrar_override": Permission.OVERRIDE,
    "registrar_on_behalf_of": Permission.ON_BEHALF_OF,
}


class ClaimFault(Exception):
    """A claim has no valid value; the message names the claim, but not its value."""


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """Return the caller whom claims describe. Raises ``ClaimFault``."""
    roles = _roles(claims.get("roles"))
    return Caller(
        actor=f"jwt:{_sub(claims.get('sub'))}",
        roles=with_contained(roles),
        permissions=frozenset(right for claim, right in _PERMISSIONS.items() if claims.get(claim) is True),
        student_id=_student_id(claims.get("student_id")) if Role.STUDENT in roles else "",
    )


def _sub(value: Any) -> str:
    """Return the subject, which becomes part of log lines and of the history."""
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_SUB_CHARACTERS and value.isprintable()
    if not is_text or value != texts.line(value) or texts.control(value) or texts.invisible(value):
        raise ClaimFault(f"sub is not a text of 1 to {MAX_SUB_CHARACTERS} visible characters")
    return str(value)


def _roles(value: Any) -> list[Role]:
    """Return the roles among others: identity providers list the roles of all services."""
    if value is None:
        return []
    listed = value.split() if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise ClaimFault("roles is neither a list nor a text")
    return [Role(name) for name in listed if isinstance(name, str) and name in _ROLES]


def _student_id(value: Any) -> str:
    """Return the id of the student; a student without one may do nothing."""
    if value is None:
        return ""
    if not isinstance(value, str) or not match_id(value):
        raise ClaimFault("student_id is not an id")
    return value
