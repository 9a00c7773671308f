"""Batches over HTTP: how their JSON becomes writes, what is refused by its path, and what the answers look like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

import pytest

from registrar.v1.error_reason_pb2 import BatchRefusals
from registrar_server.errors import Reason, Refusal
from registrar_server.http import json_answers
from registrar_server.http.answers import LARGE_BYTES
from registrar_server.http.json_requests import MAX_PARTS, MAX_PARTS_OF_BATCH, read_request
from registrar_server.http.routes import Router, all_routes
from registrar_server.rpc.batch_requests import MAX_WRITES
from tests.support.history_calls import history
from tests.support.http_calls import HttpCaller, HttpResponse
from tests.support.servers import FREE_PORT, Gate, Log, Registrar, calling, serving

Json = dict[str, Any]

PATH = "/v1/batchWrite"
ROUTER = Router(all_routes(), described=True)
REQUEST_ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
ENROLL: Json = {"enroll_student": {"student_id": "s-1", "course_id": "CS-101"}}
UNENROLL: Json = {"unenroll": {"student_id": "s-1", "course_id": "CS-101"}}
NOBODY: Json = {"enroll_student": {"student_id": "nobody", "course_id": "CS-101"}}
MEETING = {
    "weekdays": ["MONDAY", "WEDNESDAY", "FRIDAY"],
    "start_time": {"hours": 9, "minutes": 30},
    "end_time": {"hours": 10, "minutes": 20},
    "start_date": {"year": 2026, "month": 8, "day": 24},
    "end_date": {"year": 2026, "month": 12, "day": 11},
    "location": "Siebel Center 1404",
}


def read(body: Any, **headers: str) -> Any:
    """Return the request that the server reads."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(ROUTER.find("POST", PATH.encode()), b"", named, data)


def faults(body: Any, **headers: str) -> dict[str, str]:
    """Return the faults of a request that is refused."""
    with pytest.raises(Refusal) as caught:
        read(body, **headers)
    assert caught.value.reason == Reason.INVALID_FIELD
    return dict(caught.value.fields)


def course_of_a_catalog(place: int) -> dict[str, Any]:
    """Return a write that creates a course with a value in every field, and meetings in three parts of the term."""
    return {
        "create_course": {
            "course": {
                "course_id": f"CS-{place}",
                "code": "CS 101",
                "title": "Intro Computing",
                "description": "Principles, concepts, and methods of computing, with applications in engineering.",
                "term": "Fall 2026",
                "component": "Lecture",
                "credits": "3",
                "capacity": 120,
                "waitlist_capacity": 20,
                "enroll_open_time": "2026-08-01T08:00:00Z",
                "enroll_close_time": "2026-09-01T08:00:00Z",
                "drop_deadline_time": "2026-10-01T08:00:00Z",
                "meetings": [MEETING] * 3,
                "prerequisite_course_ids": ["MATH-1", "MATH-2"],
            }
        }
    }


class TestRequests:
    """The JSON of a batch."""

    @pytest.mark.parametrize("name", ["enroll_student", "enrollStudent"])
    def test_write(self, name: str) -> None:
        """A write names its RPC in either spelling, and its timeout as seconds."""
        found = read({"writes": [{name: {"courseId": "c"}, "timeout": "1.5s"}, {name: {}}], "atomic": True})
        assert [write.WhichOneof("write") for write in found.writes] == ["enroll_student"] * 2
        assert found.writes[0].enroll_student.course_id == "c"
        assert found.writes[0].timeout.ToMilliseconds() == 1500
        assert not found.writes[1].HasField("timeout")
        assert found.atomic

    def test_two_requests_in_a_write(self) -> None:
        """A write has one request: every other one is refused by its path, in either spelling."""
        body = {"writes": [ENROLL, {**ENROLL, **UNENROLL, "settleCourse": {}, "timeout": "1s"}]}
        assert faults(body) == {
            "writes[1].unenroll": "must not be set together with enroll_student",
            "writes[1].settle_course": "must not be set together with enroll_student",
        }

    def test_null_beside_a_request(self) -> None:
        """Null is no request, so another one may stand beside it."""
        found = read({"writes": [{"unenroll": None, **ENROLL}, {**ENROLL, "unenroll": None}, {"unenroll": None}]})
        assert [write.WhichOneof("write") for write in found.writes] == ["enroll_student", "enroll_student", None]

    def test_all_faults_at_once(self) -> None:
        """One refusal names every value that does not fit, in every write, by its path."""
        override = {"rules": ["ERROR_REASON_COURSE_FUL"], "why": "x"}
        body: Json = {
            "writes": [
                ENROLL,
                {"enroll_students": {}},
                {"enroll_student": {"student_id": 5, "corse_id": "c", "override": override}},
                {"create_course": {"course": {"meetings": [{"start_time": {"hours": "nine"}}]}}},
                {**UNENROLL, "timeout": 5},
                None,
                [],
            ],
            "view": "ALL",
            "unordered": "no",
        }
        found = faults(body)
        assert found.pop("writes[2].enroll_student.override.rules[0]").startswith("must be one of ERROR_REASON_")
        assert found == {
            "writes[1].enroll_students": "is no field of Write; enroll_student is one",
            "writes[2].enroll_student.student_id": "must be a string, not 5",
            "writes[2].enroll_student.corse_id": "is no field of EnrollStudentRequest; course_id is one",
            "writes[2].enroll_student.override.why": "is no field of Override",
            "writes[3].create_course.course.meetings[0].start_time.hours": (
                'must be a whole number from -2147483648 to 2147483647, not "nine"'
            ),
            "writes[4].timeout": "must be a duration in seconds, such as 1.5s, not 5",
            "writes[5]": "must be a JSON object, not null",
            "writes[6]": "must be a JSON object, not an array",
            "view": 'must be one of BATCH_VIEW_UNSPECIFIED, BATCH_VIEW_FULL, BATCH_VIEW_ERRORS, not "ALL"',
            "unordered": 'must be true or false, not "no"',
        }

    def test_too_many_writes(self) -> None:
        """A batch has a limited number of writes."""
        assert len(read({"writes": [ENROLL] * MAX_WRITES}).writes) == MAX_WRITES
        expected = {"writes": f"must have at most {MAX_WRITES} entries, has {MAX_WRITES + 1}"}
        assert faults({"writes": [ENROLL] * (MAX_WRITES + 1)}) == expected

    def test_a_catalog(self) -> None:
        """1,000 courses with meetings fit into a body, though they have more values than a single call may have."""
        body = json.dumps({"writes": [course_of_a_catalog(place) for place in range(MAX_WRITES)]}).encode()
        assert body.count(b",") > MAX_PARTS
        assert read(body).writes[MAX_WRITES - 1].create_course.course.course_id == f"CS-{MAX_WRITES - 1}"

    def test_too_many_values(self) -> None:
        """The number of values of a batch is limited, too, whatever they are."""
        expected = f"must have fewer than {MAX_PARTS_OF_BATCH} values and escaped characters"
        assert faults(b"[" + b"1," * MAX_PARTS_OF_BATCH + b"1]") == {"body": expected}

    def test_idempotency_key(self) -> None:
        """Idempotency-Key is the ``request_id`` of the batch, and must agree with the body."""
        assert read({"writes": [ENROLL]}, idempotency_key=REQUEST_ID).request_id == REQUEST_ID
        expected = {"request_id": f'is given twice, as "x" and as "{REQUEST_ID}"'}
        assert faults({"writes": [ENROLL], "request_id": "x"}, idempotency_key=REQUEST_ID) == expected
        expected = {"If-Match": "does not apply to BatchWrite"}
        assert faults({"writes": [ENROLL]}, if_match='"a"') == expected


async def batch(http: HttpCaller, writes: Sequence[Mapping[str, Any]], **others: Any) -> HttpResponse:
    """Send a batch. Fields in lower case belong to the body, and ``headers`` to the request."""
    headers = others.pop("headers", {})
    return await http.call("POST", PATH, {"writes": writes, **others}, **headers)


def reason_of(result: Mapping[str, Any]) -> str:
    """Return the reason of the error in a result."""
    detail = result["error"]["details"][0]
    assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    return str(detail["reason"])


async def test_a_refused_write_is_a_status_in_its_result(http: HttpCaller) -> None:
    """The answer is 200 with a result for each write. That of a refused write is its status, with all its details."""
    answer = await batch(http, [ENROLL, NOBODY, {"enroll_student": {"student_id": "?"}}, {}, UNENROLL])
    single = await http.call("POST", "/v1/students/nobody/enroll", {"course_id": "CS-101"})
    assert (answer.status, answer.json["refused_count"], answer.json["abridged"]) == (200, 3, False)
    enrolled, unknown, invalid, empty, unenrolled = answer.json["results"]
    assert enrolled["enroll_student"]["enrollment"]["state"] == "ENROLLMENT_STATE_ENROLLED"
    assert unenrolled["unenroll"]["enrollment"]["state"] == "ENROLLMENT_STATE_DROPPED"
    assert unknown == {"error": single.json}
    assert reason_of(invalid) == reason_of(empty) == "INVALID_FIELD"
    assert [fault["field"] for fault in invalid["error"]["details"][1]["field_violations"]] == [
        "student_id",
        "course_id",
    ]
    assert "etag" not in answer.headers


async def test_errors_only(http: HttpCaller) -> None:
    """With the view ERRORS the results of writes that succeeded are empty objects."""
    answer = await batch(http, [ENROLL, NOBODY], view="BATCH_VIEW_ERRORS")
    assert [list(result) for result in answer.json["results"]] == [[], ["error"]]


async def test_an_atomic_batch_that_is_refused(both: tuple[HttpCaller, Registrar]) -> None:
    """The status is that of the first refused write, with its index, and with the reasons of all refused writes."""
    http, registrar = both
    before = await history(registrar)
    answer = await batch(http, [ENROLL, NOBODY, UNENROLL, UNENROLL], atomic=True)
    assert (answer.status, answer.reason) == (404, "STUDENT_NOT_FOUND")
    assert answer.json["details"][0]["metadata"] == {"student_id": "nobody", "index": "1"}
    (refusals,) = (one for one in answer.json["details"] if one["@type"].endswith(BatchRefusals.DESCRIPTOR.full_name))
    assert refusals["refusals"] == [
        {
            "index": 1,
            "reasons": ["ERROR_REASON_STUDENT_NOT_FOUND"],
            "description": 'There is no student "nobody".',
        },
        {
            "index": 3,
            "reasons": ["ERROR_REASON_NOT_ENROLLED"],
            "description": 'Student "s-1" has no live enrollment in "CS-101".',
        },
    ]
    assert await history(registrar) == before


async def test_a_batch_that_is_wrong_itself(both: tuple[HttpCaller, Registrar]) -> None:
    """A fault of the batch itself, or of its JSON, refuses all of it."""
    http, registrar = both
    before = await history(registrar)
    for writes, others, expected in (
        ([], {}, {"writes": f"must have from 1 to {MAX_WRITES} entries, has 0"}),
        ([ENROLL], {"atomic": True, "unordered": True}, {"unordered": "must not be set together with atomic"}),
        ([ENROLL, {**ENROLL, **UNENROLL}], {}, {"writes[1].unenroll": "must not be set together with enroll_student"}),
    ):
        answer = await batch(http, writes, **others)
        assert (answer.status, answer.reason, answer.faults) == (400, "INVALID_FIELD", expected)
    assert await history(registrar) == before


async def test_a_batch_that_is_sent_again(both: tuple[HttpCaller, Registrar]) -> None:
    """The same Idempotency-Key returns the first answer. Each write has an id that follows from the key."""
    http, registrar = both
    writes = [ENROLL, UNENROLL, {"create_student": {"student": {"student_id": "s-9"}}}]
    first = await batch(http, writes, headers={"idempotency_key": REQUEST_ID})
    before = await history(registrar)
    again = await batch(http, writes, headers={"idempotency_key": REQUEST_ID})
    assert (first.status, first.json["refused_count"]) == (200, 0)
    assert again.json == first.json
    single = await http.call(
        *("POST", "/v1/students/s-1/enroll", {"course_id": "CS-101"}),
        idempotency_key=str(uuid5(UUID(REQUEST_ID), "0")),
    )
    assert single.json == first.json["results"][0]["enroll_student"]
    assert await history(registrar) == before
    other = await batch(http, writes, unordered=True, headers={"idempotency_key": REQUEST_ID})
    assert (other.status, other.reason) == (400, "REQUEST_ID_REUSED")


async def test_a_large_batch(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many writes as a batch can have are made and answered whole, and other calls are served meanwhile."""
    monkeypatch.setattr(json_answers, "PIECE_S", 0.0)
    writes = [{"create_student": {"student": {"student_id": f"s-{place}"}}} for place in range(MAX_WRITES - 1)]
    async with serving(database_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await registrar.add_course("CS-101")
        http = HttpCaller(server.http_address)
        answer, small = await asyncio.gather(
            batch(http, [*writes, NOBODY], unordered=True), http.call("GET", "/v1/courses/CS-101")
        )
    assert len(answer.raw) > LARGE_BYTES
    *created, refused = answer.json["results"]
    ids = [result["create_student"]["student"]["student_id"] for result in created]
    assert ids == [f"s-{place}" for place in range(MAX_WRITES - 1)]
    assert reason_of(refused) == "STUDENT_NOT_FOUND"
    assert small.status == 200


@pytest.mark.parametrize("options", [{}, {"atomic": True}, {"unordered": True}], ids=str)
async def test_deadline_of_a_batch_that_has_begun(gate: Gate, database_url: str, log: Log, options: Json) -> None:
    """A batch whose work has begun when its deadline passes may have made changes, and the answer says so."""
    async with serving(database_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        http = HttpCaller(server.http_address)
        with gate.closed():
            answer = await batch(http, [ENROLL], **options, headers={"registrar_timeout": "50ms"})
        assert (answer.status, answer.json["code"]) == (504, 4)
        assert answer.json["message"].startswith("The deadline passed before the answer. A change may have been made")
        for name in ("BatchWrite", "EnrollStudent"):
            assert [line["status"] for line in log.of("rpc", method=name)] == ["DEADLINE_EXCEEDED"]


async def test_client_of_a_batch_that_leaves(gate: Gate, database_url: str, log: Log) -> None:
    """A batch whose client has closed its connection is logged as CANCELLED, and so is each write that waits."""
    async with serving(database_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        http = HttpCaller(server.http_address)
        with gate.closed():
            sent = asyncio.create_task(batch(http, [ENROLL, NOBODY], unordered=True))
            await gate.holds_one()
            sent.cancel()
            for line in (await log.one("rpc", method="BatchWrite"), *[await log.one("rpc", write=n) for n in (0, 1)]):
                assert line["status"] == "CANCELLED"
