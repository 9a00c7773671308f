"""API keys over a real server: who is let in, for how long, and what a key never shows up in."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import StatusCode

from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest
from registrar_server.app import Server, start
from registrar_server.identity import key_store
from registrar_server.identity.api_keys import ApiKeys
from registrar_server.identity.callers import Permission, Role, with_contained
from registrar_server.identity.key_format import check_key_name, make_key, read_key
from registrar_server.identity.key_store import HOUR, all_keys, has_keys, note_use, revoke_keys
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.storage.database import Database
from tests.support.api_keys import ACCEPTED, Clock, add, answer_to, bearer, id_of
from tests.support.databases import execute
from tests.support.http_calls import HttpCaller
from tests.support.outages import database_outage
from tests.support.refusals import refused
from tests.support.servers import FREE_PORT, Log, Registrar, calling, serving, settings

SECOND = 1_000_000
INVALID = "CREDENTIALS_INVALID"


class Keyed:
    """A server that knows one key, and its clock."""

    def __init__(self, server: Server, registrar: Registrar, key: str, clock: Clock) -> None:
        self.server = server
        self.registrar = registrar
        self.key = key
        self.clock = clock

    async def answer(self, key: str | None = None) -> str:
        """Return the answer to a caller with a key, usually the known one."""
        return await answer_to(self.registrar, key or self.key)


@pytest.fixture
async def keyed(database_url: str) -> AsyncIterator[Keyed]:
    """A server on each database, with one key."""
    key, clock = add(database_url), Clock()
    server = await start(settings(database_url, http_listen=FREE_PORT), clock=clock)
    async with calling(server.address) as registrar:
        yield Keyed(server, registrar, key, clock)
    await server.stop(grace=0)


def with_another_end(key: str) -> str:
    """Return a key with the same id and another secret."""
    return key[:-1] + ("0" if key[-1] != "0" else "1")


class TestForm:
    """What a key looks like."""

    def test_made(self) -> None:
        """A key has its id and 256 random bits in hex, and each key is another one."""
        (key, presented), (other, _) = make_key(), make_key()
        prefix, key_id, secret = key.split("_")
        assert (prefix, key_id, len(bytes.fromhex(secret))) == ("rk", presented.key_id, 32)
        assert read_key(key) == presented
        assert key != other
        assert secret not in repr(presented)

    @pytest.mark.parametrize(
        "bearer", ["rk_", "rk_1_2", "rk_0123456789abcdef", "rk__", "RK_{id}_{secret}", "rk_{id}_{secret}0", "rk_{id}_Z"]
    )
    def test_malformed(self, bearer: str) -> None:
        """Anything else is no key."""
        assert read_key(bearer.format(id="0" * 16, secret="0" * 64)) is None

    @pytest.mark.parametrize("name", ["sis-sync", "a", "0.a_b-c", "x" * 64])
    def test_name(self, name: str) -> None:
        """Names have few characters, so that they are safe in log lines and events."""
        assert check_key_name(name) == name

    @pytest.mark.parametrize("name", ["", "Sis", "sis sync", "-sis", "sis:sync", "x" * 65, "sis\n", "0123456789abcdef"])
    def test_no_name(self, name: str) -> None:
        """Other names are refused, and those that look like ids."""
        with pytest.raises(ValueError, match="must"):
            check_key_name(name)


class TestAnswers:
    """What callers get who present a key, or none."""

    async def test_right(self, keyed: Keyed) -> None:
        """The key lets its caller in, over gRPC and HTTP."""
        assert await keyed.answer() == ACCEPTED
        http = HttpCaller(keyed.server.http_address)
        assert (await http.call("GET", "/v1/students/nobody", authorization=f"Bearer {keyed.key}")).reason == ACCEPTED

    async def test_missing(self, keyed: Keyed) -> None:
        """Without a key, the answer says how to send one."""
        assert await answer_to(keyed.registrar) == "CREDENTIALS_MISSING"
        answer = await HttpCaller(keyed.server.http_address).call("GET", "/v1/students/nobody")
        assert (answer.status, answer.reason) == (401, "CREDENTIALS_MISSING")

    async def test_wrong(self, keyed: Keyed, log: Log) -> None:
        """Whatever is wrong, the answer is the same. Only the log says what it is."""
        unknown, _ = make_key()
        wrong = [unknown, with_another_end(keyed.key), keyed.key[:-1], keyed.key + "0", "rk_x", "x", keyed.key.upper()]
        answers = set()
        for key in wrong:
            request = CreateStudentRequest(student=Student(student_id="s-1"))
            failure = await refused(keyed.registrar.students.CreateStudent(request, metadata=bearer(key)))
            answers.add((failure.code, failure.reason, failure.message))
        assert {answer[:2] for answer in answers} == {(StatusCode.UNAUTHENTICATED, INVALID)}
        assert len(answers) == 1
        assert len({line["cause"] for line in log.of("rpc")}) == 4

    async def test_expired(self, keyed: Keyed, database_url: str) -> None:
        """A key that has expired lets nobody in."""
        assert await keyed.answer(add(database_url, lifetime=-1)) == INVALID
        assert await keyed.answer(add(database_url, lifetime=60 * SECOND)) == ACCEPTED

    async def test_rotation(self, keyed: Keyed, database_url: str) -> None:
        """Several keys of a name stand for the same caller, so that a key is replaced without a pause."""
        newer = add(database_url)
        for number, key in enumerate((keyed.key, newer)):
            request = CreateStudentRequest(student=Student(student_id=f"s-{number}"))
            await keyed.registrar.students.CreateStudent(request, metadata=bearer(key))
        events = (await keyed.registrar.history.ListEvents(ListEventsRequest(), metadata=bearer(newer))).events
        assert [event.actor for event in events] == ["key:sis-sync"] * 2

    async def test_role(self, keyed: Keyed, database_url: str) -> None:
        """The role of the key decides what its caller may do."""
        reader = add(database_url, "reports", Role.READER)
        assert await keyed.answer(reader) == ACCEPTED
        call = keyed.registrar.students.CreateStudent(
            CreateStudentRequest(student=Student(student_id="s-1")), metadata=bearer(reader)
        )
        failure = await refused(call)
        assert (failure.code, failure.reason) == (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")

    async def test_many_at_once(self, keyed: Keyed, database_url: str) -> None:
        """Many callers with right and wrong keys get the answers that each alone would get."""
        keys = [add(database_url, f"caller-{number}") for number in range(20)]
        wrong = [with_another_end(key) for key in keys]
        right_ones = asyncio.gather(*(keyed.answer(key) for key in keys * 5))
        wrong_ones = asyncio.gather(*(keyed.answer(key) for key in wrong * 5))
        assert (set(await right_ones), set(await wrong_ones)) == ({ACCEPTED}, {INVALID})


class TestRevoked:
    """Keys that end while servers run."""

    async def test_two_servers(self, keyed: Keyed, database_url: str) -> None:
        """A revoked key stops within 30 s on every server, and the other keys go on."""
        other_clock = Clock()
        other = await start(settings(database_url), clock=other_clock)
        kept = add(database_url, "other")
        async with calling(other.address) as registrar:
            assert await keyed.answer() == await answer_to(registrar, keyed.key) == ACCEPTED
            database = Database(database_url)
            assert revoke_keys(database, id_of(keyed.key), microseconds_now()) == 1
            database.close()
            keyed.clock.now = other_clock.now = 30.0
            assert await keyed.answer() == await answer_to(registrar, keyed.key) == INVALID
            assert await keyed.answer(kept) == await answer_to(registrar, kept) == ACCEPTED
        await other.stop(grace=0)

    async def test_remembered(self, keyed: Keyed, database_url: str) -> None:
        """A key is looked up once in 30 s."""
        assert await keyed.answer() == ACCEPTED
        execute(database_url, "UPDATE api_keys SET revoke_time = 1")
        keyed.clock.now = 29.9
        assert await keyed.answer() == ACCEPTED
        keyed.clock.now = 30.0
        assert await keyed.answer() == INVALID

    async def test_refusals_are_remembered(self, keyed: Keyed, database_url: str) -> None:
        """A key that is refused is not looked up again for 30 s."""
        execute(database_url, "UPDATE api_keys SET revoke_time = 1")
        assert await keyed.answer() == INVALID
        execute(database_url, "UPDATE api_keys SET revoke_time = NULL")
        keyed.clock.now = 29.9
        assert await keyed.answer() == INVALID
        keyed.clock.now = 30.0
        assert await keyed.answer() == ACCEPTED


class TestOutage:
    """A database that fails."""

    async def test_unavailable(self, keyed: Keyed, database_url: str, request: pytest.FixtureRequest) -> None:
        """No key is called wrong while the database cannot be asked, and callers who are remembered go on."""
        assert await keyed.answer() == ACCEPTED
        unknown, _ = make_key()
        with database_outage(database_url, request):
            assert await keyed.answer(unknown) == "DATABASE_UNAVAILABLE"
            assert await keyed.answer("rk_malformed") == INVALID
            keyed.clock.now = 30.0
            assert await keyed.answer() == "DATABASE_UNAVAILABLE"
        assert (await keyed.answer(), await keyed.answer(unknown)) == (ACCEPTED, INVALID)


class TestSource:
    """The source of identity on a database, with a wall clock that a test moves."""

    @pytest.fixture
    async def wall_clock(self) -> Clock:
        """The wall clock, in microseconds since 1970."""
        clock = Clock()
        clock.now = 1_800_000_000 * SECOND
        return clock

    @pytest.fixture
    async def source(self, database: Database, wall_clock: Clock) -> AsyncIterator[ApiKeys]:
        """The keys of a database."""
        source = ApiKeys(database, lambda: int(wall_clock()))
        yield source
        await source.close()

    async def test_caller(self, database_url: str, source: ApiKeys) -> None:
        """A key has the name, the role with those that it contains, and the permissions."""
        key = add(database_url, "sis-sync", Role.REGISTRAR, [Permission.OVERRIDE])
        caller = (await source.verify(key, 0.0)).caller
        assert not isinstance(caller, CredentialsRefused)
        assert (caller.actor, caller.student_id) == ("key:sis-sync", "")
        assert caller.roles == with_contained([Role.REGISTRAR])
        assert caller.permissions == {Permission.OVERRIDE}

    async def test_expiry_within_the_thirty_seconds(
        self, database_url: str, database: Database, source: ApiKeys, wall_clock: Clock
    ) -> None:
        """A caller is remembered no longer than the key is valid by the wall clock."""
        key = add(database_url)
        execute(database_url, "UPDATE api_keys SET expire_time = :time", time=int(wall_clock()) + 10 * SECOND)
        assert (await source.verify(key, 100.0)).until == 110.0
        wall_clock.now += 9 * SECOND
        assert (await source.verify(key, 109.0)).until == 110.0
        wall_clock.now += SECOND
        refusal = (await source.verify(key, 110.0)).caller
        assert isinstance(refusal, CredentialsRefused)
        assert refusal.cause.endswith("has expired")

    async def test_last_use(self, database_url: str, database: Database, source: ApiKeys, wall_clock: Clock) -> None:
        """The hour of the last use is written once per hour, and never set back."""
        key = add(database_url)
        begun = int(wall_clock()) // HOUR * HOUR

        async def used_at(now: int) -> int | None:
            wall_clock.now = now
            await source.verify(key, 0.0)
            await source.were_made()  # It runs in the same thread, after the write.
            return all_keys(database)[0].last_use_time

        assert await used_at(begun + 5 * SECOND) == begun
        execute(database_url, "UPDATE api_keys SET last_use_time = NULL")
        assert await used_at(begun + HOUR - 1) is None
        assert await used_at(begun + HOUR) == begun + HOUR
        note_use(database, id_of(key), begun)
        assert all_keys(database)[0].last_use_time == begun + HOUR

    async def test_wrong_secret_is_no_use(self, database_url: str, database: Database, source: ApiKeys) -> None:
        """Only a right key is used."""
        await source.verify(with_another_end(add(database_url)), 0.0)
        await source.were_made()
        assert all_keys(database)[0].last_use_time is None

    async def test_use_that_cannot_be_noted(self, sqlite_url: str, log: Log) -> None:
        """If the use cannot be written, the caller is let in all the same, and a line for debugging says so."""
        key = add(sqlite_url)
        execute(sqlite_url, "CREATE TRIGGER stop BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'no'); END")
        async with serving(sqlite_url) as server, calling(server.address) as registrar:
            assert await answer_to(registrar, key) == ACCEPTED
            line = await log.one("key_use_not_noted")
        assert (line["level"], line["key_id"]) == ("debug", id_of(key))

    async def test_use_that_is_noted_later(
        self, database_url: str, database: Database, source: ApiKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the use cannot be written, the next look-up tries again: a key in use must not seem unused."""

        def fail(*_: object) -> None:
            raise OSError("gone")

        key = add(database_url)
        with monkeypatch.context() as outage:
            outage.setattr(key_store, "note_use", fail)
            await source.verify(key, 0.0)
            await source.were_made()  # It runs in the same thread, after the write.
        await source.verify(key, 0.0)
        await source.were_made()
        assert all_keys(database)[0].last_use_time is not None


class TestSecrecy:
    """The secret of a key is nowhere but in the key."""

    async def test_log_answers_and_events(self, database_url: str, log: Log) -> None:
        """Lines of the log, answers and events of a key in use never have its secret."""
        keys = [add(database_url), with_another_end(add(database_url, "other")), add(database_url, "old", lifetime=-1)]
        shown: list[str] = []
        async with serving(database_url, slow_call=0) as server, calling(server.address) as registrar:
            for key in keys:
                request = CreateStudentRequest(student=Student(student_id=f"s-{id_of(key)}"))
                try:
                    shown.append(str(await registrar.students.CreateStudent(request, metadata=bearer(key))))
                except grpc.aio.AioRpcError as error:
                    shown.append(f"{error} {error!r} {error.trailing_metadata()}")
            shown.append(str(await registrar.history.ListEvents(ListEventsRequest(), metadata=bearer(keys[0]))))
        assert len(log.of("rpc", actor="key:sis-sync")) == 2
        assert len([line for line in log.of("rpc") if "cause" in line]) == 2
        shown.append(json.dumps(log.lines, default=repr))
        assert not [key for key in keys for text in shown if key in text or key.split("_")[2] in text]

    async def test_rows(self, database: Database, database_url: str) -> None:
        """The row of a key has only the digest of its secret."""
        key = add(database_url)
        secret = key.split("_")[2]
        row = repr(execute(database_url, "SELECT * FROM api_keys"))
        assert id_of(key) in row
        assert secret not in row
        assert repr(bytes.fromhex(secret))[2:-1] not in row
        assert secret not in repr(all_keys(database))

    async def test_traceback(self, database_url: str, request: pytest.FixtureRequest) -> None:
        """The traceback of a look-up that fails does not have it either."""
        key = add(database_url)
        database = Database(database_url)
        source = ApiKeys(database)
        assert has_keys(database)
        with database_outage(database_url, request), pytest.raises(Exception, match="not reachable") as failed:
            await source.verify(key, 0.0)
        assert key.split("_")[2] not in "".join(traceback.format_exception(failed.value))
        await source.close()
        database.close()
