"""Decisions about students and courses, by example: create, update, delete, undelete, and holds on students."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    PlaceHold,
    ReleaseHold,
    UndeleteCourse,
    UndeleteStudent,
    UpdateCourse,
    UpdateStudent,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Hold, Student
from registrar_server.core.schedule import Meeting
from registrar_server.core.state import State
from registrar_server.errors import FieldViolation, Reason
from tests.support.states import EARLIER, NOW, contents, enrollment, event_types, loaded_state, refusal


@dataclass(frozen=True)
class Kind:
    """What students and courses have in common, so that each test covers both."""

    name: str
    record: type[Student] | type[Course]
    create: type[CreateStudent] | type[CreateCourse]
    update: type[UpdateStudent] | type[UpdateCourse]
    delete: type[DeleteStudent] | type[DeleteCourse]
    undelete: type[UndeleteStudent] | type[UndeleteCourse]
    values: dict[str, Any]
    changes: list[list[str | None]]

    def existing(self, **fields: Any) -> Student | Course:
        """Return a record that was created earlier, with the values of this kind."""
        times = {"create_time": EARLIER, "update_time": EARLIER}
        return self.record("it", **times | self.values | fields)

    def in_state(self, state: State) -> Any:
        """Return the record as the state has it."""
        return (state.students if self.name == "student" else state.courses)["it"]

    def in_result(self, result: Any) -> Any:
        """Return the record in the result of a decision, which may also contain enrollments."""
        return getattr(result, self.name) if isinstance(result, tuple) else result

    @property
    def metadata(self) -> dict[str, str]:
        return {f"{self.name}_id": "it"}


STUDENT = Kind(
    "student",
    Student,
    CreateStudent,
    UpdateStudent,
    DeleteStudent,
    UndeleteStudent,
    {"given_name": "Ada", "email": "Ada@Example.edu", "max_credits": 15_500},
    [["given_name", None, "Ada"], ["email", None, "Ada@Example.edu"], ["max_credits", None, "15.5"]],
)
COURSE = Kind(
    "course",
    Course,
    CreateCourse,
    UpdateCourse,
    DeleteCourse,
    UndeleteCourse,
    {"code": "CS 101", "title": "Études", "credits": 3_000, "capacity": 30},
    [["code", None, "CS 101"], ["title", None, "Études"], ["credits", "0", "3"], ["capacity", None, "30"]],
)


@pytest.fixture(params=[STUDENT, COURSE], ids=lambda kind: str(kind.name))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Students, then courses."""
    assert isinstance(request.param, Kind)
    return request.param


class TestCreate:
    """Creating adds a record under a new id."""

    def test_sets_the_given_values(self, kind: Kind) -> None:
        """The record has the given values, defaults for the others, version 1, the present time and a search text."""
        state = loaded_state()
        created = decide(state, kind.create("it", kind.values))
        expected = kind.existing(create_time=NOW, update_time=NOW)
        assert created == expected == kind.in_state(state)
        assert created.version == 1
        found_by = {"student": "it ada ada@example.edu", "course": "cs101 it cs 101 études it cs 101 etudes"}
        assert created.search_text == found_by[kind.name]

    def test_records_one_event(self, kind: Kind) -> None:
        """The event names the record and lists the values that were set."""
        state = loaded_state()
        decide(state, kind.create("it", kind.values))
        assert event_types(state) == [f"{kind.name.upper()}_CREATED"]
        (event,) = state.journal.events
        assert getattr(event, f"{kind.name}_id") == "it"
        seats = (None, None) if kind is STUDENT else (30, 0)
        assert (event.capacity, event.enrolled_count) == seats
        assert [list(one) for one in event.changes] == kind.changes

    @pytest.mark.parametrize("delete_time", [None, EARLIER])
    def test_an_id_is_used_once(self, kind: Kind, delete_time: int | None) -> None:
        """An id stays taken after its record is deleted."""
        refused = refusal(loaded_state(kind.existing(delete_time=delete_time)), kind.create("it", {}))
        assert (refused.reason, refused.status) == (Reason(f"{kind.name.upper()}_EXISTS"), "ALREADY_EXISTS")
        message = f'There is already a {kind.name} "it", or was one: deleted ids are not given again.'
        assert (refused.message, refused.metadata) == (message, kind.metadata)

    def test_twice_in_one_batch(self, kind: Kind) -> None:
        """The second command sees the record that the first created."""
        state = loaded_state()
        decide(state, kind.create("it", {}))
        assert refusal(state, kind.create("it", {})).status == "ALREADY_EXISTS"

    def test_created_and_changed_in_one_batch(self, kind: Kind) -> None:
        """A record that a batch creates and changes is written once, as added."""
        state = loaded_state()
        created = decide(state, kind.create("it", {}))
        decide(state, kind.update("it", kind.values))
        decide(state, kind.delete("it"))
        journal = state.journal
        assert journal.added_students | journal.added_courses == {"it": created}
        assert journal.changed_students | journal.changed_courses == {}
        assert created.version == 3


class TestUpdate:
    """Updating sets the named fields, and the event lists those that changed."""

    def test_changes(self, kind: Kind) -> None:
        """The record has the next version and the time of the update, and the event shows readable values."""
        state = loaded_state(kind.record("it", create_time=EARLIER, update_time=EARLIER))
        changed = kind.in_result(decide(state, kind.update("it", kind.values)))
        assert changed == kind.existing(version=2, update_time=NOW)
        assert event_types(state) == [f"{kind.name.upper()}_UPDATED"]
        assert [list(one) for one in state.journal.events[0].changes] == kind.changes

    def test_equal_values(self, kind: Kind) -> None:
        """Values that are set already cause no event, no new version and no write."""
        state = loaded_state(kind.existing())
        assert kind.in_result(decide(state, kind.update("it", kind.values))) == kind.existing()
        assert (state.journal.events, state.journal.changed_students, state.journal.changed_courses) == ([], {}, {})

    def test_only_differences_are_recorded(self, kind: Kind) -> None:
        """Of the named fields, the event lists only those whose values differ."""
        state = loaded_state(kind.existing())
        field, value = ("given_name", "Bob") if kind is STUDENT else ("title", "Bob")
        decide(state, kind.update("it", {**kind.values, field: value}))
        assert [list(one) for one in state.journal.events[0].changes] == [[field, kind.values[field], "Bob"]]

    def test_clearing(self, kind: Kind) -> None:
        """A field can be set to no value."""
        state = loaded_state(kind.existing())
        field, before = ("max_credits", "15.5") if kind is STUDENT else ("capacity", "30")
        assert getattr(kind.in_result(decide(state, kind.update("it", {field: None}))), field) is None
        assert [list(one) for one in state.journal.events[0].changes] == [[field, before, None]]

    @pytest.mark.parametrize("etag", ["", "it/7"])
    def test_with_its_etag(self, kind: Kind, etag: str) -> None:
        """The record's own etag and an empty etag are accepted."""
        changed = decide(loaded_state(kind.existing(version=7)), kind.update("it", {"state": "X"}, etag))
        assert kind.in_result(changed).version == 8

    def test_with_a_stale_etag(self, kind: Kind) -> None:
        """An etag of another version is refused, and the message states the present etag."""
        refused = refusal(loaded_state(kind.existing(version=7)), kind.update("it", {"state": "X"}, "it/6"))
        assert (refused.reason, refused.status) == (Reason.ETAG_MISMATCH, "ABORTED")
        message = f'The {kind.name} "it" has changed since it was read: its etag is now "it/7". Read it again.'
        assert (refused.message, refused.metadata) == (message, kind.metadata)

    @pytest.mark.parametrize("etag", ["7", "other/7", "it/77", "it", "i/7"])
    def test_with_an_etag_of_another_row(self, kind: Kind, etag: str) -> None:
        """An etag of another row is refused, even if the version is the same; so is any text that is not its etag."""
        refused = refusal(loaded_state(kind.existing(version=7)), kind.update("it", {"state": "X"}, etag))
        assert refused.reason is Reason.ETAG_MISMATCH
        if not etag.startswith("it/"):
            message = f'The given etag is not of the {kind.name} "it", whose etag is "it/7". Read it again.'
            assert (refused.message, refused.metadata) == (message, kind.metadata)

    @pytest.mark.parametrize("deleted", [True, False])
    def test_of_a_missing_record(self, kind: Kind, deleted: bool) -> None:
        """A deleted or unknown record cannot be updated; this is checked before the etag."""
        state = loaded_state(*([kind.existing(delete_time=EARLIER)] if deleted else []))
        refused = refusal(state, kind.update("it", kind.values, "stale"))
        assert refused.reason == f"{kind.name.upper()}_NOT_FOUND"
        assert (refused.message, refused.metadata) == (f'There is no {kind.name} "it".', kind.metadata)


class TestUpdateOrCreate:
    """An update with the values of a new record creates a missing one, so that a load can be repeated."""

    def test_creates_a_missing_record(self, kind: Kind) -> None:
        """The new record has the values for a creation, not those for an update, and its event is a creation."""
        state = loaded_state()
        created = kind.in_result(decide(state, kind.update("it", {"state": "X"}, creation=kind.values)))
        assert created == kind.existing(create_time=NOW, update_time=NOW) == kind.in_state(state)
        assert event_types(state) == [f"{kind.name.upper()}_CREATED"]
        assert [list(one) for one in state.journal.events[0].changes] == kind.changes

    def test_updates_an_existing_record(self, kind: Kind) -> None:
        """The values for a creation are not used if the record exists."""
        state = loaded_state(kind.existing())
        changed = kind.in_result(decide(state, kind.update("it", {"state": "X"}, creation={"state": "Y"})))
        assert (changed.state, changed.version) == ("X", 2)
        assert event_types(state) == [f"{kind.name.upper()}_UPDATED"]

    def test_twice_in_one_batch(self, kind: Kind) -> None:
        """The second command updates the record that the first created; the batch writes it once, as added."""
        state = loaded_state()
        command = kind.update("it", {"state": "X"}, creation=kind.values)
        created = kind.in_result(decide(state, command))
        assert kind.in_result(decide(state, command)) is created
        assert event_types(state) == [f"{kind.name.upper()}_CREATED", f"{kind.name.upper()}_UPDATED"]
        assert state.journal.added_students | state.journal.added_courses == {"it": created}
        assert state.journal.changed_students | state.journal.changed_courses == {}

    def test_an_etag_of_a_missing_record(self, kind: Kind) -> None:
        """A record that does not exist matches no etag."""
        refused = refusal(loaded_state(), kind.update("it", {}, "1", kind.values))
        assert (refused.reason, refused.status) == (Reason.ETAG_MISMATCH, "ABORTED")
        message = f'There is no {kind.name} "it", so no etag matches.'
        assert (refused.message, refused.metadata) == (message, kind.metadata)

    @pytest.mark.parametrize("etag", ["", "1", "stale"])
    def test_a_deleted_record_is_not_found(self, kind: Kind, etag: str) -> None:
        """A deleted record is neither updated nor created again, with any etag."""
        state = loaded_state(kind.existing(delete_time=EARLIER))
        assert refusal(state, kind.update("it", {}, etag, kind.values)).reason == f"{kind.name.upper()}_NOT_FOUND"

    def test_a_new_course_needs_a_window_that_is_not_empty(self) -> None:
        """The values of a new course are checked as those of CreateCourse are."""
        values = {"enroll_open_time": 20, "enroll_close_time": 10}
        refused = refusal(loaded_state(), UpdateCourse("c-1", {}, creation=values))
        assert refused.fields == (FieldViolation("course.enroll_close_time", "must be after enroll_open_time"),)


class TestUpdateCourse:
    """Updates of fields that only courses have."""

    def test_capacity_below_the_count(self) -> None:
        """A capacity below the enrolled count is accepted; no student is dropped, and no seat is free."""
        state = loaded_state(Course("c-1", capacity=5, enrolled_count=4))
        lowered, promoted = decide(state, UpdateCourse("c-1", {"capacity": 2}))
        assert promoted == ()
        assert (lowered.enrolled_count, lowered.seats_available) == (4, 0)
        (event,) = state.journal.events
        assert (event.capacity, event.enrolled_count) == (2, 4)
        assert [list(one) for one in event.changes] == [["capacity", "5", "2"]]

    def test_times_meetings_and_prerequisites_are_readable(self) -> None:
        """Events show times as RFC 3339 and lists as JSON."""
        state = loaded_state(Course("c-1"), Course("CS-1"), Course("CS-2"))
        meeting = Meeting((1, 3), 32_400, 36_000, "2026-09-01", "2026-12-18", "Aula")
        values = {
            "enroll_open_time": 1_795_449_600_000_000,
            "meetings": (meeting,),
            "prerequisite_course_ids": ("CS-1", "CS-2"),
        }
        decide(state, UpdateCourse("c-1", values))
        assert [list(one) for one in state.journal.events[0].changes] == [
            ["enroll_open_time", None, "2026-11-23T16:00:00Z"],
            ["meetings", None, '[[[1,3],32400,36000,"2026-09-01","2026-12-18","Aula"]]'],
            ["prerequisite_course_ids", None, '["CS-1","CS-2"]'],
        ]

    def test_unknown_prerequisites(self) -> None:
        """New prerequisites that never existed are refused by name, for a new course and for an existing one."""
        named = {"prerequisite_course_ids": ("x-2", "math", "x-1")}
        for command in (UpdateCourse("c-1", named), CreateCourse("c-2", named)):
            state = loaded_state(Course("c-1"), Course("math"))
            before = contents(state)
            refused = refusal(state, command)
            assert (refused.reason, refused.metadata) == (Reason.COURSE_NOT_FOUND, {"course_id": "x-2"})
            assert refused.message == 'course.prerequisite_course_ids names courses that never existed: "x-2", "x-1".'
            assert contents(state) == before

    def test_known_prerequisites(self) -> None:
        """Deleted courses, courses that the batch created, and prerequisites that are in the list already are known."""
        state = loaded_state(Course("c-1", prerequisite_course_ids=("lost",)), Course("old", delete_time=EARLIER))
        decide(state, CreateCourse("new"))
        named = ("new", "old", "lost")
        changed = decide(state, UpdateCourse("c-1", {"prerequisite_course_ids": named}))
        assert changed.course.prerequisite_course_ids == named

    @pytest.mark.parametrize("values", [{"enroll_open_time": 20}, {"enroll_close_time": 10}, {"enroll_open_time": 30}])
    def test_a_window_must_not_be_empty(self, values: dict[str, int]) -> None:
        """If only one end is set, it is compared with the stored other end."""
        state = loaded_state(Course("c-1", enroll_open_time=10, enroll_close_time=20))
        refused = refusal(state, UpdateCourse("c-1", values))
        assert (refused.reason, refused.status) == (Reason.INVALID_FIELD, "INVALID_ARGUMENT")
        assert refused.fields == (FieldViolation("course.enroll_close_time", "must be after enroll_open_time"),)
        assert refused.message == "course.enroll_close_time: must be after enroll_open_time"

    def test_a_window_may_move_and_open(self) -> None:
        """Both ends can be set at once, and an end can be removed."""
        state = loaded_state(Course("c-1", enroll_open_time=10, enroll_close_time=20))
        decide(state, UpdateCourse("c-1", {"enroll_open_time": 30, "enroll_close_time": 40}))
        assert decide(state, UpdateCourse("c-1", {"enroll_open_time": None})).course.enroll_close_time == 40


class TestHolds:
    """Placing and releasing a hold each change the student."""

    LIBRARY = Hold("LIBRARY", "A book is overdue.", EARLIER)

    def test_place(self) -> None:
        """The hold has the present time, the student the next version, and one event lists code and reason."""
        state = loaded_state(Student("ada"))
        student = decide(state, PlaceHold("ada", "BURSAR", "Unpaid fees."))
        assert student.holds == (Hold("BURSAR", "Unpaid fees.", NOW),)
        assert (student.version, student.update_time) == (2, NOW)
        assert state.journal.changed_students == {"ada": student}
        (event,) = state.journal.events
        assert (event.type, event.student_id, event.course_id) == ("HOLD_PLACED", "ada", "")
        assert (event.reason, event.capacity, event.enrolled_count) == ("Unpaid fees.", None, None)
        assert [list(one) for one in event.changes] == [["code", None, "BURSAR"], ["reason", None, "Unpaid fees."]]

    def test_place_another(self) -> None:
        """Holds of other codes stay, and all holds are in the order of their codes."""
        student = decide(loaded_state(Student("ada", holds=(self.LIBRARY,))), PlaceHold("ada", "BURSAR"))
        assert student.holds == (Hold("BURSAR", "", NOW), self.LIBRARY)

    @pytest.mark.parametrize(
        ("reason", "event_reason", "changes"),
        [
            ("Another.", "Another.", [["reason", "A book is overdue.", "Another."]]),
            ("", "", [["reason", "A book is overdue.", None]]),
            ("A book is overdue.", "A book is overdue.", []),
        ],
        ids=["other-reason", "no-reason", "same-reason"],
    )
    def test_replace(self, reason: str, event_reason: str, changes: list[Any]) -> None:
        """A hold of the same code replaces the old one and its time; the event always lists the code."""
        state = loaded_state(Student("ada", holds=(self.LIBRARY,)))
        student = decide(state, PlaceHold("ada", "LIBRARY", reason))
        assert student.holds == (Hold("LIBRARY", reason, NOW),)
        (event,) = state.journal.events
        assert (event.type, event.reason) == ("HOLD_PLACED", event_reason)
        assert [list(one) for one in event.changes] == [["code", "LIBRARY", "LIBRARY"], *changes]

    def test_release(self) -> None:
        """The hold is removed, and the event lists its code and reason."""
        other = Hold("BURSAR", "", EARLIER)
        state = loaded_state(Student("ada", holds=(other, self.LIBRARY)))
        released = decide(state, ReleaseHold("ada", "LIBRARY"))
        assert released.holds == (other,)
        assert (released.version, released.update_time) == (2, NOW)
        (event,) = state.journal.events
        assert (event.type, event.student_id, event.reason) == ("HOLD_RELEASED", "ada", "A book is overdue.")
        assert [list(one) for one in event.changes] == [
            ["code", "LIBRARY", None],
            ["reason", "A book is overdue.", None],
        ]

    @pytest.mark.parametrize("code", ["library", "Library ", "\uff2cIBRARY"])
    def test_codes_are_matched_by_their_keys(self, code: str) -> None:
        """A hold is replaced and released by any code with the same key, and the event has both codes."""
        state = loaded_state(Student("ada", holds=(self.LIBRARY,)))
        assert decide(state, PlaceHold("ada", code)).holds == (Hold(code, "", NOW),)
        assert decide(state, ReleaseHold("ada", "LIBRARY")).holds == ()
        assert [event.changes[0] for event in state.journal.events] == [("code", "LIBRARY", code), ("code", code, None)]

    def test_old_holds_that_share_a_key(self) -> None:
        """Holds from before the keys may share one: each is found by its own code, and by another code the first."""
        holds = (Hold("BURSAR", "", EARLIER), Hold("Bursar", "", EARLIER))
        student = decide(loaded_state(Student("ada", holds=holds)), ReleaseHold("ada", "Bursar"))
        assert student.holds == holds[:1]
        student = decide(loaded_state(Student("ada", holds=holds)), ReleaseHold("ada", "bursar"))
        assert student.holds == holds[1:]

    @pytest.mark.parametrize("code", ["BURSAR", "LIBRARY 2"])
    def test_release_a_missing_hold(self, code: str) -> None:
        """A hold with another code cannot be released."""
        state = loaded_state(Student("ada", holds=(self.LIBRARY,)))
        before = contents(state)
        refused = refusal(state, ReleaseHold("ada", code))
        assert (refused.reason, refused.status) == (Reason.HOLD_NOT_FOUND, "NOT_FOUND")
        assert refused.message == f'There is no hold "{code}" on student "ada".'
        assert refused.metadata == {"student_id": "ada", "code": code}
        assert contents(state) == before

    def test_a_student_has_at_most_32(self) -> None:
        """A hold of another code is refused. One of the same code still replaces the hold."""
        holds = tuple(Hold(f"CODE-{number:02}", "", EARLIER) for number in range(32))
        state = loaded_state(Student("ada", holds=holds))
        refused = refusal(state, PlaceHold("ada", "BURSAR"))
        problem = "must be the code of one of the student's holds: a student has at most 32 holds"
        assert (refused.reason, refused.fields) == (Reason.INVALID_FIELD, (FieldViolation("code", problem),))
        assert len(decide(state, PlaceHold("ada", "CODE-07", "Unpaid fees.")).holds) == 32
        decide(state, ReleaseHold("ada", "CODE-07"))
        assert len(decide(state, PlaceHold("ada", "BURSAR")).holds) == 32

    @pytest.mark.parametrize("command", [PlaceHold("ada", "LIBRARY"), ReleaseHold("ada", "LIBRARY")])
    @pytest.mark.parametrize("students", [[], [Student("ada", holds=(LIBRARY,), delete_time=EARLIER)]])
    def test_of_a_missing_student(self, command: Command, students: list[Student]) -> None:
        """The student must exist and not be deleted."""
        assert refusal(loaded_state(*students), command).reason is Reason.STUDENT_NOT_FOUND


class TestDelete:
    """Deleting is soft, and is refused while enrollments are live."""

    def test_is_soft(self, kind: Kind) -> None:
        """The record stays, with its delete time and the next version."""
        state = loaded_state(kind.existing())
        deleted = decide(state, kind.delete("it"))
        assert (deleted.dropped, deleted.promoted) == ((), ())
        assert kind.in_result(deleted) == kind.existing(version=2, update_time=NOW, delete_time=NOW)
        assert event_types(state) == [f"{kind.name.upper()}_DELETED"]

    def test_twice(self, kind: Kind) -> None:
        """A deleted record is not found."""
        refused = refusal(loaded_state(kind.existing(delete_time=EARLIER)), kind.delete("it"))
        assert (refused.reason, refused.metadata) == (f"{kind.name.upper()}_NOT_FOUND", kind.metadata)

    def test_with_a_stale_etag(self, kind: Kind) -> None:
        """An etag of another version is refused; this is checked before the live enrollments."""
        state = loaded_state(*with_live_enrollments(kind))
        assert refusal(state, kind.delete("it", "stale")).reason is Reason.ETAG_MISMATCH

    def test_with_live_enrollments(self, kind: Kind) -> None:
        """Both seats and places on the waitlist are live enrollments."""
        refused = refusal(loaded_state(*with_live_enrollments(kind)), kind.delete("it"))
        assert refused.reason == f"{kind.name.upper()}_HAS_ENROLLMENTS"
        assert refused.status == "FAILED_PRECONDITION"
        message = f'{kind.name.title()} "it" still has live enrollments (2); end them first, or use force.'
        assert (refused.message, refused.metadata) == (message, kind.metadata)

    def test_force_drops_each(self, kind: Kind) -> None:
        """With force, one event for each dropped enrollment precedes the event of the record."""
        state = loaded_state(*with_live_enrollments(kind))
        deleted = decide(state, kind.delete("it", force=True))
        assert deleted.dropped == tuple(state.journal.changed_enrollments.values())
        assert deleted.promoted == ()
        dropped, reason = "STUDENT_UNENROLLED", f"{kind.name.upper()}_DELETED"
        assert [(event.type, event.reason, event.previous_state) for event in state.journal.events] == [
            (dropped, reason, "ENROLLED"),
            (dropped, reason, "WAITLISTED"),
            (reason, "", None),
        ]
        assert {ended.reason for ended in state.journal.changed_enrollments.values()} == {reason}
        assert all(
            ended.state == "DROPPED" and ended.end_time == NOW for ended in state.journal.changed_enrollments.values()
        )
        assert sum(course.enrolled_count + course.waitlisted_count for course in state.courses.values()) == 0

    def test_ended_enrollments_do_not_matter(self, kind: Kind) -> None:
        """An ended enrollment does not prevent the deletion, and is not dropped again."""
        ended = enrollment("it", "DROPPED", course_id="it")
        state = loaded_state(kind.existing(), ended)
        decide(state, kind.delete("it", force=True))
        assert len(state.journal.events) == 1


def with_live_enrollments(kind: Kind) -> list[Student | Course | Enrollment]:
    """Return a record with two live enrollments: a student in two courses, or a course with two students."""
    first, second = ("it", "it") if kind is STUDENT else ("s-1", "s-2")
    here, there = ("c-1", "c-2") if kind is STUDENT else ("it", "it")
    number = 1 if kind is STUDENT else 2
    enrolled = enrollment(first, "ENROLLED", course_id=here)
    waiting = enrollment(second, "WAITLISTED", number, there)
    if kind is STUDENT:
        courses = [Course("c-1", enrolled_count=1), Course("c-2", waitlisted_count=1)]
        return [kind.existing(), *courses, waiting, enrolled]
    return [kind.existing(enrolled_count=1, waitlisted_count=1), Student("s-1"), Student("s-2"), waiting, enrolled]


class TestUndelete:
    """Undeleting restores a record."""

    def test_restores(self, kind: Kind) -> None:
        """The record is as before, with the next version."""
        state = loaded_state(kind.existing(delete_time=EARLIER))
        assert decide(state, kind.undelete("it")) == kind.existing(version=2, update_time=NOW)
        assert event_types(state) == [f"{kind.name.upper()}_UNDELETED"]

    def test_of_a_record_that_is_not_deleted(self, kind: Kind) -> None:
        """The record is returned unchanged, and no event is recorded."""
        state = loaded_state(kind.existing())
        assert decide(state, kind.undelete("it")) == kind.existing()
        assert state.journal.events == []

    def test_of_an_unknown_record(self, kind: Kind) -> None:
        """A record that never existed cannot be restored."""
        refused = refusal(loaded_state(), kind.undelete("it"))
        assert (refused.reason, refused.status) == (f"{kind.name.upper()}_NOT_FOUND", "NOT_FOUND")

    def test_dropped_enrollments_stay_dropped(self, kind: Kind) -> None:
        """Undeleting does not restore the enrollments that a forced deletion dropped."""
        state = loaded_state(*with_live_enrollments(kind))
        decide(state, kind.delete("it", force=True))
        decide(state, kind.undelete("it"))
        assert {ended.state for ended in state.journal.changed_enrollments.values()} == {"DROPPED"}
        assert event_types(state)[2:] == [f"{kind.name.upper()}_DELETED", f"{kind.name.upper()}_UNDELETED"]


@pytest.mark.parametrize("etag", ["", "stale"])
@pytest.mark.parametrize("change", ["create", "update", "delete"])
def test_a_refused_command_changes_nothing(kind: Kind, change: str, etag: str) -> None:
    """After a refusal the state and its journal are as before."""
    state = loaded_state(*with_live_enrollments(kind))
    commands: dict[str, Command] = {
        "create": kind.create("it", {"state": "X"}),
        "update": kind.update("it", {"state": "X"}, "stale"),
        "delete": kind.delete("it", etag),
    }
    before = contents(state)
    refusal(state, commands[change])
    assert contents(state) == before
