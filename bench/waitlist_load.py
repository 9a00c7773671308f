"""The waitlisted course: a crowd enrolls, then some students drop, and each drop promotes the first on the waitlist.

A run measures the whole crowd instead of a fixed time, so it has no warm-up. Its baseline, the hot course without a
waitlist, runs before it on the same server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from bench import driving, measurements, messages
from bench.measurements import Sample
from bench.messages import Crowd, Pairing
from bench.meters import Meter
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_ENROLLED,
    ENROLLMENT_STATE_WAITLISTED,
)

STANDINGS = (ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_WAITLISTED)

Answers = Sequence[tuple[bytes, bytes]]


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    round_number: int
    stored: int
    in_flight: int
    crowd: Crowd


class Standings(NamedTuple):
    """The results of enrolling."""

    seated: dict[str, str]
    """Enrollment ids of the enrolled students, by student."""
    positions: list[int]
    """Positions on the waitlist, in order."""
    queue: list[str]
    """Enrollment ids of the waitlisted students, in the same order."""

    @classmethod
    def of(cls, answers: Answers) -> Standings:
        """Read the answers to all students."""
        enrollments = [pb.EnrollStudentResponse.FromString(answer).enrollment for _, answer in answers]
        waiting = sorted(
            (enrollment.waitlist_position, enrollment.enrollment_id)
            for enrollment in enrollments
            if enrollment.state == ENROLLMENT_STATE_WAITLISTED
        )
        seated = {
            enrollment.student_id: enrollment.enrollment_id
            for enrollment in enrollments
            if enrollment.state == ENROLLMENT_STATE_ENROLLED
        }
        return cls(seated, [position for position, _ in waiting], [waiter for _, waiter in waiting])


def run(*, students: int, seats: int, drops: int, **given: Any) -> list[dict[str, Any]]:
    """Run once and return two samples: of all enrollments and of all drops."""
    return [sample.as_dict() for sample in _run(Run(**given, crowd=Crowd(students, seats, drops)))]


def _run(run: Run) -> tuple[Sample, Sample]:
    meter, crowd = Meter(run.server, run.database), run.crowd
    pairing = Pairing.of(measurements.WAITLIST_ENROLL, run.round_number)
    asking = islice(messages.enrollments(pairing, messages.first_caller(run.stored)), crowd.students)
    with driving.connect(run.address) as connections:
        requests = messages.serialized(asking)
        asked, asking_used = driving.drive(connections, messages.ENROLL, requests, meter, run.in_flight)
        standings = Standings.of(asked.answers)
        dropping = messages.drops(islice(standings.seated, crowd.drops), pairing.course_id(0))
        requests = messages.serialized(dropping)
        dropped, dropping_used = driving.drive(connections, messages.UNENROLL, requests, meter, run.in_flight)
    wrong_standings = asked.failed + _wrong_standings(asked.answers, standings, crowd)
    wrong_drops = dropped.failed + _wrong_drops(dropped.answers, standings, crowd)
    return (
        driving.sample(asked, asking_used, meter, changes=len(asked.answers), failed=wrong_standings),
        driving.sample(dropped, dropping_used, meter, changes=len(dropped.answers), failed=wrong_drops),
    )


def _wrong_standings(answers: Answers, standings: Standings, crowd: Crowd) -> Counter[str]:
    """Count wrong answers; together the answers must give each seat and each position once."""
    found = messages.wrong_answers(messages.ENROLL, answers, STANDINGS)
    if len(standings.seated) != crowd.seats:
        found[f"{len(standings.seated)} of {crowd.seats} seats given"] = 1
    if standings.positions != list(range(1, crowd.waiters + 1)):
        found["waitlist positions are not 1, 2, 3 and so on"] = 1
    return found


def _wrong_drops(answers: Answers, standings: Standings, crowd: Crowd) -> Counter[str]:
    """Count wrong answers; together the drops must have promoted the first students on the waitlist."""
    found: Counter[str] = Counter()
    promoted: list[str] = []
    for request, answer in answers:
        dropped = pb.UnenrollResponse.FromString(answer)
        promoted += [enrollment.enrollment_id for enrollment in dropped.promoted]
        if not _is_right(pb.UnenrollRequest.FromString(request), dropped, standings):
            found["wrong answer"] += 1
    if sorted(promoted) != sorted(standings.queue[: crowd.drops]):
        found["promoted students are not the first on the waitlist"] = 1
    return found


def _is_right(request: pb.UnenrollRequest, answer: pb.UnenrollResponse, standings: Standings) -> bool:
    """Return whether the student's own enrollment was dropped and one student was promoted."""
    return (
        answer.enrollment.enrollment_id == standings.seated[request.student_id]
        and answer.enrollment.student_id == request.student_id
        and answer.enrollment.state == ENROLLMENT_STATE_DROPPED
        and [enrollment.state for enrollment in answer.promoted] == [ENROLLMENT_STATE_ENROLLED]
        and answer.promoted[0].course_id == request.course_id == answer.enrollment.course_id
    )
