"""A slow and simple second implementation of Registrar, as a reference for the tests.

It carries out one command at a time over plain lists, and counts everything again. The core, with its batches, counters
and queues, must give the same results. The reference uses nothing of the server except the commands, so that it states
the rules a second time. A command by the id of an enrollment names it by its course and its number, such as "c-1#2".
"""

from __future__ import annotations

import datetime as dt
import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)

Result = tuple[Any, ...]
Violation = tuple[str, object]
"""A violated rule and its cause. A skip with the same violations as the last one is not recorded again."""

ALL_DATES = (dt.date(2018, 1, 1), dt.date(2018, 12, 31))
OVERRIDDEN_BY = {"WAITLIST_FULL": "COURSE_FULL"}
#: The values of fields that were never set, except ``state``.
UNSET: dict[str, Any] = {
    **dict.fromkeys(("email", "code", "term", "component"), ""),
    **dict.fromkeys(("meetings", "prerequisite_course_ids"), ()),
    **dict.fromkeys(("capacity", "waitlist_capacity", "max_credits"), None),
    **dict.fromkeys(("enroll_open_time", "enroll_close_time", "drop_deadline_time"), None),
    "credits": 0,
}
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
    passed: bool | None = None
    grade: str = ""
    version: int = 1
    last_skip: list[Violation] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it holds a seat or a place on the waitlist."""
        return self.state in ("ENROLLED", "WAITLISTED")


class Refused(Exception):
    """A command is refused for these reasons."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


class Reference:
    """The state of a small university and its history."""

    def __init__(self, now: int = 0) -> None:
        self.now = now
        self.students: dict[str, Resource] = {}
        self.courses: dict[str, Resource] = {}
        self.rows: list[Enrollment] = []
        self.events: list[Result] = []

    def do(self, command: Command) -> Result:
        """Carry out one command, and return its result."""
        try:
            return self._do(command)
        except Refused as refused:
            return ("refused", *refused.reasons)

    def _do(self, command: Command) -> Result:
        match command:
            case Enroll():
                return self._enroll(command)
            case Unenroll():
                return self._unenroll(command)
            case Swap():
                return self._swap(command)
            case Complete():
                return self._complete(command)
            case RecordCompletion():
                return self._record_completion(command)
            case CompleteById():
                return self._complete_by_id(command)
            case VoidCompletion():
                return self._void(command)
            case PlaceHold() | ReleaseHold():
                return self._hold(command)
            case CreateStudent() | UpdateStudent() | DeleteStudent() | UndeleteStudent():
                others = self._manage("STUDENT", self.students, command.student_id, command)
                return (*self.student(command.student_id), *others)
            case CreateCourse() | UpdateCourse() | DeleteCourse() | UndeleteCourse():
                others = self._manage("COURSE", self.courses, command.course_id, command)
                return (*self.course(command.course_id), *others)
        raise TypeError(command)

    # Seats

    def _enroll(self, command: Enroll) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        live = self._live(student, course)
        if live and not self._chosen(live, command.override):
            if not command.allow_existing:
                raise Refused("ALREADY_ENROLLED" if live.state == "ENROLLED" else "ALREADY_WAITLISTED")
            return self.enrollment(live)
        row, _ = self._seat(student, course, command.override, may_wait=not command.no_waitlist)
        return self.enrollment(row)

    def _unenroll(self, command: Unenroll) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        live = self._live(student, course)
        if live is None:
            if not command.allow_missing:
                raise Refused("NOT_ENROLLED")
            return ("nothing",)
        late = self._late(course, live)
        self._refuse(late, command.override.rules)
        had_seat = live.state == "ENROLLED"
        self._drop(live, late)
        promoted = self._settle(course) if had_seat else []
        return (*self.enrollment(live), *self._names(promoted))

    def _swap(self, command: Swap) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        origin = self._existing("COURSE", self.courses, command.from_course_id)
        target = self._existing("COURSE", self.courses, command.to_course_id)
        live = self._live(student, origin)
        if live is None or live.state != "ENROLLED":
            raise Refused("NOT_ENROLLED")
        there = self._live(student, target)
        if there and not self._chosen(there, command.override):
            raise Refused("ALREADY_ENROLLED" if there.state == "ENROLLED" else "ALREADY_WAITLISTED")
        late = self._late(origin, live)
        row, promoted = self._seat(student, target, command.override, may_wait=False, without=origin.key, late=late)
        self._drop(live, late)
        promoted += self._settle(origin)
        return (*self.enrollment(row), *self.enrollment(live), *self._names(promoted))

    def _seat(
        self,
        student: Resource,
        course: Resource,
        override: Override,
        *,
        may_wait: bool,
        without: str = "",
        late: Sequence[Violation] = (),
    ) -> tuple[Enrollment, list[Enrollment]]:
        """Give a newcomer a seat or a place on the waitlist, or a chosen waiter a seat."""
        violated = self.violations(student, course, without)
        waiting = self._live(student, course)
        kept = set(waiting.bypassed) if waiting else set()
        settled = self._plan(course)
        promoted = [row for row, obstacles in settled if not obstacles]
        capacity = course["capacity"]
        seated = self._count(course, "ENROLLED") + len(promoted)
        queue = self._count(course, "WAITLISTED") - len(promoted)
        places = course["waitlist_capacity"] or 0
        state = "ENROLLED"
        if capacity is not None and seated >= capacity:
            if "COURSE_FULL" in override.rules or not may_wait or queue >= places:
                violated.append(("WAITLIST_FULL" if may_wait and places and queue >= places else "COURSE_FULL", ""))
            else:
                state = "WAITLISTED"
        self._refuse([*violated, *late], override.rules | kept)
        self._settle_turns(settled)
        bypassed = {OVERRIDDEN_BY.get(reason, reason) for reason, _ in violated}
        if waiting is None:
            row = Enrollment(course.key, student.key, state, bypassed)
            self.rows.append(row)
            self._record_enrollment(f"STUDENT_{state}", row)
            return row, promoted
        if waiting.state == "WAITLISTED":
            waiting.bypassed |= bypassed
            self._promote(waiting)
        return waiting, promoted

    def _settle(self, course: Resource) -> list[Enrollment]:
        turns = self._plan(course)
        self._settle_turns(turns)
        return [row for row, obstacles in turns if not obstacles]

    def _plan(self, course: Resource) -> list[tuple[Enrollment, list[Violation]]]:
        """Return the waiters whose turn it is for a free seat, with their obstacles."""
        if course.deleted or course["state"] == "CANCELLED" or self._outside_window(course):
            return []
        capacity = course["capacity"]
        free = 10**9 if capacity is None else capacity - self._count(course, "ENROLLED")
        turns: list[tuple[Enrollment, list[Violation]]] = []
        for row in self.rows:
            if row.course_id == course.key and row.state == "WAITLISTED" and free > 0:
                violated = self.violations(self.students[row.student_id], course)
                turns.append((row, [one for one in violated if one[0] not in row.bypassed]))
                free -= not turns[-1][1]
        return turns

    def _settle_turns(self, turns: Iterable[tuple[Enrollment, list[Violation]]]) -> None:
        for row, obstacles in turns:
            if not obstacles:
                self._promote(row)
            elif obstacles != row.last_skip:
                row.last_skip = obstacles
                self._record_enrollment("PROMOTION_SKIPPED", row)

    def _promote(self, row: Enrollment) -> None:
        row.state = "ENROLLED"
        row.version += 1
        self._record_enrollment("STUDENT_PROMOTED", row)

    def _drop(self, row: Enrollment, late: Iterable[Violation] = ()) -> None:
        row.state = "DROPPED"
        row.version += 1
        row.bypassed |= {reason for reason, _ in late}
        self._record_enrollment("STUDENT_UNENROLLED", row)

    # Rules

    def violations(self, student: Resource, course: Resource, without: str = "") -> list[Violation]:
        """Return the rules that a seat would violate, except those about the number of seats."""
        violated: list[Violation] = []
        if student["state"] == "INACTIVE":
            violated.append(("STUDENT_INACTIVE", ""))
        violated += [("STUDENT_HOLD", hold) for hold in sorted(student.holds.items())]
        if course["state"] == "CANCELLED":
            violated.append(("COURSE_CANCELLED", ""))
        violated += self._outside_window(course)
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

    def _outside_window(self, course: Resource) -> list[Violation]:
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

    def _late(self, course: Resource, row: Enrollment) -> list[Violation]:
        deadline = course["drop_deadline_time"]
        late = deadline is not None and self.now >= deadline and row.state == "ENROLLED"
        late = late and course["state"] != "CANCELLED"
        return [("DROP_DEADLINE_PASSED", deadline)] if late else []

    def _refuse(self, violated: Iterable[Violation], allowed: Iterable[str]) -> None:
        allowed = set(allowed) - NEVER_OVERRIDDEN
        if refusing := [reason for reason, _ in violated if OVERRIDDEN_BY.get(reason, reason) not in allowed]:
            raise Refused(*refusing)

    def _chosen(self, row: Enrollment, override: Override) -> bool:
        return row.state == "WAITLISTED" and "COURSE_FULL" in override.rules

    # Completions and holds

    def _complete(self, command: Complete) -> Result:
        mine = self._of_pair(command)
        seats = [row for row in mine if row.state == "ENROLLED"]
        done = [row for row in mine if row.state == "COMPLETED"]
        if not seats and not done:
            raise Refused("NOT_ENROLLED")
        return self._finish(seats[0] if seats else done[-1], command)

    def _complete_by_id(self, command: CompleteById) -> Result:
        row = self._named(command.enrollment_id)
        if row.state not in ("ENROLLED", "COMPLETED"):
            raise Refused("NOT_COMPLETED")
        return self._finish(row, command)

    def _finish(self, row: Enrollment, command: Complete | CompleteById) -> Result:
        self._check_etag(row, command.etag)
        after = ("COMPLETED", command.grade, command.passed)
        if (row.state, row.grade, row.passed) != after:
            row.state, row.grade, row.passed = after
            row.version += 1
            self._record_enrollment("ENROLLMENT_COMPLETED", row)
        return self.enrollment(row)

    def _void(self, command: VoidCompletion) -> Result:
        row = self._named(command.enrollment_id)
        if row.state not in ("COMPLETED", "VOIDED"):
            raise Refused("NOT_COMPLETED")
        self._check_etag(row, command.etag)
        if row.state == "COMPLETED":
            row.state = "VOIDED"
            row.version += 1
            self._record_enrollment("COMPLETION_VOIDED", row)
        return self.enrollment(row)

    def _record_completion(self, command: RecordCompletion) -> Result:
        for row in reversed(self._of_pair(command)):
            equal = (row.grade, row.passed) == (command.grade, command.passed)
            if command.allow_existing and equal and row.state in ("COMPLETED", "VOIDED"):
                return self.enrollment(row)
        made = Enrollment(
            command.course_id, command.student_id, "COMPLETED", passed=command.passed, grade=command.grade
        )
        self.rows.append(made)
        self._record_enrollment("COMPLETION_RECORDED", made)
        return self.enrollment(made)

    def _of_pair(self, command: Complete | RecordCompletion) -> list[Enrollment]:
        """Return the enrollments of a student in a course, which may be deleted."""
        self._existing("STUDENT", self.students, command.student_id)
        if command.course_id not in self.courses:
            raise Refused("COURSE_NOT_FOUND")
        pair = (command.student_id, command.course_id)
        return [row for row in self.rows if (row.student_id, row.course_id) == pair]

    def _named(self, enrollment_id: str) -> Enrollment:
        for row in self.rows:
            if self.name(row) == enrollment_id:
                return row
        raise Refused("ENROLLMENT_NOT_FOUND")

    def _check_etag(self, row: Enrollment, etag: str) -> None:
        if etag not in ("", f"{self.name(row)}/{row.version}"):
            raise Refused("ETAG_MISMATCH")

    def _hold(self, command: PlaceHold | ReleaseHold) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        held = next((code for code in student.holds if code.casefold() == command.code.casefold()), None)
        if isinstance(command, PlaceHold):
            if held:
                del student.holds[held]
            student.holds[command.code] = command.reason
            self.events.append(("HOLD_PLACED", student.key, ""))
        else:
            if held is None:
                raise Refused("HOLD_NOT_FOUND")
            del student.holds[held]
            self.events.append(("HOLD_RELEASED", student.key, ""))
        student.version += 1
        return self.student(student.key)

    # Students and courses

    def _manage(self, kind: str, resources: dict[str, Resource], key: str, command: Any) -> Result:
        """Carry out a command about a student or course, and return the enrollments that it dropped and promoted."""
        match command:
            case CreateStudent() | CreateCourse():
                if key in resources:
                    raise Refused(f"{kind}_EXISTS")
                self._create(kind, resources, key, command.values)
            case UndeleteStudent() | UndeleteCourse():
                if key not in resources:
                    raise Refused(f"{kind}_NOT_FOUND")
                if resources[key].deleted:
                    resources[key].deleted = False
                    self._changed(kind, resources[key], "UNDELETED")
            case UpdateStudent() | UpdateCourse() if command.creation is not None and key not in resources:
                if command.etag:
                    raise Refused("ETAG_MISMATCH")
                self._create(kind, resources, key, command.creation)
            case _:
                resource = self._existing(kind, resources, key)
                if command.etag not in ("", f"{key}/{resource.version}"):
                    raise Refused("ETAG_MISMATCH")
                if isinstance(command, UpdateStudent | UpdateCourse):
                    return self._update(kind, resource, command.values)
                return self._delete(kind, resource, force=command.force)
        return ()

    def _create(self, kind: str, resources: dict[str, Resource], key: str, values: Mapping[str, Any]) -> None:
        self._check_window(values)
        self._check_prerequisites(values, {})
        resources[key] = Resource(key, values=dict(values))
        self._record_resource(f"{kind}_CREATED", key)

    def _update(self, kind: str, resource: Resource, values: Mapping[str, Any]) -> Result:
        before, after = resource.values, resource.values | dict(values)
        usual_state = {"STUDENT": "ACTIVE", "COURSE": "OPEN"}[kind]
        self._check_window(after)
        self._check_prerequisites(after, before)
        resource.values = after
        if any(before.get(name, UNSET.get(name, usual_state)) != value for name, value in values.items()):
            self._changed(kind, resource, "UPDATED")
        old, new = before.get("capacity"), after.get("capacity")
        more_seats = kind == "COURSE" and old is not None and (new is None or new > old)
        return tuple(self._names(self._settle(resource))) if more_seats else ()

    def _check_window(self, values: Mapping[str, Any]) -> None:
        opens, closes = values.get("enroll_open_time"), values.get("enroll_close_time")
        if opens is not None and closes is not None and closes <= opens:
            raise Refused("INVALID_FIELD")

    def _check_prerequisites(self, after: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        named, known = (values.get("prerequisite_course_ids", ()) for values in (after, before))
        if set(named) - set(known) - set(self.courses):
            raise Refused("COURSE_NOT_FOUND")

    def _delete(self, kind: str, resource: Resource, *, force: bool) -> Result:
        live = [row for row in self.rows if row.live and resource.key in (row.student_id, row.course_id)]
        if live and not force:
            raise Refused(f"{kind}_HAS_ENROLLMENTS")
        rows = live if kind == "COURSE" else sorted(live, key=lambda row: row.course_id)
        seats = [row.course_id for row in rows if row.state == "ENROLLED"]
        for row in rows:
            self._drop(row)
        resource.deleted = True
        self._changed(kind, resource, "DELETED")
        dropped = [value for row in rows for value in self.enrollment(row)]
        promoted = [row for course_id in seats for row in self._settle(self.courses[course_id])]
        return (*dropped, *self._names(promoted))

    def _changed(self, kind: str, resource: Resource, change: str) -> None:
        resource.version += 1
        self._record_resource(f"{kind}_{change}", resource.key)

    def _existing(self, kind: str, resources: Mapping[str, Resource], key: str) -> Resource:
        if key not in resources or resources[key].deleted:
            raise Refused(f"{kind}_NOT_FOUND")
        return resources[key]

    # Look-ups

    def _live(self, student: Resource, course: Resource) -> Enrollment | None:
        pair = (student.key, course.key)
        return next((row for row in self.rows if row.live and (row.student_id, row.course_id) == pair), None)

    def _count(self, course: Resource, state: str) -> int:
        return sum(row.state == state for row in self.rows if row.course_id == course.key)

    def _record_enrollment(self, type: str, row: Enrollment) -> None:
        self.events.append((type, row.student_id, row.course_id))

    def _record_resource(self, type: str, key: str) -> None:
        self.events.append((type, key, "") if type.startswith("STUDENT") else (type, "", key))

    def _names(self, rows: Iterable[Enrollment]) -> list[tuple[str, str]]:
        return [(row.course_id, row.student_id) for row in rows]

    def name(self, row: Enrollment) -> str:
        """Return the name of an enrollment in commands."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        return f"{row.course_id}#{1 + of_course.index(row)}"

    def enrollment(self, row: Enrollment) -> Result:
        """Return an enrollment as a result."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        of_pair = [other for other in of_course if other.student_id == row.student_id]
        number, attempt = (1 + [other is row for other in rows].index(True) for rows in (of_course, of_pair))
        queue = [other for other in of_course if other.state == "WAITLISTED"]
        position = 1 + queue.index(row) if row in queue else 0
        visible = (row.state, position, row.grade, row.passed, tuple(sorted(row.bypassed)), row.version)
        return ("enrollment", row.course_id, row.student_id, number, attempt, *visible)

    def course(self, course_id: str) -> Result:
        """Return a course as a result."""
        course = self.courses[course_id]
        counts = (self._count(course, "ENROLLED"), self._count(course, "WAITLISTED"))
        return ("course", course_id, course.version, course.deleted, course["capacity"], *counts)

    def student(self, student_id: str) -> Result:
        """Return a student as a result."""
        student = self.students[student_id]
        holds = tuple(sorted(student.holds.items()))
        return ("student", student_id, student.version, student.deleted, student["email"] or "", holds)


def key_of(course: Resource, name: str) -> str:
    """Return a text of a course without regard to case and width; blanks count only within terms and components."""
    words = unicodedata.normalize("NFKC", course[name] or "").casefold().split()
    return ("" if name == "code" else " ").join(words)


def is_duplicate(one: Resource, other: Resource) -> bool:
    """Return whether two courses are offerings of one subject in one term."""
    names = ("code", "term", "component")
    return key_of(one, "code") != "" and all(key_of(one, name) == key_of(other, name) for name in names)


def first_conflict(one: Resource, other: Resource) -> tuple[str, str, set[tuple[dt.date, int]]] | None:
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


def minutes(
    weekdays: Sequence[int], start: int | None, end: int | None, first: str, last: str, _location: str
) -> tuple[bool, set[tuple[dt.date, int]]]:
    """Return whether a meeting has dates, and its minutes; all times in the tests are whole minutes."""
    begin = dt.date.fromisoformat(first) if first else ALL_DATES[0]
    finish = dt.date.fromisoformat(last) if last else ALL_DATES[1]
    days = [begin + dt.timedelta(days=day) for day in range((finish - begin).days + 1)]
    meets = [day for day in days if day.isoweekday() in weekdays]
    hours = range(0) if start is None or end is None else range(start // 60, end // 60)
    return bool(first and last), {(day, minute) for day in meets for minute in hours}
