"""The calls of the workloads over HTTP: whole requests made from messages, and messages read from requests and answers.

The answers become messages after the measurement, so that the checks of gRPC's answers check them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format

from bench import messages
from registrar.v1 import enrollment_service_pb2 as pb

ENROLL_HEAD = (
    "POST /students/{student_id}/enroll HTTP/1.1\r\nhost: {address}\r\nuser-agent: bench\r\naccept: */*\r\n"
    "content-type: application/json\r\nidempotency-key: {request_id}\r\ncontent-length: {length}\r\n\r\n"
)
LIST_HEAD = "GET /students/{student_id}/courses HTTP/1.1\r\nhost: {address}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"


def requests(address: str, made: Iterable[Any]) -> Iterator[bytes]:
    """Make all requests at once, so that their use later costs nothing."""
    return iter([_enrolling(one, address) if hasattr(one, "course_id") else _listing(one, address) for one in made])


def _enrolling(request: pb.EnrollStudentRequest, address: str) -> bytes:
    body = json.dumps({"course_id": request.course_id})
    head = ENROLL_HEAD.format(
        student_id=request.student_id, address=address, request_id=request.request_id, length=len(body)
    )
    return (head + body).encode()


def _listing(request: pb.ListCoursesRequest, address: str) -> bytes:
    return LIST_HEAD.format(student_id=request.student_id, address=address).encode()


def as_messages(method: str, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the request and the answer of each call as gRPC has them; an answer that is no message is empty."""
    response = pb.EnrollStudentResponse if method == messages.ENROLL else pb.ListCoursesResponse
    for request, answer in pairs:
        yield _message(request), _parsed(answer, response())


def _message(request: bytes) -> bytes:
    head, _, body = request.decode().partition("\r\n\r\n")
    student_id = head.split("/")[2]
    if not body:
        return pb.ListCoursesRequest(student_id=student_id).SerializeToString()
    return pb.EnrollStudentRequest(student_id=student_id, **json.loads(body)).SerializeToString()


def _parsed(answer: bytes, response: Any) -> bytes:
    try:
        return json_format.Parse(answer, response).SerializeToString()  # type: ignore[no-any-return]
    except json_format.ParseError:
        return b""
