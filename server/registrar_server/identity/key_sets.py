"""Key sets (RFC 7517): the keys that verify tokens, each with the algorithms that it may be used for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from jwt import PyJWK

from registrar_server.identity.strict_json import NotStrictJson, read_object

_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
"""What verifies, by the type of a key. The private half of a key is not read."""

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}


class KeySetError(Exception):
    """A key set cannot be read; the message says why and contains no keys."""


@dataclass(frozen=True)
class _TrustedKey:
    kid: str | None
    verifiers: Mapping[str, PyJWK]
    """The key, by the algorithms that it fits."""
    written: str = field(repr=False)
    """The same for equal keys; it may contain a secret."""


class KeySet:
    """The usable keys of one key set. Equal ``digest`` means equal keys."""

    def __init__(self, keys: list[_TrustedKey], digest: bytes) -> None:
        self._keys = keys
        self._kids = frozenset(key.kid for key in keys if key.kid is not None)
        self.digest = digest

    def __len__(self) -> int:
        """Return the number of usable keys."""
        return len(self._keys)

    def knows(self, kid: str) -> bool:
        """Return whether a usable key has this id."""
        return kid in self._kids

    def fitting(self, algorithm: str, kid: str | None) -> list[PyJWK]:
        """Return the keys for an algorithm: those with this id, or all of them if ``kid`` is None."""
        named = (key for key in self._keys if kid is None or key.kid == kid)
        return [key.verifiers[algorithm] for key in named if algorithm in key.verifiers]


def read_key_set(data: bytes, algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JWKS that fit one of the algorithms. Raises ``KeySetError`` if there is none."""
    try:
        listed = read_object(data).get("keys")
    except NotStrictJson as error:
        raise KeySetError(f"the key set {error}") from None
    if not isinstance(listed, list):
        raise KeySetError('the key set has no list "keys"')
    usable = [key for jwk in listed if isinstance(jwk, dict) and (key := _usable(jwk, algorithms))]
    if not usable:
        raise KeySetError(f"none of its {len(listed)} keys can verify {', '.join(algorithms)}")
    found = {key.written: key for key in usable}
    return KeySet(list(found.values()), sha256("\n".join(sorted(found)).encode()).digest())


def _usable(jwk: Mapping[str, Any], algorithms: Collection[str]) -> _TrustedKey | None:
    """Return a key, or None if it verifies nothing: keys of new kinds must not make the others useless."""
    kid = jwk.get("kid")
    if not isinstance(kid, str | None) or jwk.get("use", "sig") != "sig" or "verify" not in _operations(jwk):
        return None
    verifiers = {name: key for name in algorithms if _fits(jwk, name) and (key := _verifier(jwk, name))}
    if not verifiers:
        return None
    written = json.dumps([kid, jwk["kty"], [jwk[name] for name in _MEMBERS[jwk["kty"]]], sorted(verifiers)])
    return _TrustedKey(kid, verifiers, written)


def _operations(jwk: Mapping[str, Any]) -> Collection[Any]:
    operations = jwk.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else ()


def _fits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    return (
        jwk.get("kty") == _TYPES[algorithm[:2]]
        and jwk.get("alg", algorithm) == algorithm
        and (algorithm not in _CURVES or jwk.get("crv") == _CURVES[algorithm])
    )


def _verifier(jwk: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    """Return a key for one algorithm, or None if it is malformed or too short."""
    kind = str(jwk["kty"])
    try:
        key = PyJWK({"kty": kind, **{name: jwk[name] for name in _MEMBERS[kind]}}, algorithm)
        prepared = key.Algorithm.prepare_key(key.key)
        return None if key.Algorithm.check_key_length(prepared) else key
    except Exception:  # Libraries raise many kinds of errors for keys that are none.
        return None
