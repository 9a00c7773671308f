"""Enrollments: replayed from their events, and the rows of one course among themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from registrar_server.verify.snapshot import AnyRow
from registrar_server.verify.wording import decoded, differing, event_name, jump

LIVE_STATES = ("ENROLLED", "WAITLISTED")


class Step(NamedTuple):
    """What an event of one type does to its enrollment."""

    befores: tuple[str, ...]
    after: str
    versions: int = 1


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "STUDENT_ENROLLED": Step(("",), "ENROLLED"),
        "STUDENT_WAITLISTED": Step(("",), "WAITLISTED"),
        "STUDENT_PROMOTED": Step(("WAITLISTED",), "ENROLLED"),
        "STUDENT_UNENROLLED": Step(("ENROLLED", "WAITLISTED"), "DROPPED"),
        "ENROLLMENT_COMPLETED": Step(("ENROLLED", "COMPLETED"), "COMPLETED"),
        "COMPLETION_RECORDED": Step(("",), "COMPLETED"),
        "PROMOTION_SKIPPED": Step(("WAITLISTED",), "WAITLISTED", versions=0),
    }
)
_STATED = ("student_id", "previous_state", "state", "enrollment_version")


@dataclass(slots=True)
class Replayed:
    """An enrollment as its events leave it; documents as they are stored."""

    name: str
    student_id: str
    state: str = ""
    version: int = 0
    grade: str = ""
    passed: bool | None = None
    bypassed_rules: str = "[]"
    last_skip: str = "[]"

    def take(self, event: AnyRow, step: Step) -> Iterator[str]:
        """Go on by one event, and tell where it cannot have happened, or says other things than the type it has."""
        if self.state not in step.befores and self.state == event.previous_state:
            yield f'{event_name(event)}: {self.name} was "{self.state}" before.'
        self.version += step.versions
        stated = (event.student_id, event.previous_state, event.state, event.enrollment_version)
        expected = (self.student_id, self.state, step.after, self.version)
        if stated != expected:
            yield from differing(event_name(event), zip(_STATED, stated, expected, strict=True))
        self.state, self.grade, self.passed = step.after, event.grade, event.passed
        self.bypassed_rules = event.bypassed_rules
        if event.type == "PROMOTION_SKIPPED":
            self.last_skip = event.violations

    def compare(self, row: AnyRow) -> Iterator[str]:
        """Tell where the row is not what the events have made of it."""
        fields = (
            ("student_id", row.student_id, self.student_id),
            ("state", row.state, self.state),
            ("version", row.version, self.version),
            ("grade", row.grade, self.grade),
            ("passed", row.passed, self.passed),
            ("bypassed_rules", decoded(row.bypassed_rules), decoded(self.bypassed_rules)),
            ("last_skip", decoded(row.last_skip), decoded(self.last_skip)),
        )
        yield from differing(self.name, fields)
        if (row.end_time is None) != (row.state in LIVE_STATES):
            yield f"{self.name}: it is {row.state}, but has {'no' if row.end_time is None else 'an'} end_time."


def misnumbered(name: str, rows: Sequence[AnyRow]) -> Iterator[str]:
    """Tell of gaps in the numbers of a course's enrollments, which come in order of these."""
    for earlier, later in pairwise((0, *(row.number for row in rows))):
        if later != earlier + 1:
            yield f"{name}: {jump('number', earlier, later)}."


def misordered(name: str, made: Sequence[AnyRow]) -> Iterator[str]:
    """Tell of enrollments, which come in the order in which they were made, whose numbers are in another order."""
    for earlier, later in pairwise(made):
        if later.number < earlier.number:
            yield f"{name}: number {later.number} was given after number {earlier.number}."


def misattempted(name: str, rows: Sequence[AnyRow]) -> Iterator[str]:
    """Tell of students whose attempts at the course are not 1, 2, 3 and so on, or of which more than one is live."""
    attempts: defaultdict[str, list[AnyRow]] = defaultdict(list)
    for row in rows:
        attempts[row.student_id].append(row)
    for student_id, made in attempts.items():
        numbers = [row.attempt for row in made]
        if numbers != list(range(1, len(made) + 1)):
            yield f'{name}: the attempts of student "{student_id}" are {", ".join(map(str, numbers))}.'
        live = sum(row.state in LIVE_STATES for row in made)
        if live > 1:
            yield f'{name}: student "{student_id}" has {live} live enrollments.'
