"""Random commands for property tests, and their outcomes in the terms of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from registrar_server.core.commands import (
    NO_OVERRIDE,
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
from registrar_server.core.records import Meeting
from registrar_server.errors import OVERRIDABLE, Refusal
from tests.support.reference import Result
from tests.support.states import NOW

# Many students and few courses make long waitlists. The last student and the last course do not exist at first.
STUDENTS = st.sampled_from([*["s-1", "s-2", "s-3", "s-4", "s-5"] * 4, "s-6"])
COURSES = st.sampled_from([*["c-1", "c-1", "c-2", "c-2", "c-3"] * 2, "c-4"])
#: Numbers of enrollments in their courses. Those that begin as completions are the most frequent.
NUMBERS = st.sampled_from([1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 10, 12])
RARELY = st.sampled_from([False, False, False, True])

_NINE, _TEN, _NOON = 9 * 3600, 10 * 3600, 12 * 3600
MONDAYS = Meeting((1,), _NINE, _TEN, "2018-09-03", "2018-12-10", "")
OVERLAPPING_MONDAYS = Meeting((1, 3), _TEN - 60, _NOON, "2018-12-10", "2018-12-21", "")
AFTERWARDS = Meeting((1, 3), _TEN, _NOON, "", "", "")
TO_BE_ANNOUNCED = Meeting((), None, None, "2018-09-03", "2018-12-10", "")

_TIMES = st.sampled_from([None, NOW - 1, NOW, NOW + 1])
_STATES = st.sampled_from(["OPEN", "OPEN", "CANCELLED"])
_CAPACITY = {"capacity": st.sampled_from([1, 2, 0, 3, None])}
_SEATS = _CAPACITY | {"waitlist_capacity": st.sampled_from([3, 3, 1, 0, None])}
_CONTENT = {
    "credits": st.sampled_from([0, 1500, 3000]),
    "term": st.sampled_from(["", "fall"]),
    "code": st.sampled_from(["", "MATH"]),
    "meetings": st.sampled_from([(), (MONDAYS,), (OVERLAPPING_MONDAYS,), (AFTERWARDS,), (TO_BE_ANNOUNCED, MONDAYS)]),
    "prerequisite_course_ids": st.sampled_from([(), (), ("c-1",), ("c-2", "c-9")]),
}
_RULES = {"enroll_open_time": _TIMES, "enroll_close_time": _TIMES, "drop_deadline_time": _TIMES, "state": _STATES}
COURSE_VALUES = st.one_of(
    st.fixed_dictionaries({}, optional=_SEATS),
    st.fixed_dictionaries({}, optional=_SEATS | _CONTENT),
    st.fixed_dictionaries({}, optional=_SEATS | _CONTENT | _RULES),
)
STUDENT_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["a@b.edu", "\u00e4@b.edu"]),
        "state": st.sampled_from(["ACTIVE", "ACTIVE", "INACTIVE"]),
        "max_credits": st.sampled_from([None, 0, 3000, 4500]),
    },
)
ETAGS = st.sampled_from(["", "", "", "1", "2", "3"])
CODES = st.sampled_from(["BURSAR", "LIBRARY"])
_RULE_SETS = st.sets(st.sampled_from(sorted(OVERRIDABLE)), min_size=1).map(frozenset)
OVERRIDES = st.one_of(
    st.just(NO_OVERRIDE),
    st.just(NO_OVERRIDE),
    st.just(Override(frozenset({"COURSE_FULL"}), "because")),
    st.just(Override(frozenset(OVERRIDABLE), "every rule")),
    st.builds(Override, _RULE_SETS, st.just("because")),
)

Commands = st.SearchStrategy[Command]
Weights = list[tuple[int, Commands]]


def _seat_commands(courses: st.SearchStrategy[str]) -> Weights:
    """Return commands about the seats of some courses, with weights, which ``one_of`` does not have."""
    lenient = {"allow_existing": RARELY, "no_waitlist": RARELY}
    other = st.sampled_from(["c-1", "c-2", "c-3", "c-4"])
    swaps = st.builds(Swap, STUDENTS, courses, other, OVERRIDES)
    grades = st.sampled_from(["", "A"])
    names = st.builds("{}#{}".format, courses, NUMBERS)
    return [
        (14, st.builds(Enroll, STUDENTS, courses, **lenient, override=OVERRIDES)),
        (7, st.builds(Unenroll, STUDENTS, courses, allow_missing=RARELY, override=OVERRIDES)),
        (4, swaps.filter(lambda swap: swap.from_course_id != swap.to_course_id)),
        (2, st.builds(Complete, STUDENTS, courses, grade=grades, passed=st.booleans(), etag=ETAGS)),
        (3, st.builds(CompleteById, names, grade=grades, passed=st.booleans(), etag=ETAGS)),
        (3, st.builds(VoidCompletion, names, reason=st.sampled_from(["", "wrong student"]), etag=ETAGS)),
        (3, st.builds(UpdateCourse, courses, values=st.fixed_dictionaries(_CAPACITY))),
    ]


#: Commands about students, and changes of a course that affect only its own seats.
_LOCAL_CHANGES: Weights = [
    (2, st.builds(RecordCompletion, STUDENTS, COURSES, st.just("T"), st.booleans(), allow_existing=st.booleans())),
    (1, st.builds(PlaceHold, STUDENTS, CODES, reason=st.sampled_from(["", "unpaid"]))),
    (1, st.builds(ReleaseHold, STUDENTS, CODES)),
    (1, st.builds(UpdateStudent, STUDENTS, values=STUDENT_VALUES, etag=ETAGS)),
    (1, st.builds(CreateStudent, STUDENTS, values=STUDENT_VALUES)),
    (1, st.builds(DeleteStudent, STUDENTS, etag=ETAGS, force=st.booleans())),
    (3, st.builds(UndeleteStudent, STUDENTS)),
    (1, st.builds(CreateCourse, COURSES, values=COURSE_VALUES)),
    (1, st.builds(DeleteCourse, COURSES, etag=ETAGS, force=st.booleans())),
    (3, st.builds(UndeleteCourse, COURSES)),
    (1, st.builds(UpdateCourse, COURSES, values=st.fixed_dictionaries({}, optional=_SEATS | _RULES), etag=ETAGS)),
]
#: The content of a course affects the other courses of its students too.
_CONTENT_CHANGES: Weights = [(2, st.builds(UpdateCourse, COURSES, values=COURSE_VALUES, etag=ETAGS))]


@st.composite
def _weighted(draw: st.DrawFn, weights: Weights) -> Command:
    kinds = [kind for weight, kind in weights for _ in range(weight)]
    return draw(kinds[draw(st.integers(0, len(kinds) - 1))])


#: All commands.
COMMANDS: Commands = _weighted([*_seat_commands(COURSES), *_LOCAL_CHANGES, *_CONTENT_CHANGES])
#: All commands except changes of the content of a course.
LOCAL_COMMANDS: Commands = _weighted([*_seat_commands(COURSES), *_LOCAL_CHANGES])


def commands_about(course_id: str) -> Commands:
    """Return commands about the seats of one course; swaps from it name another course."""
    return _weighted(_seat_commands(st.just(course_id)))


#: Commands to begin with; otherwise most commands would be refused because nothing exists yet.
FOUNDATION: tuple[Command, ...] = (
    *(CreateStudent(f"s-{number}", {"max_credits": 4500}) for number in range(1, 6)),
    CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 4, "credits": 1500}),
    CreateCourse("c-2", {"capacity": 1, "waitlist_capacity": 3, "credits": 3000, "meetings": (MONDAYS,)}),
    CreateCourse("c-3", {"capacity": 1, "waitlist_capacity": 3, "meetings": (OVERLAPPING_MONDAYS,), "code": "MATH"}),
    *(Enroll(f"s-{number}", "c-1") for number in (1, 2, 3)),
    *(Enroll(f"s-{number}", "c-2") for number in (2, 1, 4)),
    *(RecordCompletion("s-1", course_id, "T", passed) for course_id in ("c-1", "c-2") for passed in (True, False)),
)


def by_real_ids(command: Command, ids: Mapping[str, str]) -> Command:
    """Return a command with the id that the database has for the enrollment that it names; ``ids`` are by name.

    A name without an id stays as it is, and no enrollment has it as its id.
    """
    if isinstance(command, CompleteById | VoidCompletion):
        return replace(command, enrollment_id=ids.get(command.enrollment_id, command.enrollment_id))
    return command


def as_named(command: Command, ids: Mapping[str, str]) -> Command:
    """Return a command for the reference.

    Nobody can know the id of an enrollment that the same batch adds, so a name without an id names no enrollment.
    """
    if isinstance(command, CompleteById | VoidCompletion) and command.enrollment_id not in ids:
        return replace(command, enrollment_id="none")
    return command


def result_of(record: Mapping[str, Any]) -> Result:
    """Return the result of a decision, given the fields of its record, in the terms of the reference."""
    if not record:
        return ("nothing",)
    deleted = record.get("delete_time") is not None
    if "enrollment_id" in record:
        promoted = ((one["course_id"], one["student_id"]) for one in record.get("promoted", ()))
        return (*_enrollment(record), *(_enrollment(record["dropped"]) if "dropped" in record else ()), *promoted)
    if "course_id" in record:
        counts = (record["enrolled_count"], record["waitlisted_count"])
        return ("course", record["course_id"], record["version"], deleted, record["capacity"], *counts)
    holds = tuple((code, reason) for code, reason, _ in record["holds"])
    return ("student", record["student_id"], record["version"], deleted, record["email"], holds)


def _enrollment(record: Mapping[str, Any]) -> Result:
    names = ("course_id", "student_id", "number", "attempt", "state", "waitlist_position", "grade", "passed")
    visible = (record[name] for name in names)
    return ("enrollment", *visible, tuple(sorted(record["bypassed_rules"])), record["version"])


def result_of_refusal(refusal: Refusal) -> Result:
    """Return the reasons of a refusal in the terms of the reference."""
    violated = [violation.reason.value for violation in refusal.violations]
    return ("refused", *(violated or [refusal.reason.value]))
