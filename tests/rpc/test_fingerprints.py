"""The digest of a request, which tells a retry from a different request with the same ``request_id``."""

from __future__ import annotations

import pytest

from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest
from registrar_server.rpc.batch_requests import CHANGES

ENROLL = CHANGES["enroll_student"]
ID = "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11"


def enroll(student_id: str = "s-1", request_id: str = "") -> EnrollStudentRequest:
    return EnrollStudentRequest(student_id=student_id, course_id="c-1", request_id=request_id)


@pytest.mark.parametrize(
    ("on_behalf_of", "digest"),
    [
        ("", "c05634fa92507e51a3f1a39ff60244bc428bae0a4ac8d9b60fec3c899c142f92"),
        ("the-dean", "1aad36b3a3123ab882a05a6ffd21069084e59a68a1e2a6fddcbefe28c2267325"),
    ],
)
def test_stored_ones(on_behalf_of: str, digest: str) -> None:
    """Retries of calls that an older server answered have the digest that it has stored."""
    assert ENROLL.identify(enroll(), ID, on_behalf_of).hex() == digest


def test_of_the_rest() -> None:
    """The id of a request is no part of its digest, and stays in the request."""
    request = enroll(request_id=ID.upper())
    assert ENROLL.identify(request, ID.upper()) == ENROLL.identify(enroll(), ID) != ENROLL.identify(enroll("s-2"), ID)
    assert request.request_id == ID.upper()


def test_without_an_id() -> None:
    """A request without an id has none, and gets no id."""
    request = enroll()
    assert ENROLL.identify(request, "") == b""
    assert request == enroll()
