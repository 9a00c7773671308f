"""Replays the events of an enrollment, and checks the enrollments of one course against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from registrar_server.verify.snapshot import AnyRow
from registrar_server.verify.wording import decode_document, differences, event_name, gap

LIVE_ENROLLMENT_STATES = ("ENROLLED", "WAITLISTED")


class EnrollmentTransition(NamedTuple):
    """What an event of one type does to the state and the version of its enrollment."""

    befores: tuple[str, ...]
    after: str
    versions: int = 1


ENROLLMENT_TRANSITIONS: Mapping[str, EnrollmentTransition] = MappingProxyType(
    {
        "STUDENT_ENROLLED": EnrollmentTransition(("",), "ENROLLED"),
        "STUDENT_WAITLISTED": EnrollmentTransition(("",), "WAITLISTED"),
        "STUDENT_PROMOTED": EnrollmentTransition(("WAITLISTED",), "ENROLLED"),
        "STUDENT_UNENROLLED": EnrollmentTransition(("ENROLLED", "WAITLISTED"), "DROPPED"),
        "ENROLLMENT_COMPLETED": EnrollmentTransition(("ENROLLED", "COMPLETED"), "COMPLETED"),
        "COMPLETION_RECORDED": EnrollmentTransition(("",), "COMPLETED"),
        "COMPLETION_VOIDED": EnrollmentTransition(("COMPLETED",), "VOIDED"),
        "PROMOTION_SKIPPED": EnrollmentTransition(("WAITLISTED",), "WAITLISTED", versions=0),
    }
)
_STATED_FIELDS = ("student_id", "previous_state", "state", "enrollment_version")


@dataclass(slots=True)
class EnrollmentReplay:
    """An enrollment after its events; documents are kept as stored."""

    name: str
    student_id: str
    state: str = ""
    version: int = 0
    grade: str = ""
    passed: bool | None = None
    bypassed_rules: str = "[]"
    last_skip: str = "[]"

    def apply(self, event: AnyRow, transition: EnrollmentTransition) -> Iterator[str]:
        """Apply the next event, and report where it contradicts its type or the events before it."""
        if self.state not in transition.befores and self.state == event.previous_state:
            yield f'{event_name(event)}: {self.name} was "{self.state}" before.'
        self.version += transition.versions
        stated = (event.student_id, event.previous_state, event.state, event.enrollment_version)
        expected = (self.student_id, self.state, transition.after, self.version)
        if stated != expected:
            yield from differences(event_name(event), zip(_STATED_FIELDS, stated, expected, strict=True))
        self.state, self.grade, self.passed = transition.after, event.grade, event.passed
        self.bypassed_rules = event.bypassed_rules
        if event.type == "PROMOTION_SKIPPED":
            self.last_skip = event.violations

    def compare(self, row: AnyRow) -> Iterator[str]:
        """Report where the stored row differs from the result of the events."""
        fields = (
            ("student_id", row.student_id, self.student_id),
            ("state", row.state, self.state),
            ("version", row.version, self.version),
            ("grade", row.grade, self.grade),
            ("passed", row.passed, self.passed),
            ("bypassed_rules", decode_document(row.bypassed_rules), decode_document(self.bypassed_rules)),
            ("last_skip", decode_document(row.last_skip), decode_document(self.last_skip)),
        )
        yield from differences(self.name, fields)
        if (row.end_time is None) != (row.state in LIVE_ENROLLMENT_STATES):
            yield f"{self.name}: it is {row.state}, but has {'no' if row.end_time is None else 'an'} end_time."


def number_gaps(name: str, rows: Sequence[AnyRow]) -> Iterator[str]:
    """Report gaps in the numbers of a course's enrollments; the rows are sorted by number."""
    for earlier, later in pairwise((0, *(row.number for row in rows))):
        if later != earlier + 1:
            yield f"{name}: {gap('number', earlier, later)}."


def numbers_out_of_order(name: str, rows: Sequence[AnyRow]) -> Iterator[str]:
    """Report numbers that do not ascend; the rows are sorted by creation."""
    for earlier, later in pairwise(rows):
        if later.number < earlier.number:
            yield f"{name}: number {later.number} was given after number {earlier.number}."


def attempt_errors(name: str, rows: Sequence[AnyRow]) -> Iterator[str]:
    """Report students whose attempts at the course are not 1, 2, 3 and so on, or who have more than one live one."""
    by_student: defaultdict[str, list[AnyRow]] = defaultdict(list)
    for row in rows:
        by_student[row.student_id].append(row)
    for student_id, enrollments in by_student.items():
        attempts = [row.attempt for row in enrollments]
        if attempts != list(range(1, len(enrollments) + 1)):
            yield f'{name}: the attempts of student "{student_id}" are {", ".join(map(str, attempts))}.'
        live = sum(row.state in LIVE_ENROLLMENT_STATES for row in enrollments)
        if live > 1:
            yield f'{name}: student "{student_id}" has {live} live enrollments.'
