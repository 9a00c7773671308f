"""Who did it: the actor in events, log lines and the scope of request ids, and on whose behalf."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine

from registrar_server.reading.reader import Reader
from tests.support.consistency import assert_consistent
from tests.support.doors import ROWS, Answered, Door, entering
from tests.support.http_calls import HttpCaller
from tests.support.servers import FREE_PORT, Gate, Log, serving

ANN, BOB = "admin+on_behalf_of+override@ann", "admin+on_behalf_of+override@bob"
NAMES = {"actor": f"test:{ANN}", "on_behalf_of": "the-dean"}
"""What the log says of a call that Ann makes on behalf of the dean."""


def student(student_id: str) -> dict[str, Any]:
    return {"student": {"student_id": student_id}}


async def events(door: Door, **fields: Any) -> list[tuple[str, str]]:
    """Return the actor of each event, and on whose behalf it was made."""
    found = (await door.made("reader", "ListEvents", **fields)).events
    return [(event.actor, event.on_behalf_of) for event in found]


async def test_events_say_who_made_them_and_for_whom(door: Door) -> None:
    await door.made(ANN, "CreateStudent", **student("s-1"))
    await door.made(BOB, "CreateStudent", behalf="the-dean", **student("s-2"))
    await door.made(BOB, "CreateStudent", behalf="the dean's office", **student("s-3"))
    await door.made("student:s-1", "ListCourses", student_id="s-1")
    everything = [(f"test:{ANN}", ""), (f"test:{BOB}", "the-dean"), (f"test:{BOB}", "the dean's office")]
    assert await events(door) == everything
    assert await events(door, actor=f"test:{ANN}") == everything[:1]
    assert await events(door, actor=f"test:{BOB}") == everything[1:]
    assert await events(door, on_behalf_of="the-dean") == everything[1:2]
    assert await events(door, actor=f"test:{BOB}", on_behalf_of="the dean's office") == everything[2:]
    assert await events(door, actor=f"test:{ANN}", on_behalf_of="the-dean") == []
    assert await events(door, student_id="s-2", on_behalf_of="the-dean") == everything[1:2]


@pytest.mark.parametrize("options", [{}, {"atomic": True}, {"unordered": True}], ids=str)
async def test_events_of_a_batch_say_it_too(door: Door, options: dict[str, Any]) -> None:
    writes = [{"create_student": student(one)} for one in ("s-1", "s-2")]
    await door.made(ANN, "BatchWrite", behalf="the-dean", writes=writes, **options)
    assert await events(door) == [(f"test:{ANN}", "the-dean")] * 2


async def test_a_promotion_has_the_actor_of_the_call_that_made_it(door: Door) -> None:
    for one in ("s-1", "s-2"):
        await door.made(ANN, "CreateStudent", **student(one))
    await door.made(ANN, "CreateCourse", course={"course_id": "ONE", "capacity": 1, "waitlist_capacity": 1})
    for one in ("s-1", "s-2"):
        await door.made(f"student:{one}", "EnrollStudent", student_id=one, course_id="ONE")
    await door.made("student:s-1", "Unenroll", student_id="s-1", course_id="ONE")
    assert [actor for actor, _ in await events(door, course_id="ONE", student_id="s-2")] == [
        "test:student:s-2",
        "test:student:s-1",
    ]


@pytest.mark.parametrize(("caller", "name"), [("admin@eve", "the-dean"), (ANN, "d" * 129)], ids=["right", "name"])
async def test_the_log_names_a_caller_who_may_not_name_another(door: Door, log: Log, caller: str, name: str) -> None:
    await door.refused(caller, "GetStudent", behalf=name, student_id="s-1")
    line = await log.one("rpc")
    assert line["actor"] == f"test:{caller}"
    assert "on_behalf_of" not in line


class TestRequestIds:
    """Each actor has request ids of their own. The person on whose behalf a call is made is part of its content."""

    async def test_of_two_actors(self, door: Door) -> None:
        request_id = str(uuid.uuid4())
        await door.made(ANN, "CreateStudent", request_id=request_id, **student("s-1"))
        await door.made(BOB, "CreateStudent", request_id=request_id, **student("s-2"))
        answered = await door.refused(BOB, "CreateStudent", request_id=request_id, **student("s-3"))
        assert answered.reason == "REQUEST_ID_REUSED"
        assert [actor for actor, _ in await events(door)] == [f"test:{ANN}", f"test:{BOB}"]

    @pytest.mark.parametrize("options", [{}, {"atomic": True}, {"unordered": True}], ids=str)
    async def test_of_two_actors_in_batches(self, door: Door, options: dict[str, Any]) -> None:
        """The second actor may send the id with other options, too."""
        request_id = str(uuid.uuid4())
        others: dict[str, Any] = {} if options else {"unordered": True}
        for bearer, one, chosen in ((ANN, "s-1", options), (BOB, "s-2", others)):
            batch: dict[str, Any] = {"request_id": request_id, "writes": [{"create_student": student(one)}]}
            response = await door.made(bearer, "BatchWrite", **batch, **chosen)
            assert response.refused_count == 0
            answered = await door.refused(bearer, "BatchWrite", **batch, atomic=not chosen.get("atomic"))
            assert answered.reason == "REQUEST_ID_REUSED"
        assert len(await events(door)) == 2

    async def test_on_behalf_of_others(self, door: Door) -> None:
        request_id = str(uuid.uuid4())
        change = {"request_id": request_id, **student("s-1")}
        made = await door.made(ANN, "CreateStudent", behalf="the-dean", **change)
        assert await door.made(ANN, "CreateStudent", behalf="the-dean", **change) == made
        for behalf in ("", "the-provost"):
            answered = await door.refused(ANN, "CreateStudent", behalf=behalf, **change)
            assert answered.reason == "REQUEST_ID_REUSED"
        assert len(await events(door)) == 1

    @pytest.mark.parametrize("options", [{}, {"atomic": True}, {"unordered": True}], ids=str)
    async def test_on_behalf_of_others_in_batches(self, door: Door, options: dict[str, Any]) -> None:
        batch = {"request_id": str(uuid.uuid4()), "writes": [{"create_student": student("s-1")}], **options}
        made = await door.made(ANN, "BatchWrite", behalf="the-dean", **batch)
        again = await door.made(ANN, "BatchWrite", behalf="the-dean", **batch)
        assert again.results == made.results
        for behalf in ("", "the-provost"):
            answered = await door.refused(ANN, "BatchWrite", behalf=behalf, **batch)
            assert answered.reason == "REQUEST_ID_REUSED"
        assert len(await events(door)) == 1

    async def test_twins_are_calls_of_one_actor(self, gate: Gate, door: Door) -> None:
        """Two actors who send the same at the same time do not share an answer; two calls of one actor do."""
        change = {"request_id": str(uuid.uuid4()), **student("s-1")}
        with gate.closed():
            first = asyncio.ensure_future(door.call(ANN, "CreateStudent", **change))
            await gate.holds_one()
            others = [asyncio.ensure_future(door.call(bearer, "CreateStudent", **change)) for bearer in (ANN, BOB)]
            await door.call("reader", "ListStudents")  # The others have arrived.
        same, other = await asyncio.gather(*others)
        assert same == await first
        assert not same.reason
        assert other.reason == "STUDENT_EXISTS"


class TestOnBehalfOf:
    """The caller needs a permission to name a person, also for reads, and the name must be fit for the history."""

    @pytest.mark.parametrize("name", ["ListStudents", "CreateStudent", "BatchWrite"])
    async def test_the_permission(self, door: Door, name: str) -> None:
        answered = await door.refused("admin", name, behalf="the-dean")
        assert (answered.reason, dict(answered.info.metadata)) == ("ROLE_REQUIRED", {"role": "on_behalf_of"})
        answered = await door.refused("student:s-1", name, behalf="s-1")
        assert dict(answered.info.metadata) == {"role": "on_behalf_of"}

    async def test_the_permission_is_not_a_role(self, door: Door) -> None:
        answered = await door.refused("reader+on_behalf_of", "CreateStudent", behalf="the-dean", **student("s-1"))
        assert dict(answered.info.metadata) == {"role": "admin"}

    @pytest.mark.parametrize("name", ["x", "a b", "!~", "x" * 128, "ann,bob"])
    async def test_names(self, door: Door, name: str) -> None:
        await door.made(ANN, "CreateStudent", behalf=name, **student("s-1"))
        assert await events(door, on_behalf_of=name) == [(f"test:{ANN}", name)]

    @pytest.mark.parametrize("names", [["x" * 129], [""], ["ann", "bob"], ["ann", "ann"]], ids=str)
    async def test_what_is_no_name(self, door: Door, names: list[str]) -> None:
        answered = await self.send(door, names)
        assert answered.reason == "INVALID_FIELD"
        assert "registrar-on-behalf-of" in answered.status.message

    async def test_credentials_come_first(self, door: Door) -> None:
        assert (await self.send(door, ["x" * 129], "reader")).reason == "ROLE_REQUIRED"
        assert (await self.send(door, ["x" * 129], "unknown")).reason == "CREDENTIALS_INVALID"

    async def send(self, door: Door, names: list[str], bearer: str = ANN) -> Answered:
        headers = [("authorization", f"Bearer {bearer}"), *(("registrar-on-behalf-of", name) for name in names)]
        return await door.way.send("ListStudents", ROWS["ListStudents"].request(), headers)

    async def test_characters_that_are_not_ascii(self, sqlite_url: str) -> None:
        """HTTP could carry them, but gRPC could not."""
        async with serving(sqlite_url, http_listen=FREE_PORT) as server:
            headers = {"registrar-on-behalf-of": "Zoë"}
            response = await HttpCaller(server.http_address).send("GET", "/v1/students", headers=headers)
        assert list(response.faults) == ["registrar-on-behalf-of"]

    async def test_a_server_that_does_not_identify_callers_takes_any_name(self, sqlite_url: str) -> None:
        """Like the rest of such a call, it is taken on trust."""
        async with serving(sqlite_url, http_listen=FREE_PORT) as server:
            caller = HttpCaller(server.http_address)
            await caller.call("POST", "/v1/students", {"student_id": "s-1"}, registrar_on_behalf_of="the-dean")
            found = await caller.call("GET", "/v1/events", query={"on_behalf_of": "the-dean"})
        assert [(event["actor"], event["student_id"]) for event in found.json["events"]] == [("", "s-1")]


class TestLogLines:
    """Every line of a call has its actor, and the person on whose behalf it is made."""

    async def test_of_changes_and_refusals(self, door: Door, log: Log) -> None:
        await door.made(ANN, "CreateStudent", **student("s-1"))
        await door.made(ANN, "CreateCourse", course={"course_id": "c-1"})
        log.lines.clear()
        enrollment = {"student_id": "s-1", "course_id": "c-1"}
        await door.made(ANN, "EnrollStudent", behalf="the-dean", **enrollment)
        await door.refused(ANN, "EnrollStudent", behalf="the-dean", **enrollment)
        await door.made(ANN, "BatchWrite", behalf="the-dean", writes=[{"unenroll": enrollment}] * 2)
        await door.made(ANN, "ListStudents", behalf="the-dean")
        seen = sorted(line["event"] for line in log.lines)
        assert seen == sorted(
            [
                *("student_enrolled", "enrollment_refused", "student_unenrolled", "enrollment_refused"),
                *(["rpc"] * 6),
            ]
        )
        assert all(line.items() >= NAMES.items() for line in log.lines), log.lines

    async def test_of_malformed_requests(self, door: Door, log: Log) -> None:
        await door.refused(ANN, "CreateStudent", behalf="the-dean", student={"student_id": "not an id"})
        assert log.of("rpc", reason="INVALID_FIELD", **NAMES)

    @pytest.mark.parametrize("kind", ["grpc", "http"])
    async def test_of_slow_calls(self, sqlite_url: str, log: Log, kind: str) -> None:
        async with entering(kind, sqlite_url, slow_call=1e-9) as door:
            await door.made(ANN, "CreateStudent", behalf="the-dean", **student("s-1"))
        assert (await log.one("rpc", method="CreateStudent", **NAMES))["level"] == "warning"

    async def test_of_crashes(self, door: Door, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(*_arguments: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(Reader, "list_students", crash)
        answered = await door.call(ANN, "ListStudents", behalf="the-dean")
        assert answered.status.code == 13  # INTERNAL
        assert log.of("rpc_crashed", **NAMES)
        assert log.of("rpc", status="INTERNAL", **NAMES)


async def test_the_database_agrees_with_its_history(database_url: str, engine: Engine) -> None:
    """``verify`` finds nothing, whoever made the changes, and a sweep has an actor of its own."""
    async with entering("grpc", database_url) as door:
        for bearer, one in ((ANN, "s-1"), (BOB, "s-2")):
            change = {"request_id": str(uuid.uuid4()), **student(one)}
            for _ in range(2):
                await door.made(bearer, "CreateStudent", behalf="the-dean", **change)
        course = {"course_id": "ONE", "capacity": 1, "waitlist_capacity": 1}
        await door.made(ANN, "CreateCourse", course=course, request_id=str(uuid.uuid4()))
        writes = [{"enroll_student": {"student_id": one, "course_id": "ONE"}} for one in ("s-1", "s-2")]
        await door.made(BOB, "BatchWrite", behalf="the-dean", writes=writes, request_id=str(uuid.uuid4()))
        await door.made("student:s-1", "Unenroll", student_id="s-1", course_id="ONE", request_id=str(uuid.uuid4()))
        assert len(await events(door, on_behalf_of="the-dean")) == 4
    assert_consistent(engine)
