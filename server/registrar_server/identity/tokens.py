"""Tokens of an identity provider (JWT, RFC 7519): checks them, and finds the callers that they name.

Nothing in a token says where its key is: ``jku``, ``x5u``, ``jwk`` and ``x5c`` are ignored.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jwt

from registrar_server.errors import Reason, Refusal
from registrar_server.identity.claims import ClaimFault, caller_of
from registrar_server.identity.identity import Verified
from registrar_server.identity.key_format import PREFIX
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.identity.strict_json import NotStrictJson, read_object
from registrar_server.identity.trusted_keys import TrustedKeys

MAX_CHARACTERS = 8192
LEEWAY_S = 30.0
"""How far the clock of the identity provider may be ahead. A token that has expired gets no leeway."""
MAX_REMEMBERED_S = 3600.0
"""How long a verified token may be remembered, if it does not expire earlier."""

_REQUIRED = ("iss", "aud", "sub", "exp")
_MAX_TIME = 2**53
_THREE_PARTS = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_FAULTS: Mapping[type[Exception], str] = {
    jwt.InvalidSignatureError: "the signature of the token is wrong",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
}


class TokenRules(NamedTuple):
    """What a server requires of tokens."""

    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]


class _TokenFault(Exception):
    """A token is not accepted; the message is for the log and contains nothing of the token."""


class _StrictTokens(jwt.PyJWT):
    """PyJWT, but payloads in which a claim appears twice are refused."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return _object(decoded["payload"], "payload")


class Tokens:
    """Finds the callers of tokens: of all bearers that are no API keys. Tests may inject the clock of the day."""

    def __init__(self, rules: TokenRules, keys: TrustedKeys, *, now: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._keys = keys
        self._now = now
        self._strict = _StrictTokens()

    def takes(self, bearer: str) -> bool:
        """Return whether a bearer is a token."""
        return not bearer.startswith(PREFIX)

    async def verify(self, bearer: str, now: float) -> Verified:
        """Find the caller of a token. Raises DATABASE_UNAVAILABLE if the server has no keys yet."""
        try:
            header = self._header(bearer)
            await self._wait_for_kid(header.get("kid"))
            # From here on nothing waits, so that no token is accepted by a key that was removed meanwhile.
            claims = self._claims(bearer, self._key(header))
            lifetime = self._lifetime(claims)
            return Verified(caller_of(claims), now + min(lifetime, MAX_REMEMBERED_S))
        except (_TokenFault, ClaimFault) as fault:
            return Verified(CredentialsRefused(str(fault)), now)

    def _header(self, bearer: str) -> Mapping[str, Any]:
        """Return the header of a token, which is not verified yet."""
        parts = _THREE_PARTS.fullmatch(bearer) if len(bearer) <= MAX_CHARACTERS else None
        if parts is None:
            raise _TokenFault(f"the bearer is not three parts in Base64 of at most {MAX_CHARACTERS} characters")
        header = _object(_bytes(parts[1]), "header")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise _TokenFault("the algorithm of the token is not allowed")
        if not isinstance(kid, str | None):
            raise _TokenFault("the kid of the token is not a text")
        if "crit" in header or "b64" in header:
            raise _TokenFault("the token requires an extension")
        return header

    async def _wait_for_kid(self, kid: str | None) -> None:
        """Refresh the keys if none has this kid: the identity provider may have made it a moment ago."""
        keys = self._keys.current
        if keys is not None and kid is not None and not keys.knows(kid):
            await self._keys.refresh_for_unknown_kid()

    def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        """Return the one key that may have signed a token."""
        if self._keys.current is None:
            raise Refusal(
                Reason.DATABASE_UNAVAILABLE,
                "The server cannot verify tokens yet: the keys of the identity provider cannot be read.",
                retry_after=1.0,
            )
        found = self._keys.current.fitting(header["alg"], header.get("kid"))
        if len(found) != 1:
            named = "without a kid" if header.get("kid") is None else "with this kid"
            raise _TokenFault(f"{len(found) or 'no'} keys {named} fit the algorithm of the token")
        return found[0]

    def _claims(self, bearer: str, key: jwt.PyJWK) -> dict[str, Any]:
        """Return the claims of a token whose signature, issuer and audience are right."""
        try:
            return self._strict.decode(
                bearer,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._rules.issuer,
                audience=self._rules.audiences,
                # The times are checked below: PyJWT also takes texts and booleans for times.
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except _TokenFault:
            raise
        except jwt.MissingRequiredClaimError as error:
            raise _TokenFault(f"the token has no {error.claim}") from None
        except Exception as error:  # The texts of libraries' errors may contain parts of the token.
            raise _TokenFault(_FAULTS.get(type(error), f"the token is malformed ({type(error).__name__})")) from None

    def _lifetime(self, claims: Mapping[str, Any]) -> float:
        """Return the seconds until a token expires."""
        now = self._now()
        if any(name in claims and _time(claims, name) > now + LEEWAY_S for name in ("nbf", "iat")):
            raise _TokenFault("the token is not yet valid")
        lifetime = _time(claims, "exp") - now
        if lifetime <= 0:
            raise _TokenFault("the token has expired")
        return lifetime


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME:
        raise _TokenFault(f"{name} is not a time")
    return float(value)


def _bytes(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise _TokenFault("a part of the token is not Base64") from None


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        return read_object(data)
    except NotStrictJson as error:
        raise _TokenFault(f"the {name} of the token {error}") from None
