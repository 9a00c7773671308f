"""The batches of the load, and the check of their answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import islice

import pytest

from bench import batches, messages
from bench.messages import Pairing
from registrar.v1 import batch_service_pb2 as pb
from registrar.v1 import enrollment_service_pb2
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED, Enrollment


def made(enrollments: int) -> list[pb.BatchWriteRequest]:
    listed = islice(messages.enrollments(Pairing("C-", 0, 0, messages.COURSES), 0), enrollments)
    return list(batches.requests(listed))


def answer(request: pb.BatchWriteRequest) -> pb.BatchWriteResponse:
    """Return the answer of a server that enrolls every student."""
    return pb.BatchWriteResponse(results=map(enrolled, request.writes), revision=1_000_000)


def enrolled(write: pb.Write) -> pb.WriteResult:
    asked = write.enroll_student
    enrollment = Enrollment(
        enrollment_id=str(uuid.uuid4()),
        student_id=asked.student_id,
        course_id=asked.course_id,
        state=ENROLLMENT_STATE_ENROLLED,
    )
    return pb.WriteResult(enroll_student=enrollment_service_pb2.EnrollStudentResponse(enrollment=enrollment))


def test_batches_are_full_and_only_they_have_ids() -> None:
    first, second = made(2 * batches.WRITES)
    assert len(first.writes) == len(second.writes) == batches.WRITES
    assert first.request_id != second.request_id
    assert not any(write.enroll_student.request_id for write in first.writes)


def test_the_students_are_those_of_single_calls_in_order() -> None:
    writes = [write.enroll_student for request in made(2 * batches.WRITES) for write in request.writes]
    assert [write.student_id for write in writes] == [f"S-{number}" for number in range(2 * batches.WRITES)]


def test_right_answers_are_not_wrong() -> None:
    pairs = [(request.SerializeToString(), answer(request).SerializeToString()) for request in made(1_000)]
    assert not batches.wrong_answers(pairs)


def without_a_result(answered: pb.BatchWriteResponse) -> None:
    del answered.results[-1]


def without_an_answer(answered: pb.BatchWriteResponse) -> None:
    answered.results[7].Clear()


def with_a_wrong_count(answered: pb.BatchWriteResponse) -> None:
    answered.refused_count = 1


def without_its_revision(answered: pb.BatchWriteResponse) -> None:
    answered.revision = 0


def abridged(answered: pb.BatchWriteResponse) -> None:
    answered.abridged = True


@pytest.mark.parametrize(
    "damage", [without_a_result, without_an_answer, with_a_wrong_count, without_its_revision, abridged]
)
def test_an_answer_that_is_not_whole_is_wrong(damage: Callable[[pb.BatchWriteResponse], None]) -> None:
    [request] = made(batches.WRITES)
    damaged = answer(request)
    damage(damaged)
    wrong = batches.wrong_answers([(request.SerializeToString(), damaged.SerializeToString())])
    assert wrong == {"wrong answer to a batch": 1}


def test_each_refused_write_is_counted_with_its_message() -> None:
    [request] = made(batches.WRITES)
    refusing = answer(request)
    for result in refusing.results[:2]:
        result.error.message = "It is full."
    refusing.refused_count = 2
    wrong = batches.wrong_answers([(request.SerializeToString(), refusing.SerializeToString())])
    assert wrong == {"refused write: It is full.": 2}


def test_results_in_another_order_and_enrollments_that_are_answered_twice_are_wrong() -> None:
    [request] = made(batches.WRITES)
    answered = answer(request)
    answered.results[0].CopyFrom(answered.results[1])
    wrong = batches.wrong_answers([(request.SerializeToString(), answered.SerializeToString())])
    assert wrong == {"wrong answer": 2}
