"""Newcomers at a course with free seats and a long waitlist: the rules refuse every waiter, since each has a hold.

The baseline is an equal course without waiters. The same newcomers enroll there first, one at a time and then many at
once. The first run makes both courses through the API, so that the history agrees with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
import psutil
import uvloop
from google.protobuf.field_mask_pb2 import FieldMask

from bench import load, messages
from bench.measurements import Sample
from bench.messages import Pairing
from registrar.v1 import course_pb2, course_service_pb2, student_service_pb2
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.course_service_pb2_grpc import CourseServiceStub

WITH_WAITERS = Pairing("QUEUE-", 0, 0, 1)
WITHOUT_WAITERS = Pairing("QUEUE-", 1, 0, 1)


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    pid: int
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
        return _serialized(messages.enrollments(pairing, first), self.newcomers)


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return four samples: one at a time and many at once, without waiters and then with them."""
    return [sample.as_dict() for sample in uvloop.run(_run(Run(**given)))]


async def _run(run: Run) -> list[Sample]:
    server = psutil.Process(run.pid)
    async with load.connect(run.address) as channel:
        if run.round_number == 0:
            await _prepare(channel, server, run)
        baseline = await _measure(channel, server, run, WITHOUT_WAITERS, waiters=0)
        blocked = await _measure(channel, server, run, WITH_WAITERS, waiters=run.waiters)
    return [*baseline, *blocked]


async def _prepare(channel: grpc.aio.Channel, server: psutil.Process, run: Run) -> None:
    """Create both courses without seats; the waiters join one of them, and then each gets a hold."""
    for pairing in (WITH_WAITERS, WITHOUT_WAITERS):
        course = course_pb2.Course(
            course_id=pairing.course_id(0), credits="3", term="2026-fall", capacity=0, waitlist_capacity=run.waiters
        )
        await CourseServiceStub(channel).CreateCourse(course_service_pb2.CreateCourseRequest(course=course))
    waiters = range(run.first_waiter, run.first_waiter + run.waiters)
    holds = (
        student_service_pb2.PlaceHoldRequest(student_id=messages.student_id(number), code="BURSAR")
        for number in waiters
    )
    joining = _serialized(messages.enrollments(WITH_WAITERS, run.first_waiter), run.waiters)
    for method, requests in ((messages.ENROLL, joining), (messages.PLACE_HOLD, _serialized(holds, run.waiters))):
        tally = await load.drive(channel.unary_unary(method), requests, server, run.in_flight)
        if tally.failed:
            raise RuntimeError(f"The waiters cannot be prepared: {tally.failed}")


def _serialized(requests: Iterable[Any], count: int) -> Iterator[bytes]:
    return iter([request.SerializeToString() for request in islice(requests, count)])


async def _measure(
    channel: grpc.aio.Channel, server: psutil.Process, run: Run, pairing: Pairing, waiters: int
) -> list[Sample]:
    """Give the course a seat for each newcomer and one more, which stays free, and enroll the newcomers."""
    before = run.round_number * run.newcomers
    opened = await _set_capacity(channel, pairing, before + run.newcomers + 1)
    call: Any = channel.unary_unary(messages.ENROLL)
    requests = run.enrolling(pairing)
    alone = await load.drive(call, islice(requests, run.alone), server, 1)
    together = await load.drive(call, requests, server, run.in_flight)
    # A full course gives the server nothing to do during other runs.
    closed = await _set_capacity(channel, pairing, before + run.newcomers)
    wrong = Counter[str]()
    if opened.promoted_count or closed.course.waitlisted_count != waiters:
        wrong["a waiter was promoted"] = 1
    # The first round counts the calls of the waiters too.
    joined = waiters if run.round_number == 0 else 0
    return [_sample(alone, server, joined, wrong), _sample(together, server, 0, Counter())]


async def _set_capacity(
    channel: grpc.aio.Channel, pairing: Pairing, capacity: int
) -> course_service_pb2.UpdateCourseResponse:
    course = course_pb2.Course(course_id=pairing.course_id(0), capacity=capacity)
    request = course_service_pb2.UpdateCourseRequest(course=course, update_mask=FieldMask(paths=["capacity"]))
    answer: course_service_pb2.UpdateCourseResponse = await CourseServiceStub(channel).UpdateCourse(request)
    return answer


def _sample(tally: load.Tally, server: psutil.Process, joined: int, wrong: Counter[str]) -> Sample:
    found = messages.wrong_answers(messages.ENROLL, tally.answers) + wrong
    promoted = sum(pb.EnrollStudentResponse.FromString(answer).promoted_count for _, answer in tally.answers)
    if promoted:
        found["promoted waiters"] = promoted
    return tally.sample(server, changes=joined + len(tally.answers), failed=tally.failed + found)
