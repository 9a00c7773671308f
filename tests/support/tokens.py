"""An identity provider for tests: its keys, its key set, and the tokens that it signs.

issuer = Issuer()
issuer.write_keys(tmp_path / "keys.json")
async with registrar_on(database_url, **issuer.settings(tmp_path / "keys.json")) as registrar:
    metadata = issuer.metadata(sub="ada", roles=["registrar"])
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://idp.example.edu"
AUDIENCE = "registrar"

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the RSA key of this name. A run of the tests makes it once, since that takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the key of this name on the curve P-256. A run of the tests makes it once."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: SigningKey, **others: Any) -> dict[str, Any]:
    """Return the public half of a key as a JWK with other fields, such as ``kid``."""
    public = key.public_key()
    found = RSAAlgorithm.to_jwk(public) if isinstance(public, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(public)
    return {**json.loads(found), **others}


def encoded(payload: bytes, key: Any, algorithm: str, headers: Mapping[str, Any]) -> str:
    """Return a signed token with exactly this payload."""
    return jwt.PyJWS().encode(payload, key, algorithm, dict(headers), sort_headers=True)


class Issuer:
    """An identity provider with an RSA and an EC key; ``name`` distinguishes the keys of several providers."""

    def __init__(self, name: str = "campus") -> None:
        self.rsa = rsa_key(name)
        self.ec = ec_key(name)
        self.rsa_kid = f"{name}-rsa"
        self.ec_kid = f"{name}-ec"

    def jwks(self) -> dict[str, Any]:
        """Return the key set: both public keys with their ``kid``, ``alg`` and ``use``."""
        return {
            "keys": [
                jwk_of(self.rsa, kid=self.rsa_kid, alg="RS256", use="sig"),
                jwk_of(self.ec, kid=self.ec_kid, alg="ES256", use="sig"),
            ]
        }

    def jwks_bytes(self) -> bytes:
        """Return the key set as the bytes of a file or of a response."""
        return json.dumps(self.jwks()).encode()

    def write_keys(self, path: Path) -> Path:
        """Write the key set to a file and return its path."""
        path.write_bytes(self.jwks_bytes())
        return path

    def settings(self, keys: Path | str, **others: Any) -> dict[str, Any]:
        """Return the settings of a server that trusts this issuer; ``keys`` is the file or the URL of its key set."""
        return {"jwt_keys": str(keys), "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **others}

    def token(
        self,
        sub: str = "ada",
        roles: Sequence[str] | str = ("registrar",),
        *,
        algorithm: str = "RS256",
        key: Any = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a token that is valid for an hour, with these claims; a claim that is None is left out.

        The algorithm selects the RSA or the EC key, unless ``key`` signs. ``headers`` adds to the header or replaces
        what it has; a header that is None is left out.
        """
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "iat": now, "exp": now + 3600, "roles": list(roles)}
        if isinstance(roles, str):
            usual["roles"] = roles
        present = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return self.signed(json.dumps(present).encode(), algorithm=algorithm, key=key, headers=headers)

    def signed(
        self, payload: bytes, *, algorithm: str = "RS256", key: Any = None, headers: Mapping[str, Any] | None = None
    ) -> str:
        """Return a token with exactly this payload."""
        own, kid = (self.ec, self.ec_kid) if algorithm.startswith("ES") else (self.rsa, self.rsa_kid)
        named = {name: value for name, value in {"kid": kid, **(headers or {})}.items() if value is not None}
        return encoded(payload, own if key is None else key, algorithm, named)

    def metadata(self, sub: str = "ada", roles: Sequence[str] | str = ("registrar",), **others: Any) -> Any:
        """Return the metadata of a gRPC call with a token; the arguments are those of ``token``."""
        return (("authorization", f"Bearer {self.token(sub, roles, **others)}"),)
