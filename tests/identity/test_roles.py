"""Who may make which call: every RPC, every role and every kind of credentials, over gRPC and over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message

from registrar.v1.batch_service_pb2 import Write
from registrar.v1.error_reason_pb2 import BatchRefusals
from tests.support.doors import ROWS, Answered, Door
from tests.support.identities import CAUSE, WRONG
from tests.support.role_table import (
    ADMINISTRATION,
    ALLOWED,
    ENROLLMENTS,
    IN_COURSE,
    OF_A_STUDENT,
    READS,
    REQUESTS,
    WRITES,
    request,
)
from tests.support.servers import Log


def test_the_requests_are_complete() -> None:
    assert set(REQUESTS) == set(ROWS) == READS | ENROLLMENTS | ADMINISTRATION | {"BatchWrite"}
    assert set(WRITES) == ENROLLMENTS | ADMINISTRATION


@pytest.mark.parametrize("bearer", ALLOWED)
async def test_every_rpc_for_each_role(door: Door, log: Log, bearer: str) -> None:
    """A caller may make the calls of the role and no others. The log has the actor of each.

    A stream has its line when the server knows that its caller has left.
    """
    admitted = set()
    for name in ROWS:
        answered = await door.way.send(name, request(name), [("authorization", f"Bearer {bearer}")])
        if answered.reason != "ROLE_REQUIRED":
            admitted.add(name)
        line = await log.one("rpc", method=name)
        assert (line["actor"], line.get("reason", "")) == (f"test:{bearer}", answered.reason)
    assert admitted == ALLOWED[bearer]


@pytest.mark.parametrize("bearer", ALLOWED)
@pytest.mark.parametrize("options", [{}, {"unordered": True}, {"validate_only": True}], ids=str)
async def test_every_write_for_each_role(door: Door, log: Log, bearer: str, options: dict[str, Any]) -> None:
    """Each write of a batch is checked as a call of its own, and logged with the actor."""
    names = sorted(WRITES)
    writes = [Write(**{WRITES[name]: request(name)}) for name in names]  # type: ignore[arg-type]
    answered = await door.call(bearer, "BatchWrite", writes=writes, **options)
    if "BatchWrite" not in ALLOWED[bearer]:
        assert answered.reason == "ROLE_REQUIRED"
        return
    results = dict(zip(names, answered.response.results, strict=True))
    reasons = {name: Answered(None, result.error).reason for name, result in results.items()}
    assert {name for name, reason in reasons.items() if reason != "ROLE_REQUIRED"} == ALLOWED[bearer] & set(WRITES)
    assert {line["method"] for line in log.of("rpc", actor=f"test:{bearer}")} == {*names, "BatchWrite"}


@pytest.mark.parametrize("bearer", ["reader", "registrar", "student:s-1", "student:s-2"])
@pytest.mark.parametrize("validate_only", [False, True])
async def test_an_atomic_batch_is_refused_with_its_writes(door: Door, bearer: str, validate_only: bool) -> None:
    """One write that the caller may not make refuses the batch, and nothing is made."""
    await door.made("admin", "CreateStudent", student={"student_id": "s-1"})
    await door.made("admin", "CreateCourse", course={"course_id": "c-1"})
    writes = [{"enroll_student": IN_COURSE}, {"create_course": {"course": {"course_id": "c-3"}}}]
    answered = await door.refused(bearer, "BatchWrite", writes=writes, atomic=True, validate_only=validate_only)
    first = 0 if "EnrollStudent" not in ALLOWED[bearer] else 1
    assert answered.reason == "ROLE_REQUIRED"
    assert answered.info.metadata == {"index": str(first), "role": "registrar" if first == 0 else "admin"}
    refusals = BatchRefusals()
    assert any(detail.Unpack(refusals) for detail in answered.status.details)
    assert [one.index for one in refusals.refusals] == list(range(first, 2))
    assert not (await door.made("reader", "ListEnrollments")).enrollments
    assert len((await door.made("reader", "SearchCourses")).courses) == 1


@pytest.mark.parametrize("bearer", ["nobody", "reader", "student", "student:s-2"])
async def test_a_refusal_says_nothing_of_what_exists(door: Door, bearer: str) -> None:
    """It comes before any look-up and before the fields are checked."""
    student, course = {"student_id": "s-1"}, {"course_id": "c-1"}
    await door.made("admin", "CreateStudent", student=student)
    await door.made("admin", "CreateCourse", course=course)
    enrollment = (await door.made("admin", "EnrollStudent", **IN_COURSE)).enrollment
    ids = {"s-1": "s-9", "c-1": "c-9", enrollment.enrollment_id: "e-9"}
    for name in sorted(set(ROWS) - ALLOWED[bearer]):
        real = request(name)
        if name in ("GetEnrollment", "VoidCompletion"):
            real.enrollment_id = enrollment.enrollment_id  # type: ignore[attr-defined]
        statuses = {
            (await door.way.send(name, asked, [("authorization", f"Bearer {bearer}")])).status.SerializeToString()
            for asked in (real, renamed(real, ids), renamed(real, dict.fromkeys(ids, "not an id")))
        }
        assert len(statuses) == 1, name


def renamed(message: Message, ids: dict[str, str]) -> Message:
    """Return a message with other ids."""
    copy = type(message)()
    copy.CopyFrom(message)
    for field, value in message.ListFields():
        if field.message_type and not field.is_repeated:
            getattr(copy, field.name).CopyFrom(renamed(value, ids))
        elif isinstance(value, str):
            setattr(copy, field.name, ids.get(value, value))
    return copy


@pytest.mark.parametrize("name", sorted(ENROLLMENTS & OF_A_STUDENT))
async def test_an_override_needs_its_permission(door: Door, name: str) -> None:
    """The role alone is not enough, and the permission without the role is not either."""
    override = {"rules": ["ERROR_REASON_COURSE_FULL"], "reason": "As agreed."}
    asked = request(name, override=override)
    reasons = {}
    for bearer in ("registrar", "admin", "registrar+override", "reader+override", "student:s-1+override"):
        answered = await door.way.send(name, asked, [("authorization", f"Bearer {bearer}")])
        reasons[bearer] = (answered.reason, answered.info.metadata.get("role", ""))
    assert reasons == {
        "registrar": ("ROLE_REQUIRED", "override"),
        "admin": ("ROLE_REQUIRED", "override"),
        "registrar+override": ("STUDENT_NOT_FOUND", ""),
        "reader+override": ("ROLE_REQUIRED", "registrar"),
        "student:s-1+override": ("ROLE_REQUIRED", "registrar"),
    }


async def test_an_override_in_a_batch_needs_the_permission(door: Door) -> None:
    override = {"rules": ["ERROR_REASON_COURSE_FULL"], "reason": "As agreed."}
    writes = [{"enroll_student": IN_COURSE}, {"enroll_student": {**IN_COURSE, "override": override}}]
    response = await door.made("registrar", "BatchWrite", writes=writes)
    reasons = [Answered(None, result.error).reason for result in response.results]
    assert reasons == ["STUDENT_NOT_FOUND", "ROLE_REQUIRED"]


async def test_a_refusal_names_the_role(door: Door) -> None:
    answered = await door.refused("reader", "EnrollStudent", **IN_COURSE)
    assert answered.status.code == 7  # PERMISSION_DENIED
    assert answered.info.metadata == {"role": "registrar"}
    assert "registrar" in answered.status.message


class Attempt(NamedTuple):
    """Credentials that no call gets through with: the headers, the reason, and what the log says."""

    authorizations: Sequence[str]
    reason: str
    cause: str | None


NOT_ONE_BEARER = "authorization is not one bearer token"
ATTEMPTS = {
    "none": Attempt([], "CREDENTIALS_MISSING", None),
    "wrong": Attempt([f"Bearer {WRONG}"], "CREDENTIALS_INVALID", CAUSE),
    "of an unknown kind": Attempt(["Bearer unknown"], "CREDENTIALS_INVALID", "the server takes no bearer of this kind"),
    "basic": Attempt(["Basic YWRtaW46YWRtaW4="], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "without a scheme": Attempt(["admin"], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "empty": Attempt([""], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "empty bearer": Attempt(["Bearer"], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "two bearers in one": Attempt(["Bearer admin admin"], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "twice": Attempt(["Bearer admin", "Bearer admin"], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
    "twice, once empty": Attempt(["Bearer admin", ""], "CREDENTIALS_INVALID", NOT_ONE_BEARER),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=list(ATTEMPTS))
async def test_every_rpc_without_credentials_that_count(door: Door, log: Log, attempt: Attempt) -> None:
    """All calls have one answer, and only the log says what is wrong with the credentials."""
    headers = [("authorization", value) for value in attempt.authorizations]
    statuses = set()
    for name in ROWS:
        answered = await door.way.send(name, request(name), headers)
        assert (answered.status.code, answered.reason, dict(answered.info.metadata)) == (16, attempt.reason, {})
        statuses.add(answered.status.SerializeToString())
        line = log.of("rpc", method=name)[-1]
        assert (line["status"], line["reason"], line.get("cause")) == (
            "UNAUTHENTICATED",
            attempt.reason,
            attempt.cause,
        )
        assert "actor" not in line
    assert len(statuses) == 1


async def test_all_wrong_credentials_have_one_answer(door: Door) -> None:
    statuses = set()
    for attempt in ATTEMPTS.values():
        headers = [("authorization", value) for value in attempt.authorizations]
        answered = await door.way.send("ListStudents", request("ListStudents"), headers)
        if attempt.reason == "CREDENTIALS_INVALID":
            statuses.add(answered.status.SerializeToString())
    assert len(statuses) == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_not_case_sensitive(door: Door, scheme: str) -> None:
    answered = await door.way.send("ListStudents", request("ListStudents"), [("authorization", f"{scheme} reader")])
    assert not answered.reason


async def test_credentials_are_checked_before_anything_else(door: Door) -> None:
    """An id that is none, an invalid request_id and an override do not matter without credentials."""
    asked = request("EnrollStudent", course_id="not an id", request_id="none", override={})
    assert (await door.way.send("EnrollStudent", asked, [])).reason == "CREDENTIALS_MISSING"
    asked = request("CreateCourse", request_id=str(uuid.uuid4()), course={"capacity": -1})
    answered = await door.way.send("CreateCourse", asked, [("authorization", "Bearer reader")])
    assert answered.reason == "ROLE_REQUIRED"
