"""The refusals of callers: unknown ones, and those that may not do what they ask for."""

from __future__ import annotations

from collections.abc import Mapping

from registrar_server.errors import Reason, Refusal
from registrar_server.identity.callers import Permission, Role

_MESSAGES: Mapping[Role | Permission, str] = {
    Permission.OVERRIDE: "The caller may not set rules aside: that needs the permission override.",
    Permission.ON_BEHALF_OF: "The caller may not act on behalf of others: that needs the permission on_behalf_of.",
}


class CredentialsRefused(Refusal):
    """The credentials of a call are wrong. All callers get the same answer; ``cause`` says to the log what is wrong."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            Reason.CREDENTIALS_INVALID, "The server does not accept these credentials; they may have expired."
        )
        self.cause = cause


def credentials_missing() -> Refusal:
    """Return the refusal of a call without credentials."""
    return Refusal(
        Reason.CREDENTIALS_MISSING,
        "The server identifies its callers: send a key or a token as `authorization: Bearer`.",
    )


def role_required(needed: Role | Permission, message: str = "") -> Refusal:
    """Return the refusal of a caller who lacks a role or a permission."""
    message = message or _MESSAGES.get(needed, f"The caller may not do this: that needs the role {needed}.")
    return Refusal(Reason.ROLE_REQUIRED, message, role=needed.value)
