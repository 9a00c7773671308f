"""The requests of each workload, and the check of every response."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from grpc_health.v1.health_pb2 import HealthCheckResponse

from bench import measurements
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED, EnrollmentState
from registrar.v1.student_service_pb2 import GetStudentRequest, GetStudentResponse

COURSES = 2_000
STORED = 10_000
COURSES_EACH = 5
ROUNDS = 20
"""With more rounds, a student's courses would overlap in time."""
MOST_PER_SECOND = 10_000
"""More calls than any server here can answer. A run prepares this many requests per second."""

OFFSETS = {measurements.ONE: 100, measurements.WATCHED_MANY: 100, measurements.WATCH_WRITE: 100}
"""Where the courses of a workload begin, if they differ from those of most others. They do not overlap in time; with
other offsets some would."""

ENROLL = "/registrar.v1.EnrollmentService/EnrollStudent"
UNENROLL = "/registrar.v1.EnrollmentService/Unenroll"
LIST = "/registrar.v1.EnrollmentService/ListCourses"
GET_STUDENT = "/registrar.v1.StudentService/GetStudent"
CHECK = "/grpc.health.v1.Health/Check"
BATCH_WRITE = "/registrar.v1.BatchService/BatchWrite"
LIST_EVENTS = "/registrar.v1.HistoryService/ListEvents"
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
        if workload in (measurements.HOT, measurements.HTTP_HOT, measurements.UNWATCHED_HOT, *measurements.GATHERING):
            return cls("HOT-", round_number, 0, 1)
        if workload == measurements.WAITLIST_ENROLL:
            return cls("WAIT-", round_number, 0, 1)
        if workload in (measurements.BATCH_HOT, measurements.WATCHED_HOT):
            return cls("BATCH-", round_number, 0, 1)
        return cls("C-", 0, round_number + OFFSETS.get(workload, 0), COURSES)

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
    for number in itertools.cycle(range(first_caller(stored))):
        yield pb.ListCoursesRequest(student_id=student_id(number))


def students(stored: int) -> Iterator[GetStudentRequest]:
    """Yield requests without end, for the students who have courses."""
    for number in itertools.cycle(range(first_caller(stored))):
        yield GetStudentRequest(student_id=student_id(number))


def serialized(requests: Iterable[Any]) -> Iterator[bytes]:
    """Serialize all requests at once, so that their use later costs nothing."""
    return iter([request.SerializeToString() for request in requests])


def wrong_answers(
    method: str,
    pairs: Iterable[tuple[bytes, bytes]],
    states: Collection[EnrollmentState.ValueType] = (ENROLLMENT_STATE_ENROLLED,),
) -> Counter[str]:
    """Count wrong answers by kind, given (request, answer) pairs and the states that an enrollment may have."""
    seen: set[str] = set()
    checks: dict[str, Callable[[bytes, bytes], bool]] = {
        ENROLL: lambda request, answer: _is_enrollment(request, answer, states, seen),
        LIST: _is_listing,
        GET_STUDENT: _is_student,
        CHECK: _is_serving,
    }
    wrong = sum(not checks[method](request, answer) for request, answer in pairs)
    return Counter({"wrong answer": wrong} if wrong else {})


def _is_enrollment(
    request: bytes, answer: bytes, states: Collection[EnrollmentState.ValueType], seen: set[str]
) -> bool:
    asked = pb.EnrollStudentRequest.FromString(request)
    enrollment = pb.EnrollStudentResponse.FromString(answer).enrollment
    is_new = enrollment.enrollment_id not in seen
    seen.add(enrollment.enrollment_id)
    return (
        is_new
        and enrollment.student_id == asked.student_id
        and enrollment.course_id == asked.course_id
        and enrollment.state in states
        and len(enrollment.enrollment_id) == 36
    )


def _is_listing(request: bytes, answer: bytes) -> bool:
    asked = pb.ListCoursesRequest.FromString(request)
    courses: Sequence[Any] = pb.ListCoursesResponse.FromString(answer).courses
    ids = [entry.course.course_id for entry in courses]
    return (
        len(ids) == COURSES_EACH
        and ids == sorted(set(ids))
        and all(entry.enrollment.student_id == asked.student_id for entry in courses)
        and [entry.enrollment.course_id for entry in courses] == ids
    )


def _is_student(request: bytes, answer: bytes) -> bool:
    asked = GetStudentRequest.FromString(request)
    return GetStudentResponse.FromString(answer).student.student_id == asked.student_id


def _is_serving(_request: bytes, answer: bytes) -> bool:
    return HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
