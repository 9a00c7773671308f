"""Tokens that nobody may get in with, over gRPC and HTTP, against a real server."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from registrar.v1.course_service_pb2 import SearchCoursesRequest
from tests.support.http_calls import HttpCaller
from tests.support.key_hosts import answering, key_host
from tests.support.refusals import refused
from tests.support.servers import FREE_PORT, Log, Registrar, calling, serving
from tests.support.tokens import AUDIENCE, ISSUER, Issuer, jwk_of

CAMPUS = Issuer("campus")
SECOND = Issuer("second")
STRANGER = Issuer("stranger")
NOW = int(time.time())
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "exp": NOW + 3600, "roles": ["admin"]}


def written(header: Mapping[str, Any], payload: bytes, signature: bytes = b"") -> str:
    """Return a token with these three parts."""
    parts = (json.dumps(header).encode(), payload, signature)
    return ".".join(base64url_encode(part).decode() for part in parts)


def mac(secret: bytes, **header: Any) -> str:
    """Return a token that HS256 signs with any bytes, such as a public key."""
    unsigned = written({"alg": "HS256", "typ": "JWT", **header}, json.dumps(CLAIMS).encode()).rstrip(".")
    return f"{unsigned}.{base64url_encode(hmac.digest(secret, unsigned.encode(), 'sha256')).decode()}"


def payload_of(text: str) -> str:
    """Return a token of the issuer with these claims, in which ``$`` stands for all that are right except exp."""
    right = json.dumps({name: value for name, value in CLAIMS.items() if name != "exp"})
    return CAMPUS.signed(text.replace("$", right[1:-1]).encode())


def unsigned() -> Mapping[str, str]:
    """Return tokens without a signature."""
    payload = json.dumps(CLAIMS).encode()
    algorithms = {
        "none": "none",
        "None": "None",
        "NONE": "NONE",
        "nOnE": "nOnE",
        "no text": "",
        "null": None,
        "a list": ["none"],
    }
    return {
        **{f"alg {name}": written({"alg": value}, payload) for name, value in algorithms.items()},
        "alg none with the bytes of a signature": written({"alg": "none", "kid": CAMPUS.rsa_kid}, payload, b"x" * 256),
        "no alg": written({"kid": CAMPUS.rsa_kid}, payload, b"x" * 256),
        "an empty signature": CAMPUS.token().rpartition(".")[0] + ".",
        "no signature": CAMPUS.token().rpartition(".")[0],
    }


def wrong_keys() -> Mapping[str, str]:
    """Return tokens that another key has signed, or another algorithm."""
    public = CAMPUS.rsa.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    kid = CAMPUS.rsa_kid
    own = jwk_of(STRANGER.rsa, kid="mine")
    return {
        "the key of a stranger": CAMPUS.token(key=STRANGER.rsa),
        "the EC key of a stranger": CAMPUS.token(algorithm="ES256", key=STRANGER.ec),
        "the kid of an RSA key and ES256": CAMPUS.token(algorithm="ES256", headers={"kid": kid}),
        "the kid of an EC key and RS256": CAMPUS.token(headers={"kid": CAMPUS.ec_kid}),
        "an algorithm for which the key is not meant": CAMPUS.token(algorithm="PS256"),
        "an algorithm in lower case": written({"alg": "rs256", "kid": kid}, json.dumps(CLAIMS).encode(), b"x" * 256),
        "HS256 and the public key in PEM": mac(pem, kid=kid),
        "HS256 and the public key in PEM without a line break": mac(pem.strip(), kid=kid),
        "HS256 and the public key in PKCS 1": mac(pkcs1, kid=kid),
        "HS256 and the public key in DER": mac(der, kid=kid),
        "HS256 and the key's JWK": mac(json.dumps(jwk_of(CAMPUS.rsa)).encode(), kid=kid),
        "HS256 and no secret": mac(b"", kid=kid),
        "HS256 without a kid": mac(pem),
        "an unknown kid": CAMPUS.token(headers={"kid": "unknown"}),
        "a kid that is a path": CAMPUS.token(headers={"kid": "../../../dev/null"}),
        "a kid that is no text": written({"alg": "RS256", "kid": 1}, json.dumps(CLAIMS).encode(), b"x" * 256),
        "no kid, though two keys fit": CAMPUS.token(headers={"kid": None}),
        "a jwk of its own": STRANGER.token(headers={"kid": None, "jwk": own}),
        "a jwk of its own with its kid": STRANGER.token(headers={"kid": "mine", "jwk": own}),
        "the signature of another token": CAMPUS.token().rpartition(".")[0]
        + "."
        + CAMPUS.token("bo").rpartition(".")[2],
        "an extension that nobody knows": CAMPUS.token(headers={"crit": ["exp"], "exp": NOW}),
        "an empty list of extensions": written({"alg": "RS256", "kid": kid, "crit": []}, b"{}", b"x" * 256),
        "a payload beside the token": written({"alg": "RS256", "kid": kid, "b64": False}, b"", b"x" * 256),
    }


def wrong_claims() -> Mapping[str, str]:
    """Return tokens that the issuer has signed, but not for this server and this time."""
    times = {
        "a text": str(NOW + 3600),
        "true": True,
        "negative": -1,
        "an object": {},
        "a list": [NOW + 3600],
        "huge": 10**400,
    }
    texts = {
        "a list": ["ada"],
        "a number": 7,
        "empty": "",
        "a blank": " ",
        "a line break": "ada\nroot",
        "long": "x" * 197,
    }
    return {
        "another audience": CAMPUS.token(aud="library"),
        "other audiences": CAMPUS.token(aud=["library", "registrar2"]),
        "a part of the audience": CAMPUS.token(aud="regis"),
        "no audiences": CAMPUS.token(aud=[]),
        "an audience that is no text": CAMPUS.token(aud={"registrar": True}),
        "without aud": CAMPUS.token(aud=None),
        "another issuer": CAMPUS.token(iss="https://idp.example.com"),
        "an issuer with a slash more": CAMPUS.token(iss=f"{ISSUER}/"),
        "issuers": CAMPUS.token(iss=[ISSUER]),
        "without iss": CAMPUS.token(iss=None),
        "without sub": payload_of(f'{{"iss": "{ISSUER}", "aud": "{AUDIENCE}", "exp": {NOW + 3600}}}'),
        "without exp": CAMPUS.token(exp=None),
        "exp null": payload_of('{$, "exp": null}'),
        "expired": CAMPUS.token(exp=NOW - 1),
        "exp in milliseconds, but of 1970": CAMPUS.token(exp=NOW // 1000),
        "not yet valid": CAMPUS.token(nbf=NOW + 3600),
        "issued in the future": CAMPUS.token(iat=NOW + 3600),
        **{f"exp that is {name}": CAMPUS.token(exp=value) for name, value in times.items()},
        **{f"nbf that is {name}": CAMPUS.token(nbf=value) for name, value in times.items() if name != "negative"},
        **{f"exp {name}": payload_of(f'{{$, "exp": {name}}}') for name in ("NaN", "Infinity", "-Infinity", "1e999")},
        **{
            f"sub that is {name}": CAMPUS.signed(json.dumps({**CLAIMS, "sub": value}).encode())
            for name, value in texts.items()
        },
        "sub that reads backwards": CAMPUS.token("ada\u202egro"),
        "sub of half a character": CAMPUS.token("ada\ud800"),
        "a student_id that is none": CAMPUS.token(roles=["student"], student_id="a b"),
        "a student_id that is a number": CAMPUS.token(roles=["student"], student_id=7),
        "roles that are a number": CAMPUS.signed(json.dumps({**CLAIMS, "roles": 7}).encode()),
    }


def malformed() -> Mapping[str, str]:
    """Return bearers that are no tokens."""
    right = CAMPUS.token()
    header, payload, signature = right.split(".")
    rest = f"{payload}.{signature}"
    headers = {
        "of bytes that are not UTF-8": bytes(range(128, 256)),
        "in UTF-16": json.dumps({"alg": "RS256", "kid": CAMPUS.rsa_kid}).encode("utf-16"),
        "that is a list": b"[]",
        "with alg twice": b'{"alg":"RS256","alg":"RS256","kid":"%s"}' % CAMPUS.rsa_kid.encode(),
        "that is deep": b"[" * 3000,
    }
    return {
        "a word": "secret",
        "two parts": f"{header}.{payload}",
        "four parts": f"{right}.{signature}",
        "an encrypted token": f"{right}.{signature}.{signature}",
        "dots": "..",
        "padding": f"{header}=.{rest}",
        "a byte of Base64 more": f"{header}.{payload}.{signature}AA",
        "another letter": right[:-9] + ("A" if right[-9] != "A" else "B") + right[-8:],
        **{f"a header {name}": f"{base64url_encode(data).decode()}.{rest}" for name, data in headers.items()},
        "a payload that is not UTF-8": CAMPUS.signed(b"\xff\xfe{}"),
        "a payload that is not JSON": CAMPUS.signed(b"sub=ada"),
        "a payload that is a list": CAMPUS.signed(json.dumps([CLAIMS]).encode()),
        "a deep payload": CAMPUS.signed(b"[" * 3000),
        "a token in the token": CAMPUS.signed(right.encode(), headers={"cty": "JWT"}),
        "an encrypted token in the token": CAMPUS.signed(
            f"{right}.{signature}.{signature}".encode(), headers={"cty": "JWT"}
        ),
        "sub twice": payload_of(f'{{$, "exp": {NOW + 3600}, "sub": "root"}}'),
        "a claim twice, deep inside": payload_of(f'{{$, "exp": {NOW + 3600}, "more": [{{"a": 1, "a": 2}}]}}'),
    }


KINDS = {"unsigned": unsigned, "wrong keys": wrong_keys, "wrong claims": wrong_claims, "malformed": malformed}


@pytest.fixture
async def campus(sqlite_url: str, tmp_path: Path) -> AsyncIterator[tuple[Registrar, HttpCaller]]:
    """A server that trusts the keys of CAMPUS, among others, over gRPC and HTTP."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": CAMPUS.jwks()["keys"] + SECOND.jwks()["keys"]}))
    settings = CAMPUS.settings(file, http_listen=FREE_PORT)
    async with serving(sqlite_url, **settings) as server, calling(server.address) as registrar:
        yield registrar, HttpCaller(server.http_address)


async def search(registrar: Registrar, bearer: str) -> Any:
    """Search the courses over gRPC."""
    return await registrar.courses.SearchCourses(
        SearchCoursesRequest(), metadata=(("authorization", f"Bearer {bearer}"),)
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_forged_tokens_get_one_and_the_same_refusal_over_grpc(
    campus: tuple[Registrar, HttpCaller], kind: str
) -> None:
    registrar, _ = campus
    await search(registrar, CAMPUS.token())
    answers = {name: (await refused(search(registrar, bearer)))[:2] for name, bearer in KINDS[kind]().items()}
    expected = (grpc.StatusCode.UNAUTHENTICATED, "The server does not accept these credentials; they may have expired.")
    assert answers == dict.fromkeys(answers, expected)
    await search(registrar, CAMPUS.token())


@pytest.mark.parametrize("kind", KINDS)
async def test_forged_tokens_get_one_and_the_same_refusal_over_http(
    campus: tuple[Registrar, HttpCaller], kind: str
) -> None:
    _, http = campus
    forged = {**KINDS[kind](), "huge": CAMPUS.token(padding="x" * 8192)}
    answers = {name: await http.call("GET", "/v1/courses", authorization=f"Bearer {forged[name]}") for name in forged}
    found = {name: (answer.status, answer.reason) for name, answer in answers.items()}
    assert found == dict.fromkeys(forged, (401, "CREDENTIALS_INVALID"))
    assert (await http.call("GET", "/v1/courses", authorization=f"Bearer {CAMPUS.token()}")).status == 200


async def test_bytes_that_are_no_ascii_are_wrong_credentials(campus: tuple[Registrar, HttpCaller]) -> None:
    _, http = campus
    for bearer in ("\xff\xfe", CAMPUS.token() + "\xe9"):
        answer = await http.call("GET", "/v1/courses", authorization=f"Bearer {bearer}")
        assert (answer.status, answer.reason) == (401, "CREDENTIALS_INVALID")


async def test_the_log_says_what_is_wrong_and_repeats_no_part_of_a_token(
    campus: tuple[Registrar, HttpCaller], log: Log
) -> None:
    registrar, _ = campus
    forged = {name: bearer for kind in KINDS.values() for name, bearer in kind().items()}
    for bearer in forged.values():
        await refused(search(registrar, bearer))
    causes = dict(zip(forged, [line["cause"] for line in log.of("rpc")], strict=True))
    assert causes["alg none"] == "the algorithm of the token is not allowed"
    assert causes["the key of a stranger"] == "the signature of the token is wrong"
    assert causes["another audience"] == "the token is for another audience"
    assert causes["another issuer"] == "the token is of another issuer"
    assert causes["expired"] == "the token has expired"
    assert causes["not yet valid"] == "the token is not yet valid"
    assert causes["no kid, though two keys fit"] == "2 keys without a kid fit the algorithm of the token"
    assert causes["an unknown kid"] == "no keys with this kid fit the algorithm of the token"
    assert causes["without exp"] == "the token has no exp"
    assert causes["sub twice"] == "the payload of the token has a name twice in one JSON object"
    logged = repr(log.lines)
    pieces = {piece for bearer in forged.values() for piece in re.split(r"\.", bearer) if len(piece) > 8}
    assert not [piece for piece in pieces if piece in logged]
    assert "mallory" not in logged


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_a_token_cannot_make_the_server_fetch_a_key(campus: tuple[Registrar, HttpCaller], name: str) -> None:
    registrar, _ = campus
    async with key_host() as host:
        host.behave = answering(STRANGER.jwks_bytes())
        for kid in (STRANGER.rsa_kid, CAMPUS.rsa_kid, None):
            forged = STRANGER.token(roles=["admin"], headers={name: host.url, "kid": kid})
            assert (await refused(search(registrar, forged))).reason == "CREDENTIALS_INVALID"
        await search(registrar, CAMPUS.token(headers={name: host.url}))
        assert host.requests == []


async def test_certificates_in_a_token_are_ignored(campus: tuple[Registrar, HttpCaller]) -> None:
    registrar, _ = campus
    chain = [base64.b64encode(b"certificate").decode()]
    forged = STRANGER.token(headers={"kid": CAMPUS.rsa_kid, "x5c": chain})
    assert (await refused(search(registrar, forged))).reason == "CREDENTIALS_INVALID"


async def test_a_secret_and_a_public_key_are_never_exchanged(sqlite_url: str, tmp_path: Path) -> None:
    secret = b"s" * 32
    keys = [{"kty": "oct", "kid": "secret", "k": base64url_encode(secret).decode()}, *CAMPUS.jwks()["keys"]]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    settings = CAMPUS.settings(file, jwt_algorithms="HS256")
    pem = CAMPUS.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    async with serving(sqlite_url, **settings) as server, calling(server.address) as registrar:
        await search(registrar, mac(secret, kid="secret"))
        for forged in (CAMPUS.token(), mac(pem, kid=CAMPUS.rsa_kid), mac(b"t" * 32, kid="secret")):
            assert (await refused(search(registrar, forged))).reason == "CREDENTIALS_INVALID"
