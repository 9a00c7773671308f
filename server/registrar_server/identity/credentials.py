"""The credentials that a call carries, before anyone has checked them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.identity.callers import Caller, Permission
from registrar_server.identity.rejections import CredentialsRefused, role_required

AUTHORIZATION = "authorization"
ON_BEHALF_OF = "registrar-on-behalf-of"
MAX_NAME_CHARACTERS = 128

_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)
_NAME = re.compile(r"[!-~]+(?: +[!-~]+)*")


def no_names() -> Sequence[str] | None:
    """Return the names in the certificate of a caller without one."""
    return None


class Credentials(NamedTuple):
    """What a call says of its caller."""

    authorizations: Sequence[str] = ()
    """The values of ``authorization``."""
    on_behalf_of: Sequence[str] = ()
    """The values of ``registrar-on-behalf-of``."""
    certificate_names: Callable[[], Sequence[str] | None] = no_names
    """Returns the subject alternative names in the verified certificate of the client, such as ``DNS:a.example``, or
    None if it has no certificate."""

    def __repr__(self) -> str:
        """Return what may be shown: no secrets."""
        return f"Credentials({len(self.authorizations)} authorizations, on_behalf_of={self.on_behalf_of!r})"

    @property
    def bearer(self) -> str:
        """The bearer token, or an empty string if there is none. Raises CREDENTIALS_INVALID for anything else."""
        if not self.authorizations:
            return ""
        found = _BEARER.fullmatch(self.authorizations[0])
        if found is None or len(self.authorizations) > 1:
            raise CredentialsRefused("authorization is not one bearer token")
        return found[1]

    def on_behalf(self, caller: Caller) -> Caller:
        """Return the caller with the person for whom the call is made.

        Raises ROLE_REQUIRED if the caller may name nobody, and INVALID_FIELD if it is no name.
        """
        if not self.on_behalf_of:
            return caller
        if Permission.ON_BEHALF_OF not in caller.permissions:
            raise role_required(Permission.ON_BEHALF_OF)
        name = self.on_behalf_of[0]
        if len(self.on_behalf_of) > 1 or len(name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
            expected = f"must be one name of visible ASCII characters, at most {MAX_NAME_CHARACTERS}"
            raise invalid_fields([FieldViolation(ON_BEHALF_OF, expected)])
        return caller._replace(on_behalf_of=name)


def read_credentials(
    metadata: Iterable[tuple[str, str]], certificate_names: Callable[[], Sequence[str] | None] = no_names
) -> Credentials:
    """Return the credentials among headers, whose names are in lower case."""
    authorizations: list[str] = []
    on_behalf_of: list[str] = []
    for name, value in metadata:
        if name == AUTHORIZATION:
            authorizations.append(value)
        elif name == ON_BEHALF_OF:
            on_behalf_of.append(value)
    return Credentials(authorizations, on_behalf_of, certificate_names)
