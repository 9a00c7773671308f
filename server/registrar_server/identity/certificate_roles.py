"""The callers that a TOML file names by the certificates of clients (``REGISTRAR_CERT_ROLES``)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.identity.credentials import MAX_NAME_CHARACTERS
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.settings import SettingsError
from registrar_server.watched_files import Watched

KINDS = ("DNS", "URI", "IP", "email")
"""The kinds of subject alternative names, as OpenSSL writes them in ``subjectAltName``."""

_VARIABLE = "REGISTRAR_CERT_ROLES"
_GIVEN_ROLES = (Role.READER, Role.REGISTRAR, Role.ADMIN)
"""Students come with tokens, which have their ids."""
_KEYS = frozenset({"san", "name", "roles", "override", "on_behalf_of"})
_VISIBLE = re.compile(r"[!-~]+")


class _EntryError(Exception):
    """An entry is invalid; the message says what is wrong with it."""


class CertificateRoles:
    """The entries of a file. Raises ``SettingsError`` if the file is invalid."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._callers: Mapping[str, Caller] = {}
        self.watched = Watched("certificate_roles", [file], self.read)
        self.read()

    def read(self) -> None:
        """Read the file again. If it is invalid, raise ``SettingsError`` and keep the entries."""
        try:
            self._callers = _callers(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, _EntryError) as error:  # Broken TOML and broken UTF-8 are ValueErrors.
            raise SettingsError(f"{_VARIABLE}={self._file}: {error}") from error

    def caller(self, names: Sequence[str]) -> Caller:
        """Return the caller that the file names by one of the names in a certificate.

        Raises CREDENTIALS_INVALID unless exactly one entry fits.
        """
        callers = self._callers
        found = {name for name in map(canonical, names) if name in callers}
        if len(found) == 1:
            return callers[found.pop()]
        if found:
            raise CredentialsRefused(f"several entries of {_VARIABLE} fit the certificate: {', '.join(sorted(found))}")
        if names:
            raise CredentialsRefused(f"no entry of {_VARIABLE} fits the certificate: {', '.join(names)}")
        raise CredentialsRefused("the certificate has no subject alternative name of the kinds " + ", ".join(KINDS))


def canonical(name: str) -> str:
    """Return a subject alternative name as it is compared: the case of a host does not matter."""
    return f"DNS:{name[4:].lower()}" if name.startswith("DNS:") else name


class _Entry(NamedTuple):
    san: str
    caller: Caller


def _callers(text: str) -> Mapping[str, Caller]:
    """Return the callers of a file by the names of their certificates."""
    document = tomllib.loads(text)
    entries = document.pop("certificates", None)
    if document or not isinstance(entries, list):  # An empty file is more likely a mistake than the wish to revoke all.
        raise _EntryError("must consist of tables [[certificates]], or of `certificates = []` if nobody has a role")
    callers: dict[str, Caller] = {}
    for number, fields in enumerate(entries, start=1):
        try:
            san, caller = _entry(fields)
            if san in callers:
                raise _EntryError(f"san: {san} has an entry already")
        except _EntryError as error:
            raise _EntryError(f"entry {number}: {error}") from error
        callers[san] = caller
    return callers


def _entry(fields: Any) -> _Entry:
    if not isinstance(fields, dict):
        raise _EntryError("must be a table")
    if unknown := sorted(fields.keys() - _KEYS):
        raise _EntryError(f"{', '.join(unknown)}: unknown; an entry has {', '.join(sorted(_KEYS))}")
    san = _san(fields.get("san"))
    name = fields.get("name", san.partition(":")[2])
    if not isinstance(name, str) or not _VISIBLE.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
        raise _EntryError(f"name: must be visible ASCII characters, at most {MAX_NAME_CHARACTERS}")
    return _Entry(san, Caller(f"cert:{name}", _roles(fields.get("roles")), frozenset(_permissions(fields))))


def _san(value: Any) -> str:
    """Return a full subject alternative name as it is compared."""
    kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in KINDS or not _VISIBLE.fullmatch(name):
        raise _EntryError(
            'san: must be a subject alternative name with its kind, such as "DNS:sis.example.edu",'
            ' "URI:spiffe://campus/sis", "IP:10.0.0.1" or "email:sis@example.edu"'
        )
    if kind == "DNS" and "*" in name:
        raise _EntryError("san: must be a full name, without *")
    if kind == "IP":
        try:
            return f"IP:{ip_address(name)}"
        except ValueError:
            raise _EntryError(f"san: {name} is not an IP address") from None
    return canonical(value)


def _roles(values: Any) -> frozenset[Role]:
    known = [role.value for role in _GIVEN_ROLES]
    if not isinstance(values, list) or not values or any(value not in known for value in values):
        raise _EntryError(f"roles: must be a list of {', '.join(known)}; students need tokens")
    return with_contained(map(Role, values))


def _permissions(fields: Mapping[str, Any]) -> Iterator[Permission]:
    for permission in Permission:
        granted = fields.get(permission.value, False)
        if not isinstance(granted, bool):
            raise _EntryError(f"{permission.value}: must be true or false")
        if granted:
            yield permission
