"""Key sets: what they may contain, where they come from, and how they change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode

from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar_server.app import StartError, start
from registrar_server.identity import key_sources
from registrar_server.identity.key_sets import KeySet, KeySetError, read_key_set
from registrar_server.identity.key_sources import MAX_BYTES, KeyFile, KeyServer
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.jwt_settings import ASYMMETRIC, SYMMETRIC
from tests.support.key_hosts import Behaviour, KeyHost, answering, dripping, key_host, raw
from tests.support.refusals import refused
from tests.support.servers import Log, Registrar, registrar_on, server_process, settings
from tests.support.tokens import AUDIENCE, ISSUER, Issuer, jwk_of

CAMPUS = Issuer()
NEXT = Issuer("next")
RSA, EC = CAMPUS.jwks()["keys"]
FAST = KeyServer("", max_seconds=0.3)
"""A source that waits less long, in tests of answers that do not come."""


def of(*keys: Any, algorithms: Sequence[str] = ASYMMETRIC) -> KeySet:
    """Return the key set with these keys."""
    return read_key_set(json.dumps({"keys": keys}).encode(), algorithms)


def problem(data: bytes, algorithms: Sequence[str] = ASYMMETRIC) -> str:
    """Return why bytes are no key set."""
    with pytest.raises(KeySetError) as error:
        read_key_set(data, algorithms)
    return str(error.value)


def secret(length: int, **others: Any) -> dict[str, Any]:
    """Return a secret key of this many bytes."""
    return {"kty": "oct", "k": base64url_encode(b"s" * length).decode(), **others}


def test_a_key_fits_the_algorithms_of_its_type() -> None:
    keys = of(jwk_of(CAMPUS.rsa, kid="r"), jwk_of(CAMPUS.ec, kid="e"))
    fitting = {name for name in ASYMMETRIC if keys.fitting(name, "r")}
    assert fitting == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert {name for name in ASYMMETRIC if keys.fitting(name, "e")} == {"ES256"}


def test_a_key_with_alg_fits_this_algorithm_only() -> None:
    keys = of(jwk_of(CAMPUS.rsa, kid="r", alg="PS256"))
    assert [name for name in ASYMMETRIC if keys.fitting(name, "r")] == ["PS256"]


def test_keys_are_found_by_kid_or_without_one_all_of_them() -> None:
    keys = of(RSA, EC, NEXT.jwks()["keys"][0], jwk_of(NEXT.ec))
    assert [keys.knows(kid) for kid in (CAMPUS.rsa_kid, NEXT.rsa_kid, "", "other")] == [True, True, False, False]
    assert len(keys.fitting("RS256", None)) == 2
    assert len(keys.fitting("RS256", NEXT.rsa_kid)) == 1
    assert len(keys.fitting("ES256", None)) == 2
    assert not keys.fitting("ES256", "other")


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "quantum", "kid": "q"},
        {"kid": "q"},
        {**RSA, "use": "enc"},
        {**RSA, "key_ops": ["encrypt"]},
        {**RSA, "key_ops": "verify"},
        {**RSA, "alg": "RSA-OAEP"},
        {**RSA, "alg": "ES256"},
        {**RSA, "kid": 7},
        {**RSA, "n": "AQAB"},
        {**RSA, "n": ["AQAB"]},
        {**RSA, "n": "!!!"},
        {**RSA, "e": "AQ"},
        {**EC, "crv": "P-384"},
        {**EC, "x": EC["y"], "y": EC["x"]},
        {**EC, "crv": ["P-256"]},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": ["RSA"], "kid": "q"},
        secret(64),
        "text",
        None,
    ],
    ids=map(str, range(21)),  # The keys are new in each process of a run, and the names of the tests are not.
)
def test_a_key_that_verifies_nothing_does_not_make_the_others_useless(unusable: Any) -> None:
    assert len(of(unusable, EC)) == 1
    assert problem(json.dumps({"keys": [unusable]}).encode()).startswith("none of its 1 keys can verify RS256, ")


def test_curves_other_than_those_of_the_algorithms_are_not_used() -> None:
    odd = jwk_of(ec.generate_private_key(ec.SECP256K1()))
    assert len(of(odd, EC)) == 1


def test_short_keys_are_not_used() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert problem(json.dumps({"keys": [jwk_of(short)]}).encode()).startswith("none of its 1 keys")
    for name, length in zip(SYMMETRIC, (32, 48, 64), strict=True):
        assert len(of(secret(length), algorithms=[name])) == 1
        assert (
            problem(json.dumps({"keys": [secret(length - 1)]}).encode(), [name])
            == f"none of its 1 keys can verify {name}"
        )


def test_the_private_half_of_a_key_is_not_read() -> None:
    private = {**json.loads(RSAAlgorithm.to_jwk(CAMPUS.rsa)), "key_ops": ["sign", "verify"]}
    assert "d" in private
    (key,) = of(private).fitting("RS256", None)
    assert isinstance(key.key, rsa.RSAPublicKey)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the key set is not JSON"),
        (b"<html>", "the key set is not JSON"),
        (b"\xff\xfe", "the key set is not JSON"),
        (b"[" * 100_000, "the key set is not JSON"),
        (b"[]", "the key set is not a JSON object"),
        (b"{}", 'the key set has no list "keys"'),
        (b'{"keys": {}}', 'the key set has no list "keys"'),
        (b'{"keys": [], "keys": []}', "the key set has a name twice in one JSON object"),
        (b'{"keys": []}', "none of its 0 keys can verify RS256"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_message_says_why_bytes_are_no_key_set(data: bytes, expected: str) -> None:
    assert problem(data).startswith(expected)


def test_equal_keys_have_equal_digests_whatever_else_is_in_the_set() -> None:
    same = of({**EC, "x5t": "abc"}, RSA, {"kty": "quantum"})
    assert same.digest == of(RSA, EC, EC).digest
    others = [of(RSA), of({**RSA, "kid": "renamed"}, EC), of(*NEXT.jwks()["keys"]), of(RSA, {**EC, "kid": None})]
    assert len({keys.digest for keys in [same, *others]}) == 5


def test_a_secret_does_not_appear_in_texts() -> None:
    keys = of(secret(32), algorithms=["HS256"])
    assert secret(32)["k"] not in f"{keys!r} {keys.__dict__}"


async def read(host: KeyHost, behave: Behaviour, source: KeyServer = FAST) -> bytes:
    """Read the answer of a host in a thread, as the server does."""
    host.behave = behave
    return await asyncio.to_thread(source._replace(url=host.url).read)


async def failure(host: KeyHost, behave: Behaviour, source: KeyServer = FAST) -> str:
    """Return why the answer of a host is none."""
    with pytest.raises(KeySetError) as error:
        await read(host, behave, source)
    return str(error.value)


async def test_a_key_server_gets_one_get() -> None:
    async with key_host() as host:
        assert await read(host, answering(b"data")) == b"data"
        assert await read(host, raw(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")) == b"until the end"
        assert host.requests == ["GET /jwks.json HTTP/1.1"] * 2


async def test_the_query_of_a_url_is_sent_but_not_shown() -> None:
    async with key_host() as host:
        source = KeyServer(f"{host.url}?appid=secret")
        host.behave = answering(b"data")
        assert await asyncio.to_thread(source.read) == b"data"
        assert host.requests == ["GET /jwks.json?appid=secret HTTP/1.1"]
        assert str(source) == host.url


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_not_followed(status: str) -> None:
    async with key_host() as host, key_host() as other:
        other.behave = answering(CAMPUS.jwks_bytes())
        found = await failure(host, answering(CAMPUS.jwks_bytes(), status, location=other.url))
        assert found == f"the server answered with status {status[:3]}; redirects are not followed"
        assert other.requests == []


@pytest.mark.parametrize("status", [201, 204, 404, 500, 503])
async def test_only_status_200_has_keys(status: int) -> None:
    async with key_host() as host:
        answer = answering(b"" if status == 204 else CAMPUS.jwks_bytes(), f"{status} Some")
        assert await failure(host, answer) == f"the server answered with status {status}"


async def test_an_answer_may_have_one_megabyte() -> None:
    async with key_host() as host:
        patient = KeyServer("")
        assert len(await read(host, answering(b" " * MAX_BYTES), patient)) == MAX_BYTES
        expected = f"the key set has more than {MAX_BYTES} bytes"
        assert await failure(host, answering(b" " * (MAX_BYTES + 1)), patient) == expected
        endless = raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_BYTES + 1))
        assert await failure(host, endless, patient) == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
    ],
    ids=["empty", "nonsense", "too many headers"],
)
async def test_a_broken_answer_is_none(answer: bytes) -> None:
    async with key_host() as host:
        assert (await failure(host, raw(answer))).startswith("the server cannot be reached: ")


async def test_an_answer_that_is_cut_off_is_none() -> None:
    async with key_host() as host:
        short = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
        assert await failure(host, short) == "the answer was cut off"


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async with key_host() as host:
        assert "0.3 s" in await failure(host, host.hanging)


async def test_a_server_that_never_ends_its_answer_is_given_up() -> None:
    async with key_host() as host:
        assert await failure(host, dripping) == "the answer took more than 0.3 s"


async def test_a_server_that_is_not_there_is_reported() -> None:
    async with key_host() as host:
        gone = KeyServer(host.url)
    with pytest.raises(KeySetError, match=r"the server cannot be reached: .*refused"):
        await asyncio.to_thread(gone.read)


async def test_https_needs_a_certificate_that_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with key_host(tls) as host:
        assert "certificate verify failed" in await failure(host, answering(b"data"), KeyServer(""))
        assert host.requests == []
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert await read(host, answering(b"data"), KeyServer("")) == b"data"
        assert "0.3 s" in await failure(host, dripping)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "missing.json", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(KeySetError, match=f"the file cannot be read: {expected}"):
            KeyFile(path).read()
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(KeySetError, match="has more than"):
        KeyFile(large).read()


class Provider:
    """The keys of a host as a server trusts them, with a clock that stands still."""

    def __init__(self, host: KeyHost) -> None:
        self.host = host
        self.now = 0.0
        self.changes = 0
        self.keys = TrustedKeys(KeyServer(host.url), ASYMMETRIC, self._change, clock=lambda: self.now)
        self.tokens = Tokens(TokenRules(ISSUER, [AUDIENCE], ASYMMETRIC), self.keys)

    def _change(self) -> None:
        self.changes += 1

    async def accepts(self, bearer: str) -> bool:
        """Return whether a token has a caller."""
        return not isinstance((await self.tokens.verify(bearer, 0.0)).caller, Exception)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider whose host has the keys of CAMPUS, which were read once."""
    async with key_host() as host:
        host.behave = answering(CAMPUS.jwks_bytes())
        found = Provider(host)
        await found.keys.refresh()
        yield found


async def test_a_token_with_a_new_kid_refreshes_the_keys(provider: Provider) -> None:
    provider.host.behave = answering(NEXT.jwks_bytes())
    assert await provider.accepts(NEXT.token())
    assert not await provider.accepts(CAMPUS.token())
    assert provider.changes == 1
    assert len(provider.host.requests) == 2


async def test_unknown_kids_refresh_the_keys_once_a_minute(provider: Provider) -> None:
    for second, requests in ((0.0, 2), (0.1, 2), (59.9, 2), (60.0, 3), (61.0, 3), (120.0, 4)):
        provider.now = second
        for kid in ("unknown", "another"):
            assert not await provider.accepts(CAMPUS.token(headers={"kid": kid}))
        assert len(provider.host.requests) == requests


async def test_tokens_that_are_wrong_anyway_do_not_refresh_the_keys(provider: Provider) -> None:
    for bearer in ("a.b.c", CAMPUS.token(key=NEXT.rsa), CAMPUS.token(headers={"crit": ["x"], "kid": "unknown"})):
        assert not await provider.accepts(bearer)
    assert len(provider.host.requests) == 1


async def test_only_calls_with_an_unknown_kid_wait_for_the_refresh(provider: Provider) -> None:
    host = provider.host
    host.behave = lambda writer: host.silent_until_released(writer, answering(NEXT.jwks_bytes()))
    waiting = [asyncio.create_task(provider.accepts(NEXT.token(name))) for name in ("ada", "bo")]
    await host.asked()
    assert await provider.accepts(CAMPUS.token())
    assert not any(task.done() for task in waiting)
    host.release()
    assert await asyncio.gather(*waiting) == [True, True]
    assert len(host.requests) == 2


async def test_a_call_gives_up_waiting_for_a_refresh_that_hangs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registrar_server.identity.trusted_keys.MAX_WAIT_S", 0.05)
    provider.host.behave = provider.host.hanging
    assert not await provider.accepts(NEXT.token())
    assert await provider.accepts(CAMPUS.token())


@pytest.mark.parametrize(
    "broken",
    [
        answering(b"", "500 Broken"),
        answering(b"<html>"),
        answering(b'{"keys": []}'),
        raw(b""),
        answering(b" " * (MAX_BYTES + 1)),
    ],
    ids=["500", "HTML", "no keys", "nothing", "too large"],
)
async def test_the_last_good_keys_stay_while_the_source_fails(provider: Provider, log: Log, broken: Behaviour) -> None:
    provider.host.behave = broken
    for _ in range(3):
        await provider.keys.refresh()
        assert await provider.accepts(CAMPUS.token())
    (failed,) = log.of("key_set_failed")
    assert (failed["level"], failed["source"], failed["kept"]) == ("warning", provider.host.url, True)
    provider.host.behave = answering(CAMPUS.jwks_bytes())
    await provider.keys.refresh()
    assert len(log.of("key_set_back")) == 1
    assert provider.changes == 0
    provider.host.behave = answering(NEXT.jwks_bytes())
    await provider.keys.refresh()
    assert len(log.of("key_set_back", level="warning")) == 1
    assert log.of("key_set_changed", keys=2)
    assert provider.changes == 1


async def test_a_source_that_never_ends_does_not_hold_up_the_server(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registrar_server.identity.trusted_keys.MAX_READ_S", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keys = TrustedKeys(KeyFile(pipe), ASYMMETRIC, lambda: None)
    await keys.refresh()
    assert log.of("key_set_failed", error="the source took more than 0.05 s", kept=False)
    await asyncio.to_thread(pipe.write_bytes, CAMPUS.jwks_bytes())  # The thread that reads the pipe ends too.
    assert keys.current is None


async def test_refreshes_at_once_are_one_request(provider: Provider) -> None:
    await asyncio.gather(*(provider.keys.refresh() for _ in range(5)))
    assert len(provider.host.requests) == 2


async def test_a_caller_who_leaves_does_not_end_the_refresh_of_others(provider: Provider) -> None:
    host = provider.host
    host.behave = lambda writer: host.silent_until_released(writer, answering(NEXT.jwks_bytes()))
    first, second = (asyncio.create_task(provider.keys.refresh()) for _ in range(2))
    await host.asked()
    first.cancel()
    host.release()
    await second
    assert await provider.accepts(NEXT.token())


async def test_watching_retries_soon_after_any_refresh_that_fails(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token with a new kid can meet a failing source, minutes before the next refresh."""
    monkeypatch.setattr("registrar_server.identity.trusted_keys.RETRY_S", 0.01)
    host = provider.host
    watching = asyncio.create_task(provider.keys.watch())
    await asyncio.sleep(0)  # It waits for the next refresh.
    host.behave = answering(b"", "500 Broken")
    assert not await provider.accepts(NEXT.token())
    host.behave = answering(NEXT.jwks_bytes())
    async with asyncio.timeout(5):
        await host.asked()
    await provider.keys.refresh()  # It is the one under way, if that has not ended.
    assert await provider.accepts(NEXT.token())
    watching.cancel()


async def test_watching_reads_a_file_again_when_it_changes(tmp_path: Path, log: Log) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    keys = TrustedKeys(KeyFile(file, interval=0.001), ASYMMETRIC, lambda: None)
    keys.load()
    watching = asyncio.create_task(keys.watch())
    file.write_text("half of a fi")
    await log.one("key_set_failed", error="the key set is not JSON")
    assert keys.current is not None
    assert keys.current.knows(CAMPUS.rsa_kid)
    NEXT.write_keys(file)
    await log.one("key_set_changed", source=str(file))
    assert keys.current.knows(NEXT.rsa_kid)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def search(registrar: Registrar, bearer: str) -> Any:
    """Search the courses."""
    metadata = (("authorization", f"Bearer {bearer}"),)
    return await registrar.courses.SearchCourses(SearchCoursesRequest(), metadata=metadata)


async def test_a_token_stops_when_its_key_leaves_the_file(
    database_url: str, tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sources, "LOOK_S", 0.001)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": CAMPUS.jwks()["keys"] + NEXT.jwks()["keys"]}))
    async with registrar_on(database_url, **CAMPUS.settings(file)) as registrar:
        old, new = CAMPUS.token(), NEXT.token()
        for bearer in (old, new, old, new):
            await search(registrar, bearer)
        NEXT.write_keys(file)
        await log.one("key_set_changed")
        assert (await refused(search(registrar, old))).reason == "CREDENTIALS_INVALID"
        await search(registrar, new)


async def test_a_server_starts_without_its_key_server_and_takes_tokens_when_it_answers(
    sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registrar_server.identity.trusted_keys.RETRY_S", 0.001)
    async with key_host() as host:
        host.behave = answering(b"", "503 Later")
        async with registrar_on(sqlite_url, **CAMPUS.settings(host.url)) as registrar:
            failure = await refused(search(registrar, CAMPUS.token()))
            assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
            assert "the keys of the identity provider cannot be read" in failure.message
            assert (await log.one("key_set_failed"))["kept"] is False
            host.behave = answering(CAMPUS.jwks_bytes())
            await log.one("key_set_back")
            await search(registrar, CAMPUS.token())


async def test_a_server_has_the_keys_of_its_key_server_before_its_first_call(sqlite_url: str) -> None:
    async with key_host() as host:
        host.behave = answering(CAMPUS.jwks_bytes())
        async with registrar_on(sqlite_url, **CAMPUS.settings(host.url)) as registrar:
            await search(registrar, CAMPUS.token())
            assert len(host.requests) == 1


async def test_a_server_stops_while_its_key_server_hangs(sqlite_url: str) -> None:
    async with key_host() as host:
        host.behave = answering(CAMPUS.jwks_bytes())
        async with registrar_on(sqlite_url, **CAMPUS.settings(host.url)) as registrar:
            host.behave = host.hanging
            waiting = asyncio.create_task(search(registrar, NEXT.token()))
            await host.asked()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await waiting


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "the key set is not JSON"), ('{"keys": []}', "none of its 0 keys can verify RS256")],
)
async def test_a_server_with_a_wrong_key_file_does_not_start(
    sqlite_url: str, tmp_path: Path, content: str, expected: str
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(StartError) as error:
        await start(settings(sqlite_url, **CAMPUS.settings(file)))
    assert str(error.value).startswith(f"REGISTRAR_JWT_KEYS={file}: {expected}")


async def test_the_command_says_what_is_wrong_with_the_key_file(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    variables = {"JWT_KEYS": "keys.json", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    async with server_process(sqlite_url, tmp_path, **variables) as process:
        assert await process.wait() != 0
        assert 'REGISTRAR_JWT_KEYS=keys.json: the key set has no list "keys"' in "\n".join(process.others)
