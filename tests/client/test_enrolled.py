"""What ``enroll`` and ``courses.settle`` return. ``Enrolled`` can replace the ``Enrollment`` that it extends."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from registrar.v1 import course_service_pb2, enrollment_pb2, enrollment_service_pb2
from registrar_client import Enrolled, Enrollment, EnrollmentState, Settled
from registrar_client._from_wire import read
from tests.support.client_fakes import Driver
from tests.support.client_samples import filled

SEAT = Enrollment(enrollment_id="e-1", student_id="s-1", course_id="c-1", state=EnrollmentState.ENROLLED)
OTHER = Enrollment(enrollment_id="e-2", student_id="s-2", course_id="c-1", state=EnrollmentState.ENROLLED)
ENROLLED = Enrolled(
    enrollment_id="e-1",
    student_id="s-1",
    course_id="c-1",
    state=EnrollmentState.ENROLLED,
    promoted=(OTHER,),
    promoted_count=1,
)


def test_enroll_returns_every_field_of_the_enrollment_and_the_promoted_ones(driver: Driver) -> None:
    enrollment, promoted = filled(enrollment_pb2.Enrollment), enrollment_pb2.Enrollment(enrollment_id="e-2")
    answer = enrollment_service_pb2.EnrollStudentResponse(
        enrollment=enrollment, promoted=[promoted], promoted_count=101
    )
    driver.script.answers.append(answer)
    result = driver.call("enroll", student_id="s-1", course_id="c-1")
    assert isinstance(result, Enrolled)
    assert isinstance(result, Enrollment)
    assert result == read(Enrollment, enrollment)
    assert (result.promoted, result.promoted_count) == ((read(Enrollment, promoted),), 101)


def test_the_answer_of_an_older_server_names_no_promoted_enrollments(driver: Driver) -> None:
    seat = enrollment_pb2.Enrollment(enrollment_id="e-1")
    driver.script.answers.append(enrollment_service_pb2.EnrollStudentResponse(enrollment=seat))
    result = driver.call("enroll", student_id="s-1", course_id="c-1")
    assert (result.enrollment_id, result.promoted, result.promoted_count) == ("e-1", (), 0)


def test_settle_returns_the_promoted_enrollments(driver: Driver) -> None:
    promoted = enrollment_pb2.Enrollment(enrollment_id="e-2")
    answer = course_service_pb2.SettleCourseResponse(promoted=[promoted], promoted_count=101)
    driver.script.answers.append(answer)
    settled = driver.call("courses.settle", course_id="c-1")
    assert settled == Settled(promoted=(read(Enrollment, promoted),), promoted_count=101)


def test_an_enrolled_equals_the_enrollment_with_the_same_values_in_both_directions() -> None:
    assert ENROLLED == SEAT
    assert SEAT == ENROLLED
    assert dataclasses.replace(ENROLLED, promoted=(), promoted_count=0) == ENROLLED
    assert hash(ENROLLED) == hash(SEAT)
    assert {SEAT: "found"}[ENROLLED] == "found"
    assert [OTHER, SEAT].index(ENROLLED) == 1


def test_an_enrolled_differs_from_another_enrollment_and_from_other_objects() -> None:
    assert ENROLLED != OTHER
    assert dataclasses.replace(SEAT, etag="2") != ENROLLED
    assert dataclasses.replace(ENROLLED, etag="2") != SEAT
    assert ENROLLED != "e-1"


def test_the_repr_of_an_enrolled_names_it_with_all_of_its_fields() -> None:
    text = repr(ENROLLED)
    assert text.startswith("Enrolled(enrollment_id='e-1', student_id='s-1',")
    assert text.endswith(f"promoted=({OTHER!r},), promoted_count=1)")


def test_an_enrolled_is_frozen_and_can_be_copied_and_pickled() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ENROLLED.promoted_count = 2  # type: ignore[misc]
    assert not hasattr(ENROLLED, "__dict__")
    for twin in (copy.deepcopy(ENROLLED), pickle.loads(pickle.dumps(ENROLLED))):
        assert (twin, twin.promoted, twin.promoted_count) == (ENROLLED, (OTHER,), 1)
