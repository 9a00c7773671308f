"""Newcomers at a course with free seats and a long waitlist: the rules refuse every waiter, since each has a hold.

The baseline is an equal course without waiters. The same newcomers enroll there first, one at a time and then many at
once. The first run makes both courses through the API, so that the history agrees with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from bench import driving, messages
from bench.driving import Connection
from bench.measurements import Sample
from bench.messages import Pairing
from bench.meters import Meter, Usage
from registrar.v1 import course_pb2, course_service_pb2, student_service_pb2
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.course_service_pb2_grpc import CourseServiceStub

WITH_WAITERS = Pairing("QUEUE-", 0, 0, 1)
WITHOUT_WAITERS = Pairing("QUEUE-", 1, 0, 1)


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    round_number: int
    first_newcomer: int
    first_waiter: int
    in_flight: int
    waiters: int
    alone: int
    together: int

    @property
    def newcomers(self) -> int:
        """The number of newcomers in each round."""
        return self.alone + self.together

    def enrolling(self, pairing: Pairing) -> Iterator[bytes]:
        """Return the requests of this round's newcomers, who are others in each round."""
        first = self.first_newcomer + self.round_number * self.newcomers
        return messages.serialized(islice(messages.enrollments(pairing, first), self.newcomers))


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return four samples: one at a time and many at once, without waiters and then with them."""
    run = Run(**given)
    with driving.connect(run.address) as connections, grpc.insecure_channel(run.address) as channel:
        measuring = _Measuring(run, connections, CourseServiceStub(channel), Meter(run.server, run.database))
        if run.round_number == 0:
            measuring.prepare()
        baseline = measuring.measure(WITHOUT_WAITERS, waiters=0)
        blocked = measuring.measure(WITH_WAITERS, waiters=run.waiters)
    return [sample.as_dict() for sample in (*baseline, *blocked)]


@dataclass
class _Measuring:
    """One run."""

    run: Run
    connections: Sequence[Connection]
    courses: CourseServiceStub
    meter: Meter

    def prepare(self) -> None:
        """Create both courses without seats; the waiters join one of them, and then each gets a hold."""
        for pairing in (WITH_WAITERS, WITHOUT_WAITERS):
            course = course_pb2.Course(
                course_id=pairing.course_id(0),
                credits="3",
                term="2026-fall",
                capacity=0,
                waitlist_capacity=self.run.waiters,
            )
            self.courses.CreateCourse(course_service_pb2.CreateCourseRequest(course=course))
        waiters = range(self.run.first_waiter, self.run.first_waiter + self.run.waiters)
        joining = islice(messages.enrollments(WITH_WAITERS, self.run.first_waiter), self.run.waiters)
        holds = (
            student_service_pb2.PlaceHoldRequest(student_id=messages.student_id(number), code="BURSAR")
            for number in waiters
        )
        self._prepare(messages.ENROLL, messages.serialized(joining))
        self._prepare(messages.PLACE_HOLD, messages.serialized(holds))

    def _prepare(self, method: str, requests: Iterator[bytes]) -> None:
        tally, _ = self._drive(requests, self.run.in_flight, method)
        if tally.failed:
            raise RuntimeError(f"The waiters cannot be prepared: {tally.failed}")

    def measure(self, pairing: Pairing, waiters: int) -> list[Sample]:
        """Give the course a seat for each newcomer and one more, which stays free, and enroll the newcomers."""
        before = self.run.round_number * self.run.newcomers
        opened = self._set_capacity(pairing, before + self.run.newcomers + 1)
        requests = self.run.enrolling(pairing)
        alone = self._drive(islice(requests, self.run.alone), 1)
        together = self._drive(requests, self.run.in_flight)
        # A full course gives the server nothing to do during other runs.
        closed = self._set_capacity(pairing, before + self.run.newcomers)
        wrong = Counter[str]()
        if opened.promoted_count or closed.course.waitlisted_count != waiters:
            wrong["a waiter was promoted"] = 1
        # The first round counts the calls of the waiters too.
        joined = waiters if self.run.round_number == 0 else 0
        return [self._sample(*alone, joined, wrong), self._sample(*together, 0, Counter())]

    def _drive(
        self, requests: Iterator[bytes], in_flight: int, method: str = messages.ENROLL
    ) -> tuple[driving.Tally, Usage]:
        return driving.drive(self.connections, method, requests, self.meter, in_flight)

    def _set_capacity(self, pairing: Pairing, capacity: int) -> course_service_pb2.UpdateCourseResponse:
        course = course_pb2.Course(course_id=pairing.course_id(0), capacity=capacity)
        mask = FieldMask(paths=["capacity"])
        return self.courses.UpdateCourse(course_service_pb2.UpdateCourseRequest(course=course, update_mask=mask))

    def _sample(self, tally: driving.Tally, usage: Usage, joined: int, wrong: Counter[str]) -> Sample:
        found = messages.wrong_answers(messages.ENROLL, tally.answers) + wrong
        promoted = sum(pb.EnrollStudentResponse.FromString(answer).promoted_count for _, answer in tally.answers)
        if promoted:
            found["promoted waiters"] = promoted
        changes = joined + len(tally.answers)
        return driving.sample(tally, usage, self.meter, changes=changes, failed=tally.failed + found)
