"""Every RPC over gRPC and over HTTP: the same answers, refusals, events and log lines.

One story is told to two servers with a database each: to one over gRPC, to the other over HTTP, once in each style.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.code_pb2 import Code

from registrar.v1.batch_service_pb2 import Write
from registrar_server.rpc.methods import Method, Watch
from registrar_server.rpc.table import METHODS, SERVICES
from tests.support import raw_connections
from tests.support.http_calls import JSON, HttpCaller, HttpResponse
from tests.support.http_forms import HttpForm, Style, as_http, bindings, template
from tests.support.raw_connections import connected
from tests.support.refusals import DETAILS_KEY
from tests.support.server_sent import EventReader
from tests.support.servers import FREE_PORT, Log, calling, serving

STYLES = {
    "first routes": Style(),
    "second routes": Style(binding=1),
    "camel case": Style(camel_case=True),
    "headers": Style(headers=True),
}
IDS = [f"{number:08x}-6b3d-4d0c-9a3e-0f6d3f8c2b11" for number in range(20)]
OPEN = "2020-01-01T00:00:00Z"
WEEKLY = {
    "weekdays": ["MONDAY", "FRIDAY"],
    "start_time": {"hours": 9},
    "end_time": {"hours": 10, "minutes": 30},
    "start_date": {"year": 2026, "month": 8, "day": 24},
    "location": "Room 1",
}
BY_ADVICE = {"rules": ["ERROR_REASON_COURSE_FULL", "ERROR_REASON_STUDENT_HOLD"], "reason": "As agreed."}


def write(kind: str, student_id: str, course_id: str, **others: Any) -> dict[str, Any]:
    """Return a write for a student and a course."""
    return {kind: {"student_id": student_id, "course_id": course_id, **others}}


# A write of each kind, and some that are refused.
WRITES: list[dict[str, Any]] = [
    {"create_student": {"student": {"student_id": "bo", "given_name": "Bo"}, "request_id": IDS[19]}},
    {"create_course": {"course": {"course_id": "B", "capacity": 1, "waitlist_capacity": 1, "meetings": [WEEKLY]}}},
    {"create_course": {"course": {"course_id": "B2"}}},
    {"create_course": {"course": {"course_id": "B2", "capacity": -1}}},
    {**write("enroll_student", "bo", "B"), "timeout": "30s"},
    {**write("enroll_student", "bo", "B"), "timeout": "-1s"},
    write("enroll_student", "s-4", "B"),
    write("enroll_student", "s-1", "B", override=BY_ADVICE, validate_only=True),
    write("enroll_student", "s-2", "B"),
    {"update_student": {"student": {"student_id": "bo", "family_name": "Peep"}, "update_mask": "familyName"}},
    {"update_student": {"student": {"student_id": "bo", "etag": "stale"}}},
    {"swap_enrollment": {"student_id": "bo", "from_course_id": "B", "to_course_id": "B2"}},
    write("complete_enrollment", "bo", "B2", grade="A"),
    write("record_completion", "bo", "ONE"),
    {"void_completion": {"enrollment_id": "<enrollment_id 9>"}},
    {"place_hold": {"student_id": "bo", "code": "BURSAR"}},
    write("enroll_student", "bo", "a:b"),
    {"release_hold": {"student_id": "bo", "code": "BURSAR"}},
    write("unenroll", "s-4", "B"),
    {"update_course": {"course": {"course_id": "B", "capacity": 2}}},
    {"settle_course": {"course_id": "B"}},
    {"delete_course": {"course_id": "B2", "force": True}},
    {"undelete_course": {"course_id": "B2"}},
    {"delete_student": {"student_id": "s:3"}},
    {"undelete_student": {"student_id": "s:3"}},
    {},
]

# The story: the RPC, and its request. A word in angle brackets stands for a value that the server has made, in the
# order in which it first appeared.
STORY: list[tuple[str, dict[str, Any]]] = [
    ("CreateStudent", {"student": {"student_id": "s-1", "given_name": "Ada", "email": "ada@example.edu"}}),
    ("CreateStudent", {"student": {"student_id": "s:2/x", "max_credits": "?"}}),
    ("CreateStudent", {"student": {"student_id": "s-2", "max_credits": "4.50"}, "request_id": IDS[0]}),
    ("CreateStudent", {"student": {"student_id": "s-2", "max_credits": "4.50"}, "request_id": IDS[0]}),
    ("CreateStudent", {"student": {"student_id": "s-3"}, "request_id": IDS[0]}),
    ("CreateStudent", {"student": {"student_id": "s-2"}}),
    ("CreateStudent", {"student": {"student_id": "s:3", "state": "STUDENT_STATE_INACTIVE", "family_name": "Žižek"}}),
    ("CreateStudent", {"student": {"given_name": "Grace"}}),
    ("GetStudent", {"student_id": "s-1"}),
    ("GetStudent", {"student_id": "nobody", "show_deleted": True}),
    ("GetStudent", {"student_id": "no body/%"}),
    ("UpdateStudent", {"student": {"student_id": "s-1", "family_name": "Byron", "etag": "<etag 1>"}}),
    ("UpdateStudent", {"student": {"student_id": "s-1", "family_name": "King", "etag": "<etag 1>"}}),
    ("UpdateStudent", {"student": {"student_id": "s-1", "etag": "bad"}, "update_mask": "email"}),
    ("UpdateStudent", {"student": {"student_id": "s-1", "given_name": "A."}, "update_mask": "givenName,maxCredits"}),
    ("UpdateStudent", {"student": {"student_id": "s-1"}, "update_mask": "holds,etag"}),
    ("UpdateStudent", {"student": {"student_id": "s-4"}}),
    ("UpdateStudent", {"student": {"student_id": "s-4"}, "allow_missing": True, "request_id": IDS[1]}),
    ("CreateCourse", {"course": {"course_id": "CS-101", "code": "CS 101", "capacity": 1, "waitlist_capacity": 1}}),
    ("CreateCourse", {"course": {"course_id": "a:b", "term": "Fall", "meetings": [WEEKLY], "credits": "3.000"}}),
    ("CreateCourse", {"course": {"course_id": "ONE", "capacity": 0, "enroll_open_time": OPEN}, "request_id": IDS[2]}),
    ("CreateCourse", {"course": {"course_id": "NOT", "capacity": -1, "enroll_close_time": "0001-01-01T00:00:00Z"}}),
    ("CreateCourse", {"course": {"course_id": "TWO", "prerequisite_course_ids": ["a:b", "ONE"]}}),
    ("GetCourse", {"course_id": "a:b"}),
    ("GetCourse", {"course_id": "a:settle", "show_deleted": True}),
    ("UpdateCourse", {"course": {"course_id": "a:b", "title": "Intro", "capacity": 0}, "validate_only": True}),
    ("UpdateCourse", {"course": {"course_id": "a:b", "title": "Intro"}, "update_mask": "title,capacity"}),
    ("UpdateCourse", {"course": {"course_id": "a:b", "capacity": -1, "credits": "1e3"}}),
    ("UpdateCourse", {"course": {"course_id": "C", "title": "New"}, "allow_missing": True, "request_id": IDS[3]}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "validate_only": True}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "request_id": IDS[4], "comment": "first"}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "request_id": IDS[4], "comment": "first"}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "request_id": IDS[4]}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "request_id": "no uuid"}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101"}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "CS-101", "allow_existing": True}),
    ("EnrollStudent", {"student_id": "s-2", "course_id": "CS-101"}),
    ("EnrollStudent", {"student_id": "s-4", "course_id": "CS-101"}),
    ("EnrollStudent", {"student_id": "s-4", "course_id": "TWO", "no_waitlist": True}),
    ("EnrollStudent", {"student_id": "s-4", "course_id": "CS-101", "override": BY_ADVICE}),
    ("EnrollStudent", {"student_id": "s-4", "course_id": "a:b", "override": {"rules": ["ERROR_REASON_COURSE_FULL"]}}),
    ("EnrollStudent", {"student_id": "?", "course_id": "", "comment": "x" * 5000}),
    ("CreateCourse", {"course": {"course_id": "P", "capacity": 1, "waitlist_capacity": 1}}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "P"}),
    ("EnrollStudent", {"student_id": "s-4", "course_id": "P"}),
    ("Unenroll", {"student_id": "s-1", "course_id": "P"}),
    ("PlaceHold", {"student_id": "s-1", "code": "A/B : %", "reason": "Unpaid.", "request_id": IDS[5]}),
    ("PlaceHold", {"student_id": "s-1", "code": ""}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "a:b"}),
    ("ListStudents", {"hold_code": "A/B : %"}),
    ("ReleaseHold", {"student_id": "s-1", "code": "A/B : %", "request_id": IDS[6]}),
    ("ReleaseHold", {"student_id": "s-1", "code": "A/B : %"}),
    ("EnrollStudent", {"student_id": "s-1", "course_id": "a:b"}),
    ("ListCourses", {"student_id": "s-1"}),
    ("ListCourses", {"student_id": "s-1", "page_size": 1}),
    ("ListCourses", {"student_id": "s-1", "page_size": 1, "page_token": "<next_page_token 1>"}),
    ("ListCourses", {"student_id": "s-1", "page_token": "<next_page_token 1>", "term": "Fall"}),
    ("ListCourses", {"student_id": "s-1", "states": ["ENROLLMENT_STATE_DROPPED", "ENROLLMENT_STATE_ENROLLED"]}),
    ("ListCourses", {"student_id": "s-1", "page_size": -1, "term": "Fall", "show_deleted": True}),
    ("ListRoster", {"course_id": "CS-101"}),
    ("ListRoster", {"course_id": "CS-101", "order_by": "family_name", "states": ["ENROLLMENT_STATE_WAITLISTED"]}),
    ("ListRoster", {"course_id": "CS-101", "page_token": "e30"}),
    ("ListRoster", {"course_id": "CS-101", "order_by": "name", "page_size": 1, "show_deleted": True}),
    ("GetEnrollment", {"enrollment_id": "<enrollment_id 1>"}),
    ("GetEnrollment", {"enrollment_id": "e:void"}),
    ("SwapEnrollment", {"student_id": "s-1", "from_course_id": "CS-101", "to_course_id": "ONE", "validate_only": True}),
    ("SwapEnrollment", {"student_id": "s-1", "from_course_id": "CS-101", "to_course_id": "C", "request_id": IDS[7]}),
    (
        "SwapEnrollment",
        {"student_id": "s-1", "from_course_id": "C", "to_course_id": "C", "override": BY_ADVICE, "comment": "!"},
    ),
    ("Unenroll", {"student_id": "s-2", "course_id": "CS-101", "validate_only": True}),
    ("Unenroll", {"student_id": "s-2", "course_id": "CS-101", "reason": "Ill & tired", "request_id": IDS[8]}),
    ("Unenroll", {"student_id": "s-2", "course_id": "CS-101"}),
    ("Unenroll", {"student_id": "s-2", "course_id": "CS-101", "allow_missing": True}),
    ("Unenroll", {"student_id": "s-2", "course_id": "CS-101", "override": {"rules": ["ERROR_REASON_COURSE_FULL"]}}),
    ("Unenroll", {"student_id": "s-1", "course_id": "a:b", "override": BY_ADVICE, "comment": "50 % + 1"}),
    ("RecordCompletion", {"student_id": "s-2", "course_id": "ONE", "grade": "A+", "request_id": IDS[9]}),
    ("RecordCompletion", {"student_id": "s-2", "course_id": "a:b", "passed": False, "allow_existing": True}),
    ("RecordCompletion", {"student_id": "nobody", "course_id": "ONE", "comment": "From abroad."}),
    ("VoidCompletion", {"enrollment_id": "<enrollment_id 9>", "etag": "bad"}),
    ("VoidCompletion", {"enrollment_id": "<enrollment_id 9>", "reason": "Mistake.", "validate_only": True}),
    ("VoidCompletion", {"enrollment_id": "<enrollment_id 9>", "reason": "Mistake.", "request_id": IDS[10]}),
    ("VoidCompletion", {"enrollment_id": "<enrollment_id 9>"}),
    ("CompleteEnrollment", {"student_id": "s-1", "course_id": "C", "grade": "B", "validate_only": True}),
    ("CompleteEnrollment", {"student_id": "s-1", "course_id": "C", "etag": "stale"}),
    ("CompleteEnrollment", {"student_id": "s-1", "course_id": "C", "passed": False, "request_id": IDS[11]}),
    ("CompleteEnrollment", {"enrollment_id": "<enrollment_id 3>", "grade": "B"}),
    ("CompleteEnrollment", {"enrollment_id": "<enrollment_id 3>"}),
    ("SettleCourse", {"course_id": "CS-101", "validate_only": True}),
    ("SettleCourse", {"course_id": "CS-101", "request_id": IDS[12]}),
    ("SettleCourse", {"course_id": "nothing"}),
    ("SearchCourses", {"query": "cs 101"}),
    ("SearchCourses", {"open_only": True, "waitlisted_only": True, "term": "Fall", "component": "Lab", "code": "x"}),
    ("SearchCourses", {"show_deleted": True, "page_size": 2}),
    ("SearchCourses", {"page_token": "not a token"}),
    ("ListStudents", {"query": "byron", "state": "STUDENT_STATE_ACTIVE", "show_deleted": True}),
    ("ListStudents", {"page_size": 2, "state": "STUDENT_STATE_ACTIVE"}),
    ("ListStudents", {"page_size": 2, "state": "STUDENT_STATE_ACTIVE", "page_token": "<next_page_token 3>"}),
    ("ListStudents", {"state": 7}),
    ("ListEnrollments", {"student_id": "s-1", "course_id": "C", "term": "", "code": "", "show_deleted": True}),
    ("ListEnrollments", {"states": ["ENROLLMENT_STATE_VOIDED"], "update_time_after": OPEN, "page_size": 5}),
    ("ListEnrollments", {"course_id": "nothing"}),
    ("ListEnrollments", {"page_size": 1}),
    ("ListEnrollments", {"page_size": 1, "page_token": "<next_page_token 4>"}),
    ("DeleteCourse", {"course_id": "a:b", "validate_only": True}),
    ("DeleteCourse", {"course_id": "a:b", "etag": "stale"}),
    ("DeleteCourse", {"course_id": "a:b", "force": True, "request_id": IDS[13]}),
    ("UndeleteCourse", {"course_id": "a:b", "request_id": IDS[14]}),
    ("UndeleteCourse", {"course_id": "nothing"}),
    ("EnrollStudent", {"student_id": "s-2", "course_id": "a:b"}),
    ("DeleteStudent", {"student_id": "s-2", "validate_only": True}),
    ("DeleteStudent", {"student_id": "s-2", "etag": "<etag 2>", "force": True, "request_id": IDS[15]}),
    ("DeleteStudent", {"student_id": "s-2"}),
    ("UndeleteStudent", {"student_id": "s-2", "request_id": IDS[16]}),
    ("UndeleteStudent", {"student_id": "?"}),
    ("ListEvents", {"page_size": 1000}),
    ("ListEvents", {"student_id": "s-1", "course_id": "CS-101", "descending": True, "page_size": 1}),
    ("ListEvents", {"types": ["EVENT_TYPE_STUDENT_ENROLLED", "EVENT_TYPE_HOLD_PLACED"], "after_revision": "3"}),
    ("ListEvents", {"enrollment_id": "<enrollment_id 1>", "actor": "x", "start_time": OPEN, "end_time": OPEN}),
    ("ListEvents", {"on_behalf_of": "the-dean", "page_size": 5}),
    ("ListEvents", {"after_revision": "-5"}),
    ("ListEvents", {"page_size": 1}),
    ("ListEvents", {"page_size": 1, "page_token": "<next_page_token 7>"}),
    ("WatchEvents", {"after_revision": "0"}),
    ("WatchEvents", {"student_id": "s-1", "course_id": "CS-101", "after_revision": "5"}),
    ("WatchEvents", {"types": ["EVENT_TYPE_STUDENT_ENROLLED", "EVENT_TYPE_HOLD_PLACED"], "after_revision": "3"}),
    ("WatchEvents", {"actor": "x"}),
    ("WatchEvents", {"after_revision": "-5", "student_id": "?"}),
    ("WatchEvents", {"after_revision": "1000000"}),
    ("BatchWrite", {"writes": [], "atomic": True, "unordered": True, "request_id": "no uuid"}),
    ("BatchWrite", {"writes": WRITES, "validate_only": True, "request_id": IDS[17]}),
    ("BatchWrite", {"writes": WRITES, "validate_only": True, "atomic": True}),
    ("BatchWrite", {"writes": WRITES, "request_id": IDS[17]}),
    ("BatchWrite", {"writes": WRITES, "request_id": IDS[17], "view": "BATCH_VIEW_ERRORS"}),
    ("BatchWrite", {"writes": WRITES, "request_id": IDS[17], "unordered": True}),
    ("BatchWrite", {"writes": [write("enroll_student", "bo", "B"), write("enroll_student", "nobody", "B")]}),
    ("BatchWrite", {"writes": [write("unenroll", "bo", "B"), write("unenroll", "bo", "B")], "atomic": True}),
    ("BatchWrite", {"writes": [write("unenroll", "bo", "B"), write("enroll_student", "bo", "P")], "atomic": True}),
    ("BatchWrite", {"writes": [write("unenroll", "bo", "P"), {}], "unordered": True, "request_id": IDS[18]}),
    ("BatchWrite", {"writes": [write("unenroll", "bo", "P"), {}], "unordered": True, "request_id": IDS[18]}),
    ("ListEvents", {"page_size": 1000}),
]

MADE = ("enrollment_id", "event_id", "etag", "next_page_token")
TIMES = ("create_time", "update_time", "delete_time", "end_time", "place_time", "time")
HTTP_STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 412,  # All of the story are stale etags.
    Code.OUT_OF_RANGE: 400,
}


class Named:
    """Gives names to the values that a server makes, such as ids, so that those of two servers can be compared."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def name(self, value: Any, key: str = "") -> Any:
        """Return a value from JSON with names in the place of what the server has made."""
        if isinstance(value, dict):
            return {inner: self.name(item, inner) for inner, item in value.items()}
        if isinstance(value, list):
            return [self.name(item, key) for item in value]
        if isinstance(value, str):
            if value and (key in MADE or (key == "student_id" and len(value) > 20)):
                self._add(key, value)
            if key in TIMES:
                return "<time>"
            for made, name in self._names.items():
                value = value.replace(made, name)
        return value

    def _add(self, key: str, value: str) -> None:
        if value not in self._names:
            self._counts[key] = self._counts.get(key, 0) + 1
            self._names[value] = f"<{key} {self._counts[key]}>"

    def unname(self, request: Message) -> Message:
        """Return a request with the values of this server in the place of their names."""
        text = json_format.MessageToJson(request)
        for made, name in self._names.items():
            text = text.replace(name, made)
        return json_format.Parse(text, type(request)())


def methods() -> Iterator[tuple[str, str, Method]]:
    for service, rows in METHODS.items():
        for name, method in rows.items():
            yield service, name, method


PATHS = {name: f"/{service}/{name}" for service, name, _ in methods()}
ROWS = {name: method for _, name, method in methods()}
RPCS = {rpc.name: rpc for service in SERVICES for rpc in service.methods}


async def over_grpc(channel: grpc.aio.Channel, name: str, request: Message) -> dict[str, Any]:
    """Return the answer as JSON, or the status."""
    row = ROWS[name]
    forms: dict[str, Any] = {
        "request_serializer": row.request.SerializeToString,
        "response_deserializer": row.response.FromString,
    }
    try:
        if isinstance(row, Watch):
            return await to_checkpoint(channel.unary_stream(PATHS[name], **forms)(request))
        return as_json(await channel.unary_unary(PATHS[name], **forms)(request))
    except grpc.aio.AioRpcError as error:
        return as_json(status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY]))


async def to_checkpoint(call: Any) -> dict[str, Any]:
    """Return the responses of a stream up to the first checkpoint."""
    responses: list[dict[str, Any]] = []
    async for response in call:
        responses.append(as_json(response))
        if response.checkpoint:
            break
    call.cancel()
    return {"responses": responses}


def as_json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


async def over_http(caller: HttpCaller, name: str, request: Message, style: Style) -> HttpResponse:
    rules = bindings(RPCS[name])
    form = as_http(rules[route_of(name, request, style)], request, style)
    if isinstance(ROWS[name], Watch):
        return await stream_over_http(caller, form)
    return await caller.call(form.verb, form.path, form.body, query=form.query, **form.headers)


async def stream_over_http(caller: HttpCaller, form: HttpForm) -> HttpResponse:
    """Return the responses of a stream up to the first checkpoint as one answer."""
    async with connected(caller.address) as client:
        await client.send(raw_connections.request("GET", f"{form.path}?{urlencode(form.query, doseq=True)}"))
        status, headers = await client.head()
        if status != 200:
            return HttpResponse(status, headers, await client.body(headers))
        responses = await EventReader(client, headers).to_checkpoint()
        headers["content-type"] = JSON
        return HttpResponse(status, headers, json.dumps({"responses": responses}).encode())


def route_of(name: str, request: Message, style: Style) -> int:
    """Return which of its routes a request takes: one with all the fields that its path needs."""
    rules = bindings(RPCS[name])
    if name == "CompleteEnrollment":  # Both ways to name an enrollment have one route each.
        return 1 if request.enrollment_id else 0  # type: ignore[attr-defined]
    return min(style.binding, len(rules) - 1)


def told(lines: list[dict[str, Any]], named: Named) -> list[Any]:
    """Return the log lines of a call, without what differs from call to call."""
    differs = ("peer", "duration_ms")
    of_calls = [line for line in lines if not line["event"].startswith(("request_ids", "rows_"))]
    return [named.name({key: value for key, value in line.items() if key not in differs}) for line in of_calls]


@pytest.mark.parametrize("style", STYLES.values(), ids=list(STYLES))
async def test_a_story_over_both(database_url: str, other_url: str, log: Log, style: Style) -> None:
    """Each call has the same answer or refusal over HTTP, the same log lines, and in the end the same history."""
    here, there = Named(), Named()
    outcomes: dict[str, set[bool]] = {name: set() for name in RPCS}
    async with (
        serving(database_url, http_listen=FREE_PORT, slow_call=60) as server,
        serving(other_url, slow_call=60) as other,
        calling(other.address) as registrar,
    ):
        caller = HttpCaller(server.http_address)
        for step, (name, fields) in enumerate(STORY):
            request = json_format.ParseDict(fields, ROWS[name].request())
            begun = len(log.lines)
            expected = await over_grpc(registrar.channel, name, there.unname(request))
            await lines_of_streams(log, name, begun)
            between = len(log.lines)
            response = await over_http(caller, name, here.unname(request), style)
            await lines_of_streams(log, name, between)
            assert here.name(response.json) == there.name(expected), (step, name)
            assert_fits(response, expected)
            assert told(log.lines[between:], here) == told(log.lines[begun:between], there), (step, name)
            outcomes[name].add(response.status == 200)
    assert all(seen == {True, False} for seen in outcomes.values()), f"a success and a refusal of each: {outcomes}"


async def lines_of_streams(log: Log, name: str, begun: int) -> None:
    """Wait until the log has the line of a stream whose reader has left."""
    if isinstance(ROWS[name], Watch):
        before = len([line for line in log.lines[:begun] if line.get("method") == name])
        await log.several(before + 1, "rpc", method=name)


def assert_fits(response: HttpResponse, expected: Mapping[str, Any]) -> None:
    """Check the status and the headers of a response."""
    code = expected.get("code", Code.OK)
    assert response.status == (200 if code == Code.OK else HTTP_STATUSES[code])
    etags = [part["etag"] for part in response.json.values() if isinstance(part, dict) and part.get("etag")]
    assert response.headers.get("etag") == (f'"{etags[0]}"' if etags else None)
    assert response.headers["cache-control"] == "no-store"


def test_the_story_is_complete() -> None:
    """The story has every RPC, and together the styles take every route."""
    used = {
        (name, route_of(name, json_format.ParseDict(fields, ROWS[name].request()), style))
        for name, fields in STORY
        for style in STYLES.values()
    }
    assert used == {(name, place) for name, rpc in RPCS.items() for place, _ in enumerate(bindings(rpc))}
    assert set(RPCS) == set(ROWS)


def test_the_story_has_every_kind_of_write() -> None:
    """One batch of the story has a write of each kind."""
    kinds = {name for one in WRITES for name in one}
    assert kinds == {field.name for field in Write.DESCRIPTOR.fields}


def test_the_story_has_every_field() -> None:
    """The story sets every field of every request at least once, and every filter of every list."""
    told: dict[str, set[str]] = {name: set() for name in RPCS}
    for name, fields in STORY:
        told[name] |= set(fields)
    expected = {name: set(row.request.DESCRIPTOR.fields_by_name) for name, row in ROWS.items()}
    missing = {name: fields - told[name] for name, fields in expected.items() if fields - told[name]}
    assert missing == {}


def test_routes_are_as_ordered() -> None:
    """The three routes of the first sketch are there word for word, and everything else is under /v1."""
    paths = {template(rule) for rpc in RPCS.values() for rule in bindings(rpc)}
    sketch = {
        ("POST", "/students/{student_id}/enroll"),
        ("GET", "/students/{student_id}/courses"),
        ("DELETE", "/students/{student_id}/unenroll"),
    }
    assert sketch == {(verb, path) for verb, path in paths if not re.match("/v1/", path)}
