"""Tokens of the identity provider: whom they identify, with which rights, and until when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import OKPAlgorithm

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest, SearchCoursesRequest
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, ListCoursesRequest
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.identity.callers import Caller, Permission, Role
from registrar_server.identity.credentials import Credentials
from registrar_server.identity.identity import Identity, Verified
from registrar_server.identity.key_sources import KeyFile
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.jwt_settings import ASYMMETRIC
from tests.support.refusals import refused
from tests.support.servers import FREE_PORT, Log, registrar_on
from tests.support.tokens import AUDIENCE, ISSUER, Issuer, SigningKey, encoded, jwk_of

CAMPUS = Issuer()
NOON = 1_800_000_000.0


def trusted(path: Path, keys: Sequence[dict[str, Any]], algorithms: Sequence[str] = ASYMMETRIC) -> TrustedKeys:
    """Return the keys of a file."""
    path.write_text(json.dumps({"keys": keys}))
    found = TrustedKeys(KeyFile(path), algorithms, lambda: None)
    found.load()
    return found


def tokens_at(now: float, keys: TrustedKeys, audiences: Sequence[str] = (AUDIENCE,)) -> Tokens:
    """Return what verifies tokens at a time of the day."""
    return Tokens(TokenRules(ISSUER, audiences, ASYMMETRIC), keys, now=lambda: now)


@pytest.fixture
def keys(tmp_path: Path) -> TrustedKeys:
    """The keys of CAMPUS."""
    return trusted(tmp_path / "keys.json", CAMPUS.jwks()["keys"])


async def caller_of(keys: TrustedKeys, **claims: Any) -> Caller:
    """Return the caller of a token of now."""
    found = (await tokens_at(time.time(), keys).verify(CAMPUS.token(**claims), 0.0)).caller
    assert isinstance(found, Caller), found.cause
    return found


def cause(verified: Verified) -> str:
    """Return why a token is not accepted."""
    assert isinstance(verified.caller, CredentialsRefused)
    return verified.caller.cause


async def test_a_token_names_the_caller_and_the_roles(keys: TrustedKeys) -> None:
    caller = await caller_of(keys, sub="ada@example.edu", roles=["registrar"])
    assert caller == Caller("jwt:ada@example.edu", frozenset({Role.READER, Role.REGISTRAR}))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["reader"], {Role.READER}),
        ("reader", {Role.READER}),
        ("openid  reader profile", {Role.READER}),
        (["library:admin", "reader", 7, None, ["admin"]], {Role.READER}),
        (["student", "reader"], {Role.STUDENT, Role.READER}),
        (["Admin", "ADMIN", "admin "], set()),
        ([], set()),
        ("", set()),
    ],
)
async def test_unknown_roles_are_ignored(keys: TrustedKeys, roles: Any, expected: set[Role]) -> None:
    assert (await caller_of(keys, roles=roles)).roles == expected


async def test_a_caller_without_a_role_is_known_but_may_do_nothing(sqlite_url: str, tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(sqlite_url, **CAMPUS.settings(file)) as registrar:
        call = registrar.courses.SearchCourses(SearchCoursesRequest(), metadata=CAMPUS.metadata(roles=["guest"]))
        assert (await refused(call)).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize("value", [True, False, "true", 1, None, [True], {}])
async def test_only_true_gives_a_permission(keys: TrustedKeys, value: Any) -> None:
    both = await caller_of(keys, registrar_override=value, registrar_on_behalf_of=value)
    assert both.permissions == (frozenset(Permission) if value is True else frozenset())
    one = await caller_of(keys, registrar_override=value)
    assert one.permissions == (frozenset({Permission.OVERRIDE}) if value is True else frozenset())


async def test_a_student_has_the_id_of_the_token(keys: TrustedKeys) -> None:
    caller = await caller_of(keys, sub="ada", roles=["student"], student_id="s-1")
    assert caller == Caller("jwt:ada", frozenset({Role.STUDENT}), student_id="s-1")


async def test_the_student_id_of_others_does_not_matter(keys: TrustedKeys) -> None:
    for student_id in ("s-1", 7, "a b"):
        assert (await caller_of(keys, roles=["reader"], student_id=student_id)).student_id == ""


async def test_a_student_without_an_id_may_do_nothing(sqlite_url: str, tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(sqlite_url, **CAMPUS.settings(file)) as registrar:
        request = ListCoursesRequest(student_id="")
        call = registrar.enrollments.ListCourses(request, metadata=CAMPUS.metadata(roles=["student"]))
        assert (await refused(call)).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize("sub", ["ada", "x" * 196, "auth0|5f7c", "CN=Ada Lovelace,OU=Maths", "Ağaoğlu", "陈省身"])
async def test_a_subject_may_be_any_visible_text(keys: TrustedKeys, sub: str) -> None:
    assert (await caller_of(keys, sub=sub)).actor == f"jwt:{sub}"


async def test_one_of_several_audiences_is_enough(keys: TrustedKeys) -> None:
    tokens = tokens_at(NOON, keys, ["registrar", "enrollment"])
    for audience in ("registrar", "enrollment", ["library", "enrollment"]):
        verified = await tokens.verify(CAMPUS.token(aud=audience, exp=NOON + 1, iat=NOON), 0.0)
        assert isinstance(verified.caller, Caller)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOON + 0.5}, ""),
        ({"exp": NOON}, "the token has expired"),
        ({"exp": NOON - 1}, "the token has expired"),
        ({"exp": NOON + 60, "nbf": NOON + 30}, ""),
        ({"exp": NOON + 60, "nbf": NOON + 31}, "the token is not yet valid"),
        ({"exp": NOON + 60, "iat": NOON + 30}, ""),
        ({"exp": NOON + 60, "iat": NOON + 31}, "the token is not yet valid"),
    ],
)
async def test_a_token_may_begin_30_seconds_early_but_ends_in_time(
    keys: TrustedKeys, claims: dict[str, Any], expected: str
) -> None:
    verified = await tokens_at(NOON, keys).verify(CAMPUS.token(**{"iat": NOON, **claims}), 0.0)
    assert (cause(verified) if expected else "") == expected
    assert isinstance(verified.caller, CredentialsRefused) == bool(expected)


@pytest.mark.parametrize(("seconds", "remembered"), [(1, 1), (60, 60), (3600, 3600), (10 * 86_400, 3600)])
async def test_a_token_is_remembered_until_it_expires_at_most_an_hour(
    keys: TrustedKeys, seconds: int, remembered: int
) -> None:
    verified = await tokens_at(NOON, keys).verify(CAMPUS.token(exp=NOON + seconds, iat=NOON), 500.0)
    assert verified.until == 500.0 + remembered


async def test_a_wrong_token_is_not_remembered(keys: TrustedKeys) -> None:
    assert (await tokens_at(NOON, keys).verify("a.b.c", 500.0)).until == 500.0


async def test_a_remembered_token_stops_when_it_expires(keys: TrustedKeys) -> None:
    now = 0.0
    tokens = Tokens(TokenRules(ISSUER, [AUDIENCE], ASYMMETRIC), keys, now=lambda: NOON + now)
    identity = Identity([tokens], is_on=True, clock=lambda: now)
    credentials = Credentials([f"Bearer {CAMPUS.token(exp=NOON + 60, iat=NOON)}"])
    await identity.identify(credentials)
    now = 59.0
    assert identity.recall(credentials) is not None
    now = 60.0
    assert identity.recall(credentials) is None
    with pytest.raises(CredentialsRefused) as expired:
        await identity.identify(credentials)
    assert expired.value.cause == "the token has expired"


def test_every_bearer_is_a_token_unless_it_is_a_key(keys: TrustedKeys) -> None:
    tokens = tokens_at(NOON, keys)
    assert [tokens.takes(bearer) for bearer in ("a.b.c", "secret", "rk_1_2")] == [True, True, False]


async def test_a_kid_is_not_needed_if_one_key_fits(keys: TrustedKeys) -> None:
    for algorithm in ("RS256", "ES256"):
        await caller_of(keys, algorithm=algorithm, headers={"kid": None})


ALGORITHMS: dict[str, SigningKey | ed25519.Ed25519PrivateKey] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), CAMPUS.rsa),
    "ES256": CAMPUS.ec,
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
async def test_every_algorithm_of_the_default_works(tmp_path: Path, algorithm: str) -> None:
    key = ALGORITHMS[algorithm]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        jwk: dict[str, Any] = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    else:
        jwk = jwk_of(key)
    keys = trusted(tmp_path / "keys.json", [{**jwk, "kid": "k"}])
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": NOON + 60}
    bearer = encoded(json.dumps(claims).encode(), key, algorithm, {"kid": "k"})
    assert (await tokens_at(NOON, keys).verify(bearer, 0.0)).caller == Caller("jwt:ada", frozenset())


async def test_the_caller_of_a_token_is_the_actor_of_events(database_url: str, tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(database_url, **CAMPUS.settings(file)) as registrar:
        request = CreateCourseRequest(course=Course(course_id="CS-101"))
        await registrar.courses.CreateCourse(request, metadata=CAMPUS.metadata("ada|x" + "y" * 191, ["admin"]))
        reader = CAMPUS.metadata("bo", ["reader"], algorithm="ES256")
        found = await registrar.history.ListEvents(ListEventsRequest(actor="jwt:ada|x" + "y" * 191), metadata=reader)
        assert [event.course_id for event in found.events] == ["CS-101"]


async def test_calls_without_a_token_are_refused(sqlite_url: str, tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(sqlite_url, **CAMPUS.settings(file)) as registrar:
        failure = await refused(registrar.courses.SearchCourses(SearchCoursesRequest()))
        assert failure.reason == "CREDENTIALS_MISSING"


async def test_calls_with_one_token_at_once_are_all_answered(sqlite_url: str, tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(sqlite_url, **CAMPUS.settings(file)) as registrar:
        admin = CAMPUS.metadata("admin", ["admin"])
        await registrar.courses.CreateCourse(CreateCourseRequest(course=Course(course_id="CS-101")), metadata=admin)
        same = CAMPUS.metadata()
        calls = [
            refused(
                registrar.enrollments.EnrollStudent(
                    EnrollStudentRequest(student_id=f"s-{number}", course_id="CS-101"), metadata=same
                )
            )
            for number in range(20)
        ]
        assert {failure.reason for failure in await asyncio.gather(*calls)} == {"STUDENT_NOT_FOUND"}


async def test_no_token_appears_in_the_log_of_a_server(sqlite_url: str, tmp_path: Path, log: Log) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    async with registrar_on(sqlite_url, http_listen=FREE_PORT, log_level="debug", **CAMPUS.settings(file)) as registrar:
        for bearer in (CAMPUS.token(roles=["admin"]), CAMPUS.token(roles=["admin"], exp=1)):
            metadata = (("authorization", f"Bearer {bearer}"),)
            for course_id in ("CS-101", "not an id"):
                request = CreateCourseRequest(course=Course(course_id=course_id))
                await asyncio.gather(registrar.courses.CreateCourse(request, metadata=metadata), return_exceptions=True)
            assert len(log.of("rpc")) >= 2
            assert not [part for part in bearer.split(".") if part in repr(log.lines)]


async def test_a_verified_token_does_not_appear_in_texts(keys: TrustedKeys) -> None:
    tokens = tokens_at(NOON, keys)
    bearer = CAMPUS.token(exp=NOON - 1, iat=NOON)
    verified = await tokens.verify(bearer, 0.0)
    shown = f"{verified!r} {verified.caller!r} {verified.caller} {tokens!r} {keys!r} {keys.current!r}"
    assert not [part for part in bearer.split(".") if part in shown]
