"""Registrar once more, as slow and plain as can be: one command at a time over lists, nothing counted, nothing kept.

What the core does in batches, with counters, queues and set-based SQL, must come out as it does here. Nothing of the
server's is used but the commands themselves: the rules are written down a second time, day by day and minute by minute.
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
Broken = tuple[str, object]
"""A rule that is broken, and what decided it: two skips for equal ones are told once."""

FOR_EVER = (dt.date(2018, 1, 1), dt.date(2018, 12, 31))
OVERRIDDEN_BY = {"WAITLIST_FULL": "COURSE_FULL"}
#: What fields hold that were never set, ``state`` apart.
UNSET: dict[str, Any] = {
    **dict.fromkeys(("email", "code", "term"), ""),
    **dict.fromkeys(("meetings", "prerequisite_course_ids"), ()),
    **dict.fromkeys(("capacity", "waitlist_capacity", "max_credits"), None),
    **dict.fromkeys(("enroll_open_time", "enroll_close_time", "drop_deadline_time"), None),
    "credits": 0,
}
NEVER_OVERRIDDEN = {"STUDENT_INACTIVE", "COURSE_CANCELLED"}


@dataclass
class Thing:
    """A student or a course."""

    key: str
    version: int = 1
    deleted: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)


@dataclass(eq=False)
class Row:
    """An enrollment."""

    course_id: str
    student_id: str
    state: str
    bypassed: set[str] = field(default_factory=set)
    passed: bool | None = None
    grade: str = ""
    version: int = 1
    last_skip: list[Broken] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it holds a seat or a place in the queue."""
        return self.state in ("ENROLLED", "WAITLISTED")


class Refused(Exception):
    """The command is refused, for the reasons it carries."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


class Reference:
    """The state of a small university, and everything that ever happened there."""

    def __init__(self, now: int = 0) -> None:
        self.now = now
        self.students: dict[str, Thing] = {}
        self.courses: dict[str, Thing] = {}
        self.rows: list[Row] = []
        self.events: list[Result] = []

    def do(self, command: Command) -> Result:
        """Carry out one command, and say what came of it as ``summary`` does."""
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
                return self._record(command)
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
        student: Thing,
        course: Thing,
        override: Override,
        *,
        may_wait: bool,
        without: str = "",
        late: Sequence[Broken] = (),
    ) -> tuple[Row, list[Row]]:
        """Seat a newcomer, or one who waits and was chosen."""
        broken = self.broken(student, course, without)
        waiting = self._live(student, course)
        kept = set(waiting.bypassed) if waiting else set()
        settled = self._turns(course)
        promoted = [row for row, obstacles in settled if not obstacles]
        capacity = course["capacity"]
        seated = self._count(course, "ENROLLED") + len(promoted)
        queue = self._count(course, "WAITLISTED") - len(promoted)
        places = course["waitlist_capacity"] or 0
        state = "ENROLLED"
        if capacity is not None and seated >= capacity:
            if "COURSE_FULL" in override.rules or not may_wait or queue >= places:
                broken.append(("WAITLIST_FULL" if may_wait and places and queue >= places else "COURSE_FULL", ""))
            else:
                state = "WAITLISTED"
        self._refuse([*broken, *late], override.rules | kept)
        self._take_turns(settled)
        bypassed = {OVERRIDDEN_BY.get(reason, reason) for reason, _ in broken}
        if waiting is None:
            row = Row(course.key, student.key, state, bypassed)
            self.rows.append(row)
            self._tell(f"STUDENT_{state}", row)
            return row, promoted
        if waiting.state == "WAITLISTED":
            waiting.bypassed |= bypassed
            self._promote(waiting)
        return waiting, promoted

    def _settle(self, course: Thing) -> list[Row]:
        turns = self._turns(course)
        self._take_turns(turns)
        return [row for row, obstacles in turns if not obstacles]

    def _turns(self, course: Thing) -> list[tuple[Row, list[Broken]]]:
        """Whose turn it is for a free seat, and what stands in the way."""
        if course.deleted or course["state"] == "CANCELLED" or self._outside_window(course):
            return []
        capacity = course["capacity"]
        free = 10**9 if capacity is None else capacity - self._count(course, "ENROLLED")
        turns: list[tuple[Row, list[Broken]]] = []
        for row in self.rows:
            if row.course_id == course.key and row.state == "WAITLISTED" and free > 0:
                broken = self.broken(self.students[row.student_id], course)
                turns.append((row, [one for one in broken if one[0] not in row.bypassed]))
                free -= not turns[-1][1]
        return turns

    def _take_turns(self, turns: Iterable[tuple[Row, list[Broken]]]) -> None:
        for row, obstacles in turns:
            if not obstacles:
                self._promote(row)
            elif obstacles != row.last_skip:
                row.last_skip = obstacles
                self._tell("PROMOTION_SKIPPED", row)

    def _promote(self, row: Row) -> None:
        row.state = "ENROLLED"
        row.version += 1
        self._tell("STUDENT_PROMOTED", row)

    def _drop(self, row: Row, late: Iterable[Broken] = ()) -> None:
        row.state = "DROPPED"
        row.version += 1
        row.bypassed |= {reason for reason, _ in late}
        self._tell("STUDENT_UNENROLLED", row)

    # Rules

    def broken(self, student: Thing, course: Thing, without: str = "") -> list[Broken]:
        """Say which rules a seat would break, but for seats themselves."""
        broken: list[Broken] = []
        if student["state"] == "INACTIVE":
            broken.append(("STUDENT_INACTIVE", ""))
        broken += [("STUDENT_HOLD", hold) for hold in sorted(student.holds.items())]
        if course["state"] == "CANCELLED":
            broken.append(("COURSE_CANCELLED", ""))
        broken += self._outside_window(course)
        wanted = course["prerequisite_course_ids"] or ()
        if missing := [one for one in wanted if not self._has_passed(student, one)]:
            broken.append(("PREREQUISITE_UNMET", missing))
        others = [
            self.courses[row.course_id]
            for row in sorted(self.rows, key=lambda row: row.course_id)
            if row.student_id == student.key and row.state == "ENROLLED" and row.course_id not in (without, course.key)
        ]
        for other in others:
            if common := minutes(other) & minutes(course):
                broken.append(("SCHEDULE_CONFLICT", (other.key, common)))
        taken = sum(other["credits"] or 0 for other in others if (other["term"] or "") == (course["term"] or ""))
        asked, limit = course["credits"] or 0, student["max_credits"]
        if limit is not None and taken + asked > limit:
            broken.append(("CREDIT_LIMIT_EXCEEDED", (course["term"] or "", taken, asked, limit)))
        return broken

    def _outside_window(self, course: Thing) -> list[Broken]:
        opens, closes = course["enroll_open_time"], course["enroll_close_time"]
        if opens is not None and self.now < opens:
            return [("ENROLLMENT_NOT_OPEN", opens)]
        return [("ENROLLMENT_CLOSED", closes)] if closes is not None and closes <= self.now else []

    def _has_passed(self, student: Thing, wanted: str) -> bool:
        code = self.courses[wanted]["code"] if wanted in self.courses else None
        return any(
            row.course_id == wanted or (code and self.courses[row.course_id]["code"] == code)
            for row in self.rows
            if row.student_id == student.key and row.state == "COMPLETED" and row.passed
        )

    def _late(self, course: Thing, row: Row) -> list[Broken]:
        deadline = course["drop_deadline_time"]
        late = deadline is not None and self.now >= deadline and row.state == "ENROLLED"
        return [("DROP_DEADLINE_PASSED", deadline)] if late else []

    def _refuse(self, broken: Iterable[Broken], allowed: Iterable[str]) -> None:
        allowed = set(allowed) - NEVER_OVERRIDDEN
        if refusing := [reason for reason, _ in broken if OVERRIDDEN_BY.get(reason, reason) not in allowed]:
            raise Refused(*refusing)

    def _chosen(self, row: Row, override: Override) -> bool:
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
        self._tell("ENROLLMENT_COMPLETED", row)
        return self.enrollment(row)

    def _record(self, command: RecordCompletion) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        row = Row(course.key, student.key, "COMPLETED", passed=command.passed, grade=command.grade)
        self.rows.append(row)
        self._tell("COMPLETION_RECORDED", row)
        return self.enrollment(row)

    def _hold(self, command: PlaceHold | ReleaseHold) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        if isinstance(command, PlaceHold):
            student.holds[command.code] = command.reason
            self.events.append(("HOLD_PLACED", student.key, ""))
        else:
            if command.code not in student.holds:
                raise Refused("HOLD_NOT_FOUND")
            del student.holds[command.code]
            self.events.append(("HOLD_RELEASED", student.key, ""))
        student.version += 1
        return self.student(student.key)

    # Students and courses

    def _manage(self, kind: str, things: dict[str, Thing], key: str, command: Any) -> None:
        match command:
            case CreateStudent() | CreateCourse():
                if key in things:
                    raise Refused(f"{kind}_EXISTS")
                self._check_window(command.values)
                things[key] = Thing(key, values=dict(command.values))
                self._tell_of(f"{kind}_CREATED", key)
            case UndeleteStudent() | UndeleteCourse():
                if key not in things:
                    raise Refused(f"{kind}_NOT_FOUND")
                if things[key].deleted:
                    things[key].deleted = False
                    self._changed(kind, things[key], "UNDELETED")
            case _:
                thing = self._existing(kind, things, key)
                if command.etag not in ("", str(thing.version)):
                    raise Refused("ETAG_MISMATCH")
                if isinstance(command, UpdateStudent | UpdateCourse):
                    self._update(kind, thing, command.values)
                else:
                    self._delete(kind, thing, force=command.force)

    def _update(self, kind: str, thing: Thing, values: Mapping[str, Any]) -> None:
        before, after = thing.values, thing.values | dict(values)
        usual_state = {"STUDENT": "ACTIVE", "COURSE": "OPEN"}[kind]
        self._check_window(after)
        thing.values = after
        if any(before.get(name, UNSET.get(name, usual_state)) != value for name, value in values.items()):
            self._changed(kind, thing, "UPDATED")
        old, new = before.get("capacity"), after.get("capacity")
        if kind == "COURSE" and old is not None and (new is None or new > old):
            self._settle(thing)

    def _check_window(self, values: Mapping[str, Any]) -> None:
        opens, closes = values.get("enroll_open_time"), values.get("enroll_close_time")
        if opens is not None and closes is not None and closes <= opens:
            raise Refused("INVALID_FIELD")

    def _delete(self, kind: str, thing: Thing, *, force: bool) -> None:
        live = [row for row in self.rows if row.live and thing.key in (row.student_id, row.course_id)]
        if live and not force:
            raise Refused(f"{kind}_HAS_ENROLLMENTS")
        rows = live if kind == "COURSE" else sorted(live, key=lambda row: row.course_id)
        seats = [row.course_id for row in rows if row.state == "ENROLLED"]
        for row in rows:
            self._drop(row)
        thing.deleted = True
        self._changed(kind, thing, "DELETED")
        for course_id in seats:
            self._settle(self.courses[course_id])

    def _changed(self, kind: str, thing: Thing, what: str) -> None:
        thing.version += 1
        self._tell_of(f"{kind}_{what}", thing.key)

    def _existing(self, kind: str, things: Mapping[str, Thing], key: str) -> Thing:
        if key not in things or things[key].deleted:
            raise Refused(f"{kind}_NOT_FOUND")
        return things[key]

    # Looking

    def _live(self, student: Thing, course: Thing) -> Row | None:
        pair = (student.key, course.key)
        return next((row for row in self.rows if row.live and (row.student_id, row.course_id) == pair), None)

    def _count(self, course: Thing, state: str) -> int:
        return sum(row.state == state for row in self.rows if row.course_id == course.key)

    def _tell(self, what: str, row: Row) -> None:
        self.events.append((what, row.student_id, row.course_id))

    def _tell_of(self, what: str, key: str) -> None:
        self.events.append((what, key, "") if what.startswith("STUDENT") else (what, "", key))

    def _names(self, rows: Iterable[Row]) -> list[tuple[str, str]]:
        return [(row.course_id, row.student_id) for row in rows]

    def enrollment(self, row: Row) -> Result:
        """What is to be seen of an enrollment."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        of_pair = [other for other in of_course if other.student_id == row.student_id]
        number, attempt = (1 + [other is row for other in rows].index(True) for rows in (of_course, of_pair))
        queue = [other for other in of_course if other.state == "WAITLISTED"]
        position = 1 + queue.index(row) if row in queue else 0
        seen = (row.state, position, row.grade, row.passed, tuple(sorted(row.bypassed)), row.version)
        return ("enrollment", row.course_id, row.student_id, number, attempt, *seen)

    def course(self, course_id: str) -> Result:
        """What is to be seen of a course."""
        course = self.courses[course_id]
        counts = (self._count(course, "ENROLLED"), self._count(course, "WAITLISTED"))
        return ("course", course_id, course.version, course.deleted, course["capacity"], *counts)

    def student(self, student_id: str) -> Result:
        """What is to be seen of a student."""
        student = self.students[student_id]
        holds = tuple(sorted(student.holds.items()))
        return ("student", student_id, student.version, student.deleted, student["email"] or "", holds)


def minutes(course: Thing) -> set[tuple[dt.date, int]]:
    """Every single minute in which a course meets; all times here are whole minutes."""
    found = set()
    for weekdays, start, end, first, last, _location in course["meetings"] or ():
        if start is None or end is None:
            continue
        begin = dt.date.fromisoformat(first) if first else FOR_EVER[0]
        finish = dt.date.fromisoformat(last) if last else FOR_EVER[1]
        days = [begin + dt.timedelta(days=day) for day in range((finish - begin).days + 1)]
        meets = [day for day in days if day.isoweekday() in weekdays]
        found |= {(day, minute) for day in meets for minute in range(start // 60, end // 60)}
    return found
