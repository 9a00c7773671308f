"""The records of the reference, and the rules of enrollment over them, stated a second time."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Result = tuple[Any, ...]
Violation = tuple[str, Any]
"""A violated rule and its cause. A skip with the same violations as the last one is not recorded again."""

ALL_DATES = (dt.date(2018, 1, 1), dt.date(2018, 12, 31))
OVERRIDDEN_BY = {"WAITLIST_FULL": "COURSE_FULL"}
NEVER_OVERRIDDEN = {"STUDENT_INACTIVE", "COURSE_CANCELLED"}


@dataclass
class Resource:
    """A student or a course."""

    key: str
    version: int = 1
    deleted: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)


@dataclass(eq=False)
class Enrollment:
    """An enrollment."""

    course_id: str
    student_id: str
    state: str
    bypassed: set[str] = field(default_factory=set)
    kept: list[Violation] = field(default_factory=list)
    """What was set aside; a rule in ``bypassed`` without a violation here was set aside before they were kept."""
    passed: bool | None = None
    grade: str = ""
    ended_seat: bool = False
    """Whether a completion ended a seat."""
    version: int = 1
    last_skip: list[Violation] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it holds a seat or a place on the waitlist."""
        return self.state in ("ENROLLED", "WAITLISTED")

    @property
    def counted(self) -> bool | None:
        """Whether it counts as a completion of its course; None if it is no completion."""
        return self.state == "COMPLETED" and self.ended_seat if self.state in ("COMPLETED", "VOIDED") else None

    def keep(self, set_aside: Iterable[Violation]) -> None:
        """Keep what an override sets aside."""
        for violation in set_aside:
            self.kept.append(violation)
            self.bypassed.add(rule_of(violation))


class Refused(Exception):
    """A command is refused for these reasons."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


class Rules:
    """The state of a small university, and what the rules say about it.

    ``situations`` counts how often the rare cases occurred, so that tests can tell that their commands reach them.
    """

    def __init__(self, now: int = 0) -> None:
        self.now = now
        self.students: dict[str, Resource] = {}
        self.courses: dict[str, Resource] = {}
        self.rows: list[Enrollment] = []
        self.events: list[Result] = []
        self.situations: Counter[str] = Counter()

    def eligible_waiters(self, course_id: str) -> list[str]:
        """Return the waiters of a course whom the rules and their kept overrides allow a seat, in order."""
        course = self.courses[course_id]
        waiting = (row for row in self.rows if row.course_id == course_id and row.state == "WAITLISTED")
        found = ((row, self.violations(self.students[row.student_id], course)) for row in waiting)
        return [row.student_id for row, violated in found if not judge(violated, frozenset(), row)[1]]

    def waiters_that_a_sweep_forgot(self) -> list[tuple[str, str]]:
        """Return the eligible waiters of all courses that promote and have more free seats than completions."""
        found = (course for course in self.courses.values() if self.promotes(course))
        open_courses = [course.key for course in found if self.free(course) - self.completed(course) > 0]
        return [(key, student_id) for key in open_courses for student_id in self.eligible_waiters(key)]

    def promotes(self, course: Resource) -> bool:
        """Return whether a course promotes waiters now."""
        return not course.deleted and course["state"] != "CANCELLED" and not self.outside_window(course)

    def free(self, course: Resource) -> int:
        """Return the number of free seats; negative in a course that is over capacity."""
        return 10**9 if course["capacity"] is None else course["capacity"] - self.count(course, "ENROLLED")

    def count(self, course: Resource, state: str) -> int:
        """Return the number of enrollments of a course in a state."""
        return sum(row.state == state for row in self.rows if row.course_id == course.key)

    def completed(self, course: Resource) -> int:
        """Return the number of seats that ended as completions."""
        return sum(row.counted is True for row in self.rows if row.course_id == course.key)

    def violations(self, student: Resource, course: Resource, without: str = "") -> list[Violation]:
        """Return the rules that a seat would violate, except those about the number of seats."""
        violated: list[Violation] = []
        if student["state"] == "INACTIVE":
            violated.append(("STUDENT_INACTIVE", ""))
        violated += [("STUDENT_HOLD", hold) for hold in sorted(student.holds.items())]
        if course["state"] == "CANCELLED":
            violated.append(("COURSE_CANCELLED", ""))
        violated += self.outside_window(course)
        others = self._other_seats(student, course, without)
        subject = [course[name] or "" for name in ("code", "term", "component")]
        violated += [("DUPLICATE_COURSE", (other.key, subject)) for other in others if is_duplicate(other, course)]
        wanted = course["prerequisite_course_ids"] or ()
        if missing := [one for one in wanted if not self._has_passed(student, one)]:
            violated.append(("PREREQUISITE_UNMET", missing))
        for other in others:
            if conflict := first_conflict(course, other):
                violated.append(("SCHEDULE_CONFLICT", (other.key, conflict)))
        taken = sum(other["credits"] or 0 for other in others if key_of(other, "term") == key_of(course, "term"))
        asked, limit = course["credits"] or 0, student["max_credits"]
        if limit is not None and taken + asked > limit:
            violated.append(("CREDIT_LIMIT_EXCEEDED", (course["term"] or "", taken, asked, limit)))
        return violated

    def _other_seats(self, student: Resource, course: Resource, without: str) -> list[Resource]:
        """Return the other courses that bind the student: those of seats, except in cancelled courses."""
        seats = [
            self.courses[row.course_id]
            for row in sorted(self.rows, key=lambda row: row.course_id)
            if row.student_id == student.key and row.state == "ENROLLED" and row.course_id not in (without, course.key)
        ]
        return [other for other in seats if other["state"] != "CANCELLED"]

    def outside_window(self, course: Resource) -> list[Violation]:
        """Return the violation of the enrollment window, if now is outside of it."""
        opens, closes = course["enroll_open_time"], course["enroll_close_time"]
        if opens is not None and self.now < opens:
            return [("ENROLLMENT_NOT_OPEN", opens)]
        return [("ENROLLMENT_CLOSED", closes)] if closes is not None and closes <= self.now else []

    def _has_passed(self, student: Resource, wanted: str) -> bool:
        code = key_of(self.courses[wanted], "code") if wanted in self.courses else ""
        return any(
            row.course_id == wanted or (code and key_of(self.courses[row.course_id], "code") == code)
            for row in self.rows
            if row.student_id == student.key and row.state == "COMPLETED" and row.passed
        )

    def late(self, course: Resource, row: Enrollment) -> list[Violation]:
        """Return the violation of the drop deadline, if it is over for this enrollment."""
        deadline = course["drop_deadline_time"]
        late = deadline is not None and self.now >= deadline and row.state == "ENROLLED"
        late = late and course["state"] != "CANCELLED"
        return [("DROP_DEADLINE_PASSED", deadline)] if late else []


def rule_of(violation: Violation) -> str:
    """Return the rule that an override must name to set a violation aside."""
    return OVERRIDDEN_BY.get(violation[0], violation[0])


def judge(
    violated: Iterable[Violation], allowed: Collection[str], row: Enrollment | None = None
) -> tuple[list[Violation], list[Violation]]:
    """Return what an override of these rules sets aside, and what refuses a seat nevertheless.

    The overrides that a waiter keeps set aside the rest, as far as they were given for it.
    """
    set_aside: list[Violation] = []
    refusing: list[Violation] = []
    for violation in violated:
        if rule_of(violation) in set(allowed) - NEVER_OVERRIDDEN:
            set_aside.append(violation)
        elif row is None or not covers(row, violation):
            refusing.append(violation)
    return set_aside, refusing


def covers(row: Enrollment, violation: Violation) -> bool:
    """Return whether the overrides that an enrollment keeps were given for this violation."""
    reason, cause = violation
    rule = rule_of(violation)
    if rule not in row.bypassed:
        return False
    before = [one for one in row.kept if rule_of(one) == rule]
    if not before:
        return True
    match reason:
        case "STUDENT_HOLD":
            return str(cause[0]).casefold() in {code.casefold() for _, (code, _) in before}
        case "DUPLICATE_COURSE" | "SCHEDULE_CONFLICT":
            return cause[0] in {other for _, (other, _) in before}
        case "PREREQUISITE_UNMET":
            return all(any(one in missing for _, missing in before) for one in cause)
        case "CREDIT_LIMIT_EXCEEDED":
            totals = [taken + asked for _, (_, taken, asked, _) in [violation, *before]]
            return bool(totals[0] <= max(totals[1:]))
    return True


def key_of(course: Resource, name: str) -> str:
    """Return a text of a course without regard to case and width; blanks count only within terms and components."""
    words = unicodedata.normalize("NFKC", course[name] or "").casefold().split()
    return ("" if name == "code" else " ").join(words)


def is_duplicate(one: Resource, other: Resource) -> bool:
    """Return whether two courses are offerings of one subject in one term."""
    names = ("code", "term", "component")
    return key_of(one, "code") != "" and all(key_of(one, name) == key_of(other, name) for name in names)


def first_conflict(one: Resource, other: Resource) -> tuple[str, str, frozenset[tuple[dt.date, int]]] | None:
    """Return when the first two meetings of the courses that have a minute in common meet: dates and minutes.

    Meetings of different terms need dates.
    """
    terms = {key_of(one, "term"), key_of(other, "term")} - {""}
    for mine, theirs in itertools.product(one["meetings"] or (), other["meetings"] or ()):
        (one_has_dates, one_meets), (other_has_dates, other_meets) = minutes(*mine), minutes(*theirs)
        common = one_meets & other_meets
        if common and (len(terms) < 2 or (one_has_dates and other_has_dates)):
            lasts = [meeting.end_date for meeting in (mine, theirs) if meeting.end_date]
            return max(mine.start_date, theirs.start_date), min(lasts, default=""), common
    return None


@functools.cache
def minutes(
    weekdays: Sequence[int], start: int | None, end: int | None, first: str, last: str, _location: str
) -> tuple[bool, frozenset[tuple[dt.date, int]]]:
    """Return whether a meeting has dates, and its minutes; all times in the tests are whole minutes."""
    begin = dt.date.fromisoformat(first) if first else ALL_DATES[0]
    finish = dt.date.fromisoformat(last) if last else ALL_DATES[1]
    days = [begin + dt.timedelta(days=day) for day in range((finish - begin).days + 1)]
    meets = [day for day in days if day.isoweekday() in weekdays]
    hours = range(0) if start is None or end is None else range(start // 60, end // 60)
    return bool(first and last), frozenset((day, minute) for day in meets for minute in hours)
