"""A slow and simple second implementation of Registrar, as a reference for the tests.

It carries out one command at a time over plain lists, and counts everything again. The core, with its batches, counters
and queues, must give the same results. The reference uses nothing of the server except the commands, so that it states
the rules a second time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registrar_server.core.commands import (
    Command,
    Complete,
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
)

Result = tuple[Any, ...]
Violation = tuple[str, object]
"""A violated rule and its cause. A skip with the same violations as the last one is not recorded again."""

ALL_DATES = (dt.date(2018, 1, 1), dt.date(2018, 12, 31))
OVERRIDDEN_BY = {"WAITLIST_FULL": "COURSE_FULL"}
#: The values of fields that were never set, except ``state``.
UNSET: dict[str, Any] = {
    **dict.fromkeys(("email", "code", "term"), ""),
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
            case PlaceHold() | ReleaseHold():
                return self._hold(command)
            case CreateStudent() | UpdateStudent() | DeleteStudent() | UndeleteStudent():
                self._manage("STUDENT", self.students, command.student_id, command)
                return self.student(command.student_id)
            case CreateCourse() | UpdateCourse() | DeleteCourse() | UndeleteCourse():
                self._manage("COURSE", self.courses, command.course_id, command)
                return self.course(command.course_id)
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
        wanted = course["prerequisite_course_ids"] or ()
        if missing := [one for one in wanted if not self._has_passed(student, one)]:
            violated.append(("PREREQUISITE_UNMET", missing))
        others = [
            self.courses[row.course_id]
            for row in sorted(self.rows, key=lambda row: row.course_id)
            if row.student_id == student.key and row.state == "ENROLLED" and row.course_id not in (without, course.key)
        ]
        for other in others:
            if common := minutes(other) & minutes(course):
                violated.append(("SCHEDULE_CONFLICT", (other.key, common)))
        taken = sum(other["credits"] or 0 for other in others if (other["term"] or "") == (course["term"] or ""))
        asked, limit = course["credits"] or 0, student["max_credits"]
        if limit is not None and taken + asked > limit:
            violated.append(("CREDIT_LIMIT_EXCEEDED", (course["term"] or "", taken, asked, limit)))
        return violated

    def _outside_window(self, course: Resource) -> list[Violation]:
        opens, closes = course["enroll_open_time"], course["enroll_close_time"]
        if opens is not None and self.now < opens:
            return [("ENROLLMENT_NOT_OPEN", opens)]
        return [("ENROLLMENT_CLOSED", closes)] if closes is not None and closes <= self.now else []

    def _has_passed(self, student: Resource, wanted: str) -> bool:
        code = self.courses[wanted]["code"] if wanted in self.courses else None
        return any(
            row.course_id == wanted or (code and self.courses[row.course_id]["code"] == code)
            for row in self.rows
            if row.student_id == student.key and row.state == "COMPLETED" and row.passed
        )

    def _late(self, course: Resource, row: Enrollment) -> list[Violation]:
        deadline = course["drop_deadline_time"]
        late = deadline is not None and self.now >= deadline and row.state == "ENROLLED"
        return [("DROP_DEADLINE_PASSED", deadline)] if late else []

    def _refuse(self, violated: Iterable[Violation], allowed: Iterable[str]) -> None:
        allowed = set(allowed) - NEVER_OVERRIDDEN
        if refusing := [reason for reason, _ in violated if OVERRIDDEN_BY.get(reason, reason) not in allowed]:
            raise Refused(*refusing)

    def _chosen(self, row: Enrollment, override: Override) -> bool:
        return row.state == "WAITLISTED" and "COURSE_FULL" in override.rules

    # Completions and holds

    def _complete(self, command: Complete) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        mine = [row for row in self.rows if (row.student_id, row.course_id) == (student.key, course.key)]
        seats = [row for row in mine if row.state == "ENROLLED"]
        done = [row for row in mine if row.state == "COMPLETED"]
        if not seats and not done:
            raise Refused("NOT_ENROLLED")
        row = seats[0] if seats else done[-1]
        if command.etag not in ("", str(row.version)):
            raise Refused("ETAG_MISMATCH")
        if not seats and (row.grade, row.passed) == (command.grade, command.passed):
            return self.enrollment(row)
        row.state, row.grade, row.passed = "COMPLETED", command.grade, command.passed
        row.version += 1
        self._record_enrollment("ENROLLMENT_COMPLETED", row)
        return self.enrollment(row)

    def _record_completion(self, command: RecordCompletion) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        row = Enrollment(course.key, student.key, "COMPLETED", passed=command.passed, grade=command.grade)
        self.rows.append(row)
        self._record_enrollment("COMPLETION_RECORDED", row)
        return self.enrollment(row)

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

    def _manage(self, kind: str, resources: dict[str, Resource], key: str, command: Any) -> None:
        match command:
            case CreateStudent() | CreateCourse():
                if key in resources:
                    raise Refused(f"{kind}_EXISTS")
                self._check_window(command.values)
                resources[key] = Resource(key, values=dict(command.values))
                self._record_resource(f"{kind}_CREATED", key)
            case UndeleteStudent() | UndeleteCourse():
                if key not in resources:
                    raise Refused(f"{kind}_NOT_FOUND")
                if resources[key].deleted:
                    resources[key].deleted = False
                    self._changed(kind, resources[key], "UNDELETED")
            case _:
                resource = self._existing(kind, resources, key)
                if command.etag not in ("", str(resource.version)):
                    raise Refused("ETAG_MISMATCH")
                if isinstance(command, UpdateStudent | UpdateCourse):
                    self._update(kind, resource, command.values)
                else:
                    self._delete(kind, resource, force=command.force)

    def _update(self, kind: str, resource: Resource, values: Mapping[str, Any]) -> None:
        before, after = resource.values, resource.values | dict(values)
        usual_state = {"STUDENT": "ACTIVE", "COURSE": "OPEN"}[kind]
        self._check_window(after)
        resource.values = after
        if any(before.get(name, UNSET.get(name, usual_state)) != value for name, value in values.items()):
            self._changed(kind, resource, "UPDATED")
        old, new = before.get("capacity"), after.get("capacity")
        if kind == "COURSE" and old is not None and (new is None or new > old):
            self._settle(resource)

    def _check_window(self, values: Mapping[str, Any]) -> None:
        opens, closes = values.get("enroll_open_time"), values.get("enroll_close_time")
        if opens is not None and closes is not None and closes <= opens:
            raise Refused("INVALID_FIELD")

    def _delete(self, kind: str, resource: Resource, *, force: bool) -> None:
        live = [row for row in self.rows if row.live and resource.key in (row.student_id, row.course_id)]
        if live and not force:
            raise Refused(f"{kind}_HAS_ENROLLMENTS")
        rows = live if kind == "COURSE" else sorted(live, key=lambda row: row.course_id)
        seats = [row.course_id for row in rows if row.state == "ENROLLED"]
        for row in rows:
            self._drop(row)
        resource.deleted = True
        self._changed(kind, resource, "DELETED")
        for course_id in seats:
            self._settle(self.courses[course_id])

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


def minutes(course: Resource) -> set[tuple[dt.date, int]]:
    """Return every minute in which a course meets; all times in the tests are whole minutes."""
    found = set()
    for weekdays, start, end, first, last, _location in course["meetings"] or ():
        if start is None or end is None:
            continue
        begin = dt.date.fromisoformat(first) if first else ALL_DATES[0]
        finish = dt.date.fromisoformat(last) if last else ALL_DATES[1]
        days = [begin + dt.timedelta(days=day) for day in range((finish - begin).days + 1)]
        meets = [day for day in days if day.isoweekday() in weekdays]
        found |= {(day, minute) for day in meets for minute in range(start // 60, end // 60)}
    return found
