"""Registrar once more, as slow and plain as can be: one command at a time over lists, nothing counted, nothing kept.

What the core does in batches, with counters and set-based SQL, must come out as it does here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from registrar_server.enrollment.commands import (
    NO_OVERRIDE,
    Command,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
)

Result = tuple[Any, ...]


@dataclass
class Thing:
    """A student or a course."""

    version: int = 1
    deleted: bool = False
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """An enrollment."""

    course_id: str
    student_id: str
    live: bool = True
    bypassed: tuple[str, ...] = ()


class Refused(Exception):
    """The command is refused, for the reason it carries."""


class Reference:
    """The state of a small university, and everything that ever happened there."""

    def __init__(self) -> None:
        self.students: dict[str, Thing] = {}
        self.courses: dict[str, Thing] = {}
        self.rows: list[Row] = []
        self.events: list[Result] = []

    def do(self, command: Command) -> Result:
        """Carry out one command, and say what came of it as ``summary`` does."""
        try:
            return self._do(command)
        except Refused as refused:
            return ("refused", str(refused))

    def _do(self, command: Command) -> Result:
        match command:
            case Enroll():
                return self._enroll(command)
            case Unenroll():
                return self._unenroll(command)
            case CreateStudent() | UpdateStudent() | DeleteStudent() | UndeleteStudent():
                self._manage("STUDENT", self.students, command.student_id, command)
                return self.student(command.student_id)
            case CreateCourse() | UpdateCourse() | DeleteCourse() | UndeleteCourse():
                self._manage("COURSE", self.courses, command.course_id, command)
                return self.course(command.course_id)
        raise TypeError(command)

    def _enroll(self, command: Enroll) -> Result:
        self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        if live := self._live(command):
            if not command.allow_existing:
                raise Refused("ALREADY_ENROLLED")
            return self.enrollment(live)
        capacity = course.values.get("capacity")
        full = capacity is not None and self._taken(command.course_id) >= capacity
        if full and "COURSE_FULL" not in command.override.rules:
            raise Refused("COURSE_FULL")
        row = Row(command.course_id, command.student_id, bypassed=("COURSE_FULL",) if full else ())
        self.rows.append(row)
        self.events.append(("STUDENT_ENROLLED", command.student_id, command.course_id))
        return self.enrollment(row)

    def _unenroll(self, command: Unenroll) -> Result:
        self._existing("STUDENT", self.students, command.student_id)
        self._existing("COURSE", self.courses, command.course_id)
        live = self._live(command)
        if live is None:
            if not command.allow_missing:
                raise Refused("NOT_ENROLLED")
            return ("nothing",)
        self._drop(live)
        return self.enrollment(live)

    def _manage(self, kind: str, things: dict[str, Thing], key: str, command: Any) -> None:
        match command:
            case CreateStudent() | CreateCourse():
                if key in things:
                    raise Refused(f"{kind}_EXISTS")
                things[key] = Thing(values=dict(command.values))
                self._tell(f"{kind}_CREATED", key)
                return
            case UndeleteStudent() | UndeleteCourse():
                if key not in things:
                    raise Refused(f"{kind}_NOT_FOUND")
                if not things[key].deleted:
                    return
                things[key].deleted, what = False, "UNDELETED"
            case _:
                thing = self._existing(kind, things, key)
                if command.etag not in ("", str(thing.version)):
                    raise Refused("ETAG_MISMATCH")
                what = self._change(kind, thing, key, command)
        if what:
            things[key].version += 1
            self._tell(f"{kind}_{what}", key)

    def _change(self, kind: str, thing: Thing, key: str, command: Any) -> str:
        if isinstance(command, UpdateStudent | UpdateCourse):
            after = thing.values | dict(command.values)
            before, thing.values = thing.values, after
            return "UPDATED" if any(before.get(name) != value for name, value in after.items()) else ""
        live = [row for row in self.rows if row.live and key in (row.student_id, row.course_id)]
        if live and not command.force:
            raise Refused(f"{kind}_HAS_ENROLLMENTS")
        for row in live if kind == "COURSE" else sorted(live, key=lambda row: row.course_id):
            self._drop(row)
        thing.deleted = True
        return "DELETED"

    def _existing(self, kind: str, things: Mapping[str, Thing], key: str) -> Thing:
        if key not in things or things[key].deleted:
            raise Refused(f"{kind}_NOT_FOUND")
        return things[key]

    def _live(self, command: Enroll | Unenroll) -> Row | None:
        pair = (command.student_id, command.course_id)
        return next((row for row in self.rows if row.live and (row.student_id, row.course_id) == pair), None)

    def _drop(self, row: Row) -> None:
        row.live = False
        self.events.append(("STUDENT_UNENROLLED", row.student_id, row.course_id))

    def _tell(self, what: str, key: str) -> None:
        self.events.append((what, key, "") if what.startswith("STUDENT") else (what, "", key))

    def _taken(self, course_id: str) -> int:
        return sum(row.live for row in self.rows if row.course_id == course_id)

    def enrollment(self, row: Row) -> Result:
        """What is to be seen of an enrollment."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        of_pair = [other for other in of_course if other.student_id == row.student_id]
        number, attempt = (1 + [other is row for other in rows].index(True) for rows in (of_course, of_pair))
        state = "ENROLLED" if row.live else "DROPPED"
        return ("enrollment", row.course_id, row.student_id, number, attempt, state, row.bypassed)

    def course(self, course_id: str) -> Result:
        """What is to be seen of a course."""
        course = self.courses[course_id]
        taken = self._taken(course_id)
        return ("course", course_id, course.version, course.deleted, course.values.get("capacity"), taken)

    def student(self, student_id: str) -> Result:
        """What is to be seen of a student."""
        student = self.students[student_id]
        return ("student", student_id, student.version, student.deleted, student.values.get("email", ""))


def summary(made: Mapping[str, Any]) -> Result:
    """Say what a decision made, by the fields of its record, in the words of the reference."""
    if not made:
        return ("nothing",)
    if "enrollment_id" in made:
        names = ("course_id", "student_id", "number", "attempt", "state")
        return ("enrollment", *(made[name] for name in names), tuple(made["bypassed_rules"]))
    deleted = made["delete_time"] is not None
    if "course_id" in made:
        return ("course", made["course_id"], made["version"], deleted, made["capacity"], made["enrolled_count"])
    return ("student", made["student_id"], made["version"], deleted, made["email"])


STUDENTS = st.sampled_from(["s-1", "s-2", "s-3"])
COURSES = st.sampled_from(["c-1", "c-2"])
_OVERRIDES = st.sampled_from([NO_OVERRIDE, NO_OVERRIDE, Override(frozenset({"COURSE_FULL"}), "because")])
_CAPACITIES = st.fixed_dictionaries({}, optional={"capacity": st.sampled_from([None, 0, 1, 2])})
_EMAILS = st.fixed_dictionaries({}, optional={"email": st.sampled_from(["a@b.edu", "ä@b.edu"])})
_ETAGS = st.sampled_from(["", "", "1", "2"])

SEAT_COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(Enroll, STUDENTS, COURSES, allow_existing=st.booleans(), override=_OVERRIDES),
    st.builds(Unenroll, STUDENTS, COURSES, allow_missing=st.booleans()),
)
OTHER_COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(CreateStudent, STUDENTS, values=_EMAILS),
    st.builds(UpdateStudent, STUDENTS, values=_EMAILS, etag=_ETAGS),
    st.builds(DeleteStudent, STUDENTS, etag=_ETAGS, force=st.booleans()),
    st.builds(UndeleteStudent, STUDENTS),
    st.builds(CreateCourse, COURSES, values=_CAPACITIES),
    st.builds(UpdateCourse, COURSES, values=_CAPACITIES, etag=_ETAGS),
    st.builds(DeleteCourse, COURSES, etag=_ETAGS, force=st.booleans()),
    st.builds(UndeleteCourse, COURSES),
)
COMMANDS = st.one_of(SEAT_COMMANDS, SEAT_COMMANDS, OTHER_COMMANDS)

#: Somewhere to begin, so that not every history starts with mistakes.
FOUNDATION: tuple[Command, ...] = (
    CreateStudent("s-1"),
    CreateStudent("s-2"),
    CreateCourse("c-1", {"capacity": 1}),
    CreateCourse("c-2", {"capacity": 2}),
)
