"""A slow and simple second implementation of Registrar, as a reference for the tests.

It carries out one command at a time over plain lists, and counts everything again. The core, with its batches, counters
and queues, must give the same results. The reference uses nothing of the server except the commands, so that it states
the rules a second time: its records and rules are in ``reference_rules.py``, its seats and waitlists in
``reference_seats.py``. A command by the id of an enrollment names it by its course and its number, such as "c-1#2".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from tests.support.reference_rules import Enrollment, Refused, Resource, Result
from tests.support.reference_seats import Seats

#: The values of fields that were never set, except ``state``.
UNSET: dict[str, Any] = {
    **dict.fromkeys(("email", "code", "term", "component"), ""),
    **dict.fromkeys(("meetings", "prerequisite_course_ids"), ()),
    **dict.fromkeys(("capacity", "waitlist_capacity", "max_credits"), None),
    **dict.fromkeys(("enroll_open_time", "enroll_close_time", "drop_deadline_time"), None),
    "credits": 0,
}
#: A change of these fields settles a course.
SETTLING_FIELDS = {
    *("capacity", "enroll_open_time", "enroll_close_time", "state", "meetings"),
    *("prerequisite_course_ids", "credits", "term", "code", "component"),
}


class Reference(Seats):
    """The state of a small university and its history."""

    def forget_kept_facts(self, numbers: Collection[int]) -> None:
        """Keep only the rules of the overrides of these enrollments, as servers of older versions did."""
        for row in self.rows:
            if int(self.name(row).partition("#")[2]) in numbers:
                row.kept.clear()

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
            case Settle():
                return self._settle_course(command)
            case PlaceHold() | ReleaseHold():
                return self._hold(command)
            case CreateStudent() | UpdateStudent() | DeleteStudent() | UndeleteStudent():
                others = self._manage("STUDENT", self.students, command.student_id, command)
                return (*self.student(command.student_id), *others)
            case CreateCourse() | UpdateCourse() | DeleteCourse() | UndeleteCourse():
                others = self._manage("COURSE", self.courses, command.course_id, command)
                return (*self.course(command.course_id), *others)
        raise TypeError(command)

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
            row.ended_seat = row.ended_seat or row.state == "ENROLLED"
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
            self._record_enrollment("COMPLETION_VOIDED", row, command.reason)
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
        self._record_enrollment("COMPLETION_RECORDED", made, comment=command.comment)
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
            self._record_resource("HOLD_PLACED", student.key, command.reason)
        else:
            if held is None:
                raise Refused("HOLD_NOT_FOUND")
            self._record_resource("HOLD_RELEASED", student.key, student.holds.pop(held))
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
        changed = {name for name, value in values.items() if before.get(name, UNSET.get(name, usual_state)) != value}
        if changed:
            self._changed(kind, resource, "UPDATED")
        if kind == "STUDENT" or not changed & SETTLING_FIELDS:
            return ()
        promoted = self._settle(resource, self.completed(resource))
        self.situations["an update promotes"] += bool(promoted)
        self.situations["an update of another field than the capacity promotes"] += (
            bool(promoted) and "capacity" not in changed
        )
        return tuple(self._names(promoted))

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
            self._drop(row, [], f"{kind}_DELETED")
        resource.deleted = True
        self._changed(kind, resource, "DELETED")
        dropped = [value for row in rows for value in self.enrollment(row)]
        promoted = [row for course_id in seats for row in self._settle(self.courses[course_id])]
        return (*dropped, *self._names(promoted))

    def _changed(self, kind: str, resource: Resource, change: str) -> None:
        resource.version += 1
        self._record_resource(f"{kind}_{change}", resource.key)

    def _record_resource(self, type: str, key: str, reason: str = "") -> None:
        ids = (key, "") if type.startswith(("STUDENT", "HOLD")) else ("", key)
        self.events.append((type, *ids, reason, "", ()))

    def course(self, course_id: str) -> Result:
        """Return a course as a result."""
        course = self.courses[course_id]
        counts = (self.count(course, "ENROLLED"), self.count(course, "WAITLISTED"), self.completed(course))
        return ("course", course_id, course.version, course.deleted, course["capacity"], *counts)

    def student(self, student_id: str) -> Result:
        """Return a student as a result."""
        student = self.students[student_id]
        holds = tuple(sorted(student.holds.items()))
        return ("student", student_id, student.version, student.deleted, student["email"] or "", holds)
