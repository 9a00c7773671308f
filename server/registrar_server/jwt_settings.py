"""The settings for tokens of an identity provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from registrar_server.addresses import is_loopback
from registrar_server.setting_lists import listed

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")


def _check_algorithm(name: str) -> str:
    if name not in ASYMMETRIC + SYMMETRIC:
        raise ValueError(f"must be some of {', '.join(ASYMMETRIC)}, or some of {', '.join(SYMMETRIC)}")
    return name


class JwtSettings(BaseSettings):
    """The settings whose names begin with ``REGISTRAR_JWT_``."""

    jwt_keys: Annotated[str, Field(repr=False)] = ""  # The query of a URL may have a secret.
    """The keys that verify tokens: a JWKS file, or its https URL (http on loopback only). Empty: no tokens."""
    jwt_issuer: str = ""
    """The issuer that tokens must name as ``iss``."""
    jwt_audience: Annotated[tuple[str, ...], NoDecode, listed(str)] = ()
    """The audiences, separated by commas, of which tokens must name one as ``aud``."""
    jwt_algorithms: Annotated[tuple[str, ...], NoDecode, listed(_check_algorithm)] = ASYMMETRIC
    """The algorithms that tokens may be signed with, separated by commas: HS256 to HS512, or any others."""

    @field_validator("jwt_keys")
    @classmethod
    def _check_keys(cls, value: str) -> str:
        if "://" in value:
            _check_url(value)
        elif value and not (Path(value).is_file() and os.access(value, os.R_OK)):
            raise ValueError("must be a file that can be read, or a URL such as https://idp.example.edu/jwks.json")
        return value

    @model_validator(mode="after")
    def _check_tokens(self) -> Self:
        issuer, audience = "REGISTRAR_JWT_ISSUER", "REGISTRAR_JWT_AUDIENCE"
        needed = {issuer: self.jwt_issuer, audience: self.jwt_audience}
        if self.jwt_keys and not all(needed.values()):
            missing = " and ".join(name for name, value in needed.items() if not value)
            raise ValueError(f"REGISTRAR_JWT_KEYS needs {missing}: tokens for other services must not count here")
        if not self.jwt_keys and any(needed.values()):
            given = " and ".join(name for name, value in needed.items() if value)
            raise ValueError(f"REGISTRAR_JWT_KEYS must be set beside {given}: without keys no token can be verified")
        return self

    @model_validator(mode="after")
    def _check_algorithms(self) -> Self:
        symmetric = set(self.jwt_algorithms).intersection(SYMMETRIC)
        if not self.jwt_algorithms or (symmetric and len(symmetric) < len(set(self.jwt_algorithms))):
            raise ValueError(
                f"REGISTRAR_JWT_ALGORITHMS must be some of {', '.join(ASYMMETRIC)}, or some of {', '.join(SYMMETRIC)},"
                " never both: a public key must not count as a secret"
            )
        if symmetric and "://" in self.jwt_keys:
            raise ValueError("REGISTRAR_JWT_KEYS must be a file if REGISTRAR_JWT_ALGORITHMS needs secret keys")
        return self


def _check_url(value: str) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:  # The error of a request would show the query.
        raise ValueError("must be a URL of visible ASCII characters without blanks, as %20")
    try:
        url = urlsplit(value)
        allowed = bool(url.hostname) and (url.scheme == "https" or _is_plain_on_loopback(url)) and url.port != 0
    except ValueError:
        allowed = False
        url = urlsplit("")
    if not allowed:
        raise ValueError(
            "must be a file or an https URL such as https://idp.example.edu/jwks.json; http is for loopback only"
        )
    if url.username is not None or url.password is not None or url.fragment:
        raise ValueError("must be a URL without a user, a password and a fragment")


def _is_plain_on_loopback(url: SplitResult) -> bool:
    return url.scheme == "http" and is_loopback(f"{url.hostname}:80")
