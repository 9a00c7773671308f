"""Replays the events of an enrollment, and checks the enrollments of one course against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from registrar_server.verify.snapshot import AnyRow
from registrar_server.verify.wording import decode_document, differences, event_name, gap

LIVE_ENROLLMENT_STATES = ("ENROLLED", "WAITLISTED")
_COMPLETION_STATES = ("COMPLETED", "VOIDED")


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
_RULES_OF = {"WAITLIST_FULL": "COURSE_FULL"}
"""The rules that an override names for violations whose reason is another one."""
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
    bypassed_violations: list[Any] = field(default_factory=list)
    counted: bool | None = None
    """Whether this completion ended a seat and is not void; None before it is a completion."""

    def apply(self, event: AnyRow, transition: EnrollmentTransition) -> Iterator[str]:
        """Apply the next event, and report where it contradicts its type or the events before it."""
        if self.state not in transition.befores and self.state == event.previous_state:
            yield f'{event_name(event)}: {self.name} was "{self.state}" before.'
        self.version += transition.versions
        stated = (event.student_id, event.previous_state, event.state, event.enrollment_version)
        expected = (self.student_id, self.state, transition.after, self.version)
        if stated != expected:
            yield from differences(event_name(event), zip(_STATED_FIELDS, stated, expected, strict=True))
        self._count(event, transition)
        self.state, self.grade, self.passed = transition.after, event.grade, event.passed
        self.bypassed_rules = event.bypassed_rules
        if event.type == "PROMOTION_SKIPPED":
            self.last_skip = event.violations
        elif event.violations != "[]":
            yield from self._set_aside(event)

    def _count(self, event: AnyRow, transition: EnrollmentTransition) -> None:
        if event.type == "ENROLLMENT_COMPLETED":
            self.counted = self.counted or self.state == "ENROLLED"
        elif transition.after in _COMPLETION_STATES:
            self.counted = False

    def _set_aside(self, event: AnyRow) -> Iterator[str]:
        """Keep the violations that an override sets aside, and report those whose rule the event does not name."""
        rules = decode_document(event.bypassed_rules)
        for violation in _listed(decode_document(event.violations)):
            self.bypassed_violations.append(violation)
            rule = _rule_of(violation)
            if rule not in rules:
                yield f"{event_name(event)}: it sets {rule} aside, which is not in its bypassed_rules."

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
            ("bypassed_violations", decode_document(row.bypassed_violations), self.bypassed_violations),
        )
        yield from differences(self.name, fields)
        if not _awaits_count(row):
            yield from differences(self.name, [("counted", row.counted, self.counted)])
        if (row.end_time is None) != (row.state in LIVE_ENROLLMENT_STATES):
            yield f"{self.name}: it is {row.state}, but has {'no' if row.end_time is None else 'an'} end_time."


def _awaits_count(row: AnyRow) -> bool:
    """Return whether a server of an older version wrote a completion, which the present servers count later."""
    return (row.state in _COMPLETION_STATES and row.counted is None) or (row.state == "VOIDED" and row.counted)


def _listed(document: Any) -> list[Any]:
    return document if isinstance(document, list) else [document]


def _rule_of(violation: Any) -> str:
    """Return the rule that an override names to set a violation aside."""
    reason = str(violation[0]) if isinstance(violation, list) and violation else str(violation)
    return _RULES_OF.get(reason, reason)


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
