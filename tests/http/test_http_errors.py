"""The HTTP status of every failure, and its headers and body."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc import status_pb2
from google.rpc.code_pb2 import Code

from registrar_server.errors import Reason, Refusal, contention, database_unavailable, overloaded, shutting_down
from registrar_server.http import answers
from registrar_server.http.bodies import check_content_type
from registrar_server.http.refusals import STATUSES, HttpReason, HttpRefusal
from registrar_server.ledger.ledger import Ledger
from registrar_server.rpc import status
from tests.support.garbage import collecting_by_hand
from tests.support.http_calls import HttpCaller
from tests.support.servers import FREE_PORT, Log, Registrar, serving

BY_STATUS: dict[int, set[Reason]] = {
    400: {
        Reason.INVALID_FIELD,
        Reason.INVALID_PAGE_TOKEN,
        Reason.REQUEST_ID_REUSED,
        Reason.STUDENT_INACTIVE,
        Reason.STUDENT_HOLD,
        Reason.COURSE_CANCELLED,
        Reason.ENROLLMENT_NOT_OPEN,
        Reason.ENROLLMENT_CLOSED,
        Reason.DUPLICATE_COURSE,
        Reason.PREREQUISITE_UNMET,
        Reason.SCHEDULE_CONFLICT,
        Reason.CREDIT_LIMIT_EXCEEDED,
        Reason.COURSE_FULL,
        Reason.WAITLIST_FULL,
        Reason.DROP_DEADLINE_PASSED,
        Reason.COURSE_HAS_ENROLLMENTS,
        Reason.STUDENT_HAS_ENROLLMENTS,
        Reason.NOT_COMPLETED,
        Reason.REVISION_AHEAD,
    },
    401: {Reason.CREDENTIALS_MISSING, Reason.CREDENTIALS_INVALID},
    403: {Reason.ROLE_REQUIRED},
    404: {
        Reason.STUDENT_NOT_FOUND,
        Reason.COURSE_NOT_FOUND,
        Reason.ENROLLMENT_NOT_FOUND,
        Reason.NOT_ENROLLED,
        Reason.HOLD_NOT_FOUND,
    },
    409: {
        Reason.STUDENT_EXISTS,
        Reason.COURSE_EXISTS,
        Reason.ALREADY_ENROLLED,
        Reason.ALREADY_WAITLISTED,
        Reason.CONTENTION,
    },
    412: {Reason.ETAG_MISMATCH},
    429: {Reason.OVERLOADED, Reason.RATE_LIMITED},
    503: {Reason.DATABASE_UNAVAILABLE, Reason.SHUTTING_DOWN},
}
STATUS_OF = {reason: number for number, reasons in BY_STATUS.items() for reason in reasons}


@pytest.mark.parametrize("reason", Reason)
def test_status_of_every_reason(reason: Reason) -> None:
    """Each reason has the usual status."""
    assert answers.of_status(status.of_refusal(Refusal(reason, "So.")).message).status == STATUS_OF[reason]


@pytest.mark.parametrize("code", Code.values())
def test_every_code(code: int) -> None:
    """Every canonical code has a status."""
    assert answers.of_status(status_pb2.Status(code=code)).status in range(200, 600)


def test_reasons_of_http() -> None:
    """The reasons that only HTTP has have a status each, and no reason of gRPC has the same name."""
    assert set(STATUSES) == set(HttpReason)
    assert {http_status for http_status, _ in STATUSES.values()} == {400, 403, 404, 405, 408, 413, 415, 421, 431, 503}
    assert not set(HttpReason) & set(Reason)


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        (contention(), "1"),
        (overloaded(9, 2.5), "3"),
        (database_unavailable(), "1"),
        (shutting_down(), "1"),
        (Refusal(Reason.COURSE_FULL, "Full."), None),
    ],
)
def test_retry_after(refusal: Refusal, seconds: str | None) -> None:
    """A refusal that says when a retry may succeed has Retry-After, in whole seconds, rounded up."""
    assert answers.of_status(status.of_refusal(refusal).message).headers.get("retry-after") == seconds


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json; charset=utf8; x=y",
    ],
)
def test_content_types(content_type: str) -> None:
    """JSON in UTF-8 is accepted, however it is announced."""
    check_content_type({"content-type": content_type, "content-encoding": "identity"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; charset = latin-1"},
        {"content-type": "application/json, application/json"},
        {"content-type": "application/json; x=y, text/plain"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_types(headers: dict[str, str]) -> None:
    """Everything else is refused, and so is a compressed body."""
    with pytest.raises(HttpRefusal) as caught:
        check_content_type(headers)
    assert caught.value.reason == HttpReason.MEDIA_TYPE_UNSUPPORTED


@pytest.mark.parametrize(
    ("verb", "headers"),
    [
        ("POST", {"content-type": "text/plain"}),
        ("PATCH", {"content-type": "application/x-www-form-urlencoded"}),
        ("POST", {"content-encoding": "gzip"}),
        ("POST", {"content-type": "application/json; charset=utf-16"}),
    ],
)
async def test_unsupported_body(http: HttpCaller, verb: str, headers: dict[str, str]) -> None:
    """A body of another type is refused with 415, also if it is empty."""
    path = "/v1/students/s-1" if verb == "PATCH" else "/v1/students/s-1/enroll"
    answer = await http.send(verb, path, b"", headers)
    assert (answer.status, answer.reason) == (415, "MEDIA_TYPE_UNSUPPORTED")


async def test_large_body(both: tuple[HttpCaller, Registrar]) -> None:
    """A body over the limit is refused, whether its length is announced or not."""
    http, _ = both
    answer = await http.send("POST", "/v1/courses", b"", {"content-length": "4194305"})
    assert (answer.status, answer.reason, answer.headers["connection"]) == (413, "BODY_TOO_LARGE", "close")
    head = f"POST /v1/courses HTTP/1.1\r\nHost: {http.address}\r\nContent-Type: application/json\r\n"
    chunks = b"100000\r\n" + b" " * 1_048_576 + b"\r\n"
    async with http.connection() as (reader, writer):
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks * 4 + b"1\r\n \r\n")
        assert b" 413 " in await reader.readline()


async def test_refusal(both: tuple[HttpCaller, Registrar]) -> None:
    """A refusal has its details with their types, and the values that decided it."""
    http, registrar = both
    await registrar.add_course("FULL", capacity=0)
    answer = await http.call("POST", "/v1/students/s-1/enroll", {"course_id": "FULL"})
    assert answer.status == 400
    kinds = [detail["@type"].rpartition("/")[2] for detail in answer.json["details"]]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.PreconditionFailure", "registrar.v1.RuleViolations"]
    (violation,) = answer.json["details"][2]["violations"]
    assert violation["reason"] == "ERROR_REASON_COURSE_FULL"
    assert violation["values"] == {"capacity": "0", "enrolled_count": "0"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_crash(sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is answered with a constant message and the id of its log line, as over gRPC."""

    async def crash(*_: Any) -> Any:
        raise ValueError("secret")

    monkeypatch.setattr(Ledger, "run", crash)
    async with serving(sqlite_url, http_listen=FREE_PORT) as server:
        answer = await HttpCaller(server.http_address).call("POST", "/v1/students", {})
    assert (answer.status, answer.json["code"]) == (500, Code.INTERNAL)
    assert b"secret" not in answer.body
    (line,) = log.of("rpc_crashed")
    assert line["error_id"] in answer.json["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/students/s-1/enroll", b"{"),
        ("/v1/students/s-1/enroll", b'{"course_id": "' + b"x" * 50_000 + b'"}'),
        ("/v1/students/s-1/enroll", b'{"course_id": "nothing"}'),
        ("/v1/nothing", b""),
    ],
    ids=["JSON", "field", "missing", "path"],
)
@pytest.mark.usefixtures("log")
async def test_a_refused_call_leaves_no_garbage(http: HttpCaller, path: str, body: bytes) -> None:
    """A refused call leaves nothing that only a garbage collection would free."""
    for _ in range(3):
        await http.send("POST", path, body)
    with collecting_by_hand() as garbage:
        for _ in range(10):
            assert (await http.send("POST", path, body)).status >= 400
        await http.call("GET", "/v1/courses")
        assert garbage() == []


async def test_crash_outside_of_a_call(http: HttpCaller, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the HTTP side itself is answered in the same way."""

    def crash(*_: Any) -> Any:
        raise ValueError("secret")

    monkeypatch.setattr(answers, "of_response", crash)
    answer = await http.call("GET", "/v1/courses/CS-101")
    assert (answer.status, answer.json["code"]) == (500, Code.INTERNAL)
    assert b"secret" not in answer.body
    (line,) = log.of("http_crashed")
    assert line["error_id"] in answer.json["message"]
