"""Any bytes as a token: a caller or one refusal, and never another error."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_encode

from registrar_server.identity.callers import Caller
from registrar_server.identity.key_sets import read_key_set
from registrar_server.identity.key_sources import KeyFile
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.jwt_settings import ASYMMETRIC
from tests.support.properties import scaled
from tests.support.tokens import AUDIENCE, ISSUER, Issuer

CAMPUS = Issuer()
RIGHT = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 86_400, "roles": ["reader"]}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
claims = st.dictionaries(
    st.sampled_from([*RIGHT, "nbf", "iat", "jti", "student_id", "registrar_override"]), values, max_size=3
)
headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "cty", "jwk", "jku"]), values, max_size=3
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """What verifies the tokens of CAMPUS."""
    file: Path = CAMPUS.write_keys(tmp_path_factory.mktemp("keys") / "keys.json")
    keys = TrustedKeys(KeyFile(file), ASYMMETRIC, lambda: None)
    keys.load()
    return Tokens(TokenRules(ISSUER, [AUDIENCE], ASYMMETRIC), keys)


def verified(tokens: Tokens, bearer: str) -> Caller | CredentialsRefused:
    """Return what comes of a bearer."""
    return asyncio.run(tokens.verify(bearer, 0.0)).caller


@settings(max_examples=scaled(100), deadline=None)
@given(changed=claims)
def test_a_signed_token_with_any_claims_has_a_caller_or_is_refused(tokens: Tokens, changed: dict[str, Any]) -> None:
    found = verified(tokens, CAMPUS.signed(json.dumps({**RIGHT, **changed}).encode()))
    if isinstance(found, Caller):
        assert found.actor.isprintable()
        assert len(found.actor) <= 200
    else:
        assert found.cause


@settings(max_examples=scaled(100), deadline=None)
@given(payload=st.binary(max_size=60))
def test_a_signed_token_with_any_bytes_is_refused(tokens: Tokens, payload: bytes) -> None:
    assert isinstance(verified(tokens, CAMPUS.signed(payload)), CredentialsRefused)


@settings(max_examples=scaled(100), deadline=None)
@given(header=headers, signature=st.binary(max_size=300))
def test_a_token_with_any_header_is_refused(tokens: Tokens, header: dict[str, Any], signature: bytes) -> None:
    parts = (json.dumps({"alg": "RS256", "kid": CAMPUS.rsa_kid, **header}), json.dumps(RIGHT))
    written = [base64url_encode(part.encode()).decode() for part in parts]
    bearer = ".".join([*written, base64url_encode(signature).decode()])
    assert isinstance(verified(tokens, bearer), CredentialsRefused)


@settings(max_examples=scaled(200), deadline=None)
@given(bearer=st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}", fullmatch=True))
def test_any_text_is_refused(tokens: Tokens, bearer: str) -> None:
    assert isinstance(verified(tokens, bearer), CredentialsRefused)


@settings(max_examples=scaled(100), deadline=None)
@given(position=st.integers(0, 10_000), letter=st.sampled_from("AZaz09_-."))
def test_a_token_with_one_other_letter_is_refused(tokens: Tokens, position: int, letter: str) -> None:
    right = CAMPUS.signed(json.dumps(RIGHT).encode())
    place = position % len(right)
    changed = right[:place] + letter + right[place + 1 :]
    assert isinstance(verified(tokens, changed), Caller if changed == right else CredentialsRefused)


@settings(max_examples=scaled(100), deadline=None)
@given(key=st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "k", "alg", "use", "kid"]), values))
def test_any_key_beside_a_good_one_is_used_or_skipped(key: dict[str, Any]) -> None:
    for odd in (key, *({**good, **key} for good in CAMPUS.jwks()["keys"])):
        assert read_key_set(json.dumps({"keys": [odd, *CAMPUS.jwks()["keys"]]}).encode(), ASYMMETRIC).knows(
            CAMPUS.rsa_kid
        )
