"""The requests of each workload, and the check of every response."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from bench import measurements
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED, EnrollmentState

COURSES = 2_000
STORED = 10_000
COURSES_EACH = 5
ROUNDS = 20
"""With more rounds, a student's courses would overlap in time."""
MOST_PER_SECOND = 10_000
"""More calls than any server here can answer. A run prepares this many requests per second."""

ENROLL = "/registrar.v1.EnrollmentService/EnrollStudent"
UNENROLL = "/registrar.v1.EnrollmentService/Unenroll"
LIST = "/registrar.v1.EnrollmentService/ListCourses"
PLACE_HOLD = "/registrar.v1.StudentService/PlaceHold"


class Crowd(NamedTuple):
    """How many students enroll in the waitlisted course, its number of seats, and how many students drop theirs."""

    students: int
    seats: int
    drops: int

    @property
    def waiters(self) -> int:
        """The number of students who do not get a seat at first."""
        return self.students - self.seats


class Queue(NamedTuple):
    """How many students wait for a course that the rules keep them from, and how many newcomers enroll in a round."""

    waiters: int
    alone: int
    """Newcomers who enroll one at a time."""
    together: int
    """Newcomers who enroll with many calls in flight."""


class Pairing(NamedTuple):
    """Which students enroll in which courses; no student and course occur together in two pairings of one bench run."""

    prefix: str
    base: int
    offset: int
    courses: int

    @classmethod
    def of(cls, workload: str, round_number: int) -> Pairing:
        """Return the pairing of a round: with its own hot course, or with another of the many courses per student."""
        if workload == measurements.HOT:
            return cls("HOT-", round_number, 0, 1)
        if workload == measurements.WAITLIST_ENROLL:
            return cls("WAIT-", round_number, 0, 1)
        return cls("C-", 0, round_number + (100 if workload == measurements.ONE else 0), COURSES)

    def course_id(self, number: int) -> str:
        """Return the course of the student with this number."""
        return f"{self.prefix}{self.base + (number + self.offset) % self.courses}"


def student_id(number: int) -> str:
    """Return the id of a student. The first students already have courses, see ``first_caller``."""
    return f"S-{number}"


def first_caller(stored: int) -> int:
    """Return the number of the first student without courses, if ``stored`` enrollments were seeded."""
    return stored // COURSES_EACH


def enrollments(pairing: Pairing, first: int) -> Iterator[pb.EnrollStudentRequest]:
    """Yield requests without end, each with a request id like the client's."""
    number = first
    while True:
        yield pb.EnrollStudentRequest(
            student_id=student_id(number), course_id=pairing.course_id(number), request_id=str(uuid.uuid4())
        )
        number += 1


def drops(student_ids: Iterable[str], course_id: str) -> Iterator[pb.UnenrollRequest]:
    """Yield requests of students to drop a course, each with a request id like the client's."""
    for student in student_ids:
        yield pb.UnenrollRequest(student_id=student, course_id=course_id, request_id=str(uuid.uuid4()))


def listings(stored: int) -> Iterator[pb.ListCoursesRequest]:
    """Yield requests without end, for the students who have courses."""
    while True:
        for number in range(first_caller(stored)):
            yield pb.ListCoursesRequest(student_id=student_id(number))


def wrong_answers(
    method: str,
    pairs: Iterable[tuple[bytes, bytes]],
    states: Collection[EnrollmentState.ValueType] = (ENROLLMENT_STATE_ENROLLED,),
) -> Counter[str]:
    """Count wrong answers by kind, given (request, answer) pairs and the states that an enrollment may have."""
    found: Counter[str] = Counter()
    seen: set[str] = set()
    for request, answer in pairs:
        if method == LIST:
            found.update(_wrong_listing(pb.ListCoursesRequest.FromString(request), answer))
        else:
            found.update(_wrong_enrollment(pb.EnrollStudentRequest.FromString(request), answer, states, seen))
    return found


def _wrong_enrollment(
    request: pb.EnrollStudentRequest, answer: bytes, states: Collection[EnrollmentState.ValueType], seen: set[str]
) -> Sequence[str]:
    enrollment = pb.EnrollStudentResponse.FromString(answer).enrollment
    right = (
        enrollment.student_id == request.student_id
        and enrollment.course_id == request.course_id
        and enrollment.state in states
        and len(enrollment.enrollment_id) == 36
        and enrollment.enrollment_id not in seen
    )
    seen.add(enrollment.enrollment_id)
    return () if right else ("wrong answer",)


def _wrong_listing(request: pb.ListCoursesRequest, answer: bytes) -> Sequence[str]:
    courses: Sequence[Any] = pb.ListCoursesResponse.FromString(answer).courses
    ids = [entry.course.course_id for entry in courses]
    right = (
        len(ids) == COURSES_EACH
        and ids == sorted(set(ids))
        and all(entry.enrollment.student_id == request.student_id for entry in courses)
        and [entry.enrollment.course_id for entry in courses] == ids
    )
    return () if right else ("wrong answer",)
