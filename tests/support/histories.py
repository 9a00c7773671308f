"""Random commands for property tests, and their outcomes in the terms of the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

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
    Settle,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.core.schedule import Meeting
from registrar_server.errors import OVERRIDABLE, Refusal
from tests.support.reference_rules import Result
from tests.support.states import NOW

# Many students and few courses make long waitlists. The last student and the last course do not exist at first.
MANY_STUDENTS = tuple(f"s-{number}" for number in range(1, 8))
STUDENTS = st.sampled_from([*MANY_STUDENTS * 4, "s-8"])
MANY_COURSES = ("c-1", "c-2", "c-3")
COURSES = st.sampled_from([*["c-1", "c-1", "c-2", "c-2", "c-3"] * 2, "c-4"])
#: Numbers of enrollments in their courses. Those that begin as completions are the most frequent.
NUMBERS = st.sampled_from([1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 10, 12])
RARELY = st.sampled_from([False, False, False, True])
COMMENTS = st.sampled_from(["", "", "by mail"])

_NINE, _TEN, _NOON = 9 * 3600, 10 * 3600, 12 * 3600
MONDAYS = Meeting((1,), _NINE, _TEN, "2018-09-03", "2018-12-10", "")
OVERLAPPING_MONDAYS = Meeting((1, 3), _TEN - 60, _NOON, "2018-12-10", "2018-12-21", "")
AFTERWARDS = Meeting((1, 3), _TEN, _NOON, "", "", "")
UNDATED_MONDAYS = Meeting((1,), _NINE, _TEN, "", "", "")
FROM_DECEMBER = Meeting((1, 2), _NINE, _TEN, "2018-12-01", "", "")
UNTIL_DECEMBER = Meeting((1, 3), _TEN - 60, _NOON, "", "2018-11-30", "")
TO_BE_ANNOUNCED = Meeting((), None, None, "2018-09-03", "2018-12-10", "")

_TIMES = st.sampled_from([None, NOW - 1, NOW, NOW + 1])
_STATES = st.sampled_from(["OPEN", "CANCELLED"])
_CAPACITY = {"capacity": st.sampled_from([1, 1, 2, 2, 2, 0, 3, 3, 4, None])}
_SEATS = _CAPACITY | {"waitlist_capacity": st.sampled_from([5, 5, 3, 1, 0, None])}
_CONTENT = {
    "credits": st.sampled_from([0, 1500, 3000]),
    "term": st.sampled_from(["", "fall 1", " Fall  1", "spring"]),
    "code": st.sampled_from(["", "MATH 1", "math1"]),
    "component": st.sampled_from(["", "", "LEC", "lec"]),
    "meetings": st.one_of(
        st.sampled_from([(), (MONDAYS,), (OVERLAPPING_MONDAYS,), (AFTERWARDS,), (TO_BE_ANNOUNCED, MONDAYS)]),
        st.sampled_from([(UNDATED_MONDAYS,), (FROM_DECEMBER,), (UNTIL_DECEMBER,), (UNTIL_DECEMBER, FROM_DECEMBER)]),
    ),
    "state": _STATES,
    "prerequisite_course_ids": st.sampled_from([(), (), (), ("c-1",), ("c-2", "c-3"), ("c-4",)]),
}
_CAPACITIES = st.fixed_dictionaries(_CAPACITY)
_RULES = {"enroll_open_time": _TIMES, "enroll_close_time": _TIMES, "drop_deadline_time": _TIMES}
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
VERSIONS = st.sampled_from(["", "", "", "1", "2", "3"])
CODES = st.sampled_from(["BURSAR", "Bursar", "LIBRARY"])
EVERY_RULE = Override(frozenset(OVERRIDABLE), "every rule")
RULES_BUT_SEATS = Override(frozenset(OVERRIDABLE - {"COURSE_FULL"}), "every rule but the seats")
_RULE_SETS = st.sets(st.sampled_from(sorted(OVERRIDABLE)), min_size=1).map(frozenset)
OVERRIDES = st.one_of(
    st.just(NO_OVERRIDE),
    st.just(NO_OVERRIDE),
    st.just(Override(frozenset({"COURSE_FULL"}), "because")),
    st.just(EVERY_RULE),
    st.just(RULES_BUT_SEATS),
    st.builds(Override, _RULE_SETS, st.just("because")),
)

Drawn = TypeVar("Drawn")
Commands = st.SearchStrategy[Command]
Weights = list[tuple[int, Commands]]


def _seat_commands(courses: st.SearchStrategy[str]) -> Weights:
    """Return commands about the seats of some courses, with weights, which ``one_of`` does not have."""
    lenient = {"allow_existing": RARELY, "no_waitlist": RARELY, "comment": COMMENTS}
    other = st.sampled_from(["c-1", "c-2", "c-3", "c-1", "c-2", "c-3", "c-4"])
    swaps = st.builds(Swap, STUDENTS, courses, other, OVERRIDES, COMMENTS)
    grades = st.sampled_from(["", "A"])
    names = st.builds("{}#{}".format, courses, NUMBERS)
    reasons = st.sampled_from(["", "wrong student"])
    etags = st.one_of(st.just(""), st.builds("{}/{}".format, names, VERSIONS.filter(bool)))
    return [
        (16, st.builds(Enroll, STUDENTS, courses, **lenient, override=OVERRIDES)),
        (6, st.builds(Unenroll, STUDENTS, courses, RARELY, OVERRIDES, reasons, COMMENTS)),
        (7, swaps.filter(lambda swap: swap.from_course_id != swap.to_course_id)),
        (3, st.builds(Complete, STUDENTS, courses, grade=grades, passed=st.booleans(), etag=etags)),
        (3, _if_unchanged(st.builds(CompleteById, names, grade=grades, passed=st.booleans(), etag=VERSIONS))),
        (3, _if_unchanged(st.builds(VoidCompletion, names, reason=reasons, etag=VERSIONS))),
        (3, st.builds(UpdateCourse, courses, values=st.fixed_dictionaries(_CAPACITY))),
        (3, st.builds(Settle, courses, reserve_completed=st.booleans())),
    ]


def _if_unchanged(commands: st.SearchStrategy[Any]) -> Commands:
    """Return commands whose etags are the drawn versions of the resources that they name."""

    def etagged(command: Any) -> Command:
        identified = (getattr(command, f"{kind}_id", "") for kind in ("enrollment", "student", "course"))
        named: Command = replace(command, etag=command.etag and f"{next(filter(None, identified))}/{command.etag}")
        return named

    return commands.map(etagged)


_LOCAL_VALUES = st.fixed_dictionaries({}, optional=_SEATS | _RULES)
#: Commands about students, and changes of a course that affect only its own seats.
_LOCAL_CHANGES: Weights = [
    (2, st.builds(RecordCompletion, STUDENTS, COURSES, st.just("T"), st.booleans(), COMMENTS, st.booleans())),
    (4, st.builds(PlaceHold, STUDENTS, CODES, reason=st.sampled_from(["", "unpaid"]))),
    (4, st.builds(ReleaseHold, STUDENTS, CODES)),
    (1, _if_unchanged(st.builds(UpdateStudent, STUDENTS, values=STUDENT_VALUES, etag=VERSIONS))),
    (1, _if_unchanged(st.builds(UpdateStudent, STUDENTS, STUDENT_VALUES, etag=VERSIONS, creation=STUDENT_VALUES))),
    (1, st.builds(CreateStudent, STUDENTS, values=STUDENT_VALUES)),
    (1, _if_unchanged(st.builds(DeleteStudent, STUDENTS, etag=VERSIONS, force=st.booleans()))),
    (3, st.builds(UndeleteStudent, STUDENTS)),
    (1, st.builds(CreateCourse, COURSES, values=COURSE_VALUES)),
    (1, _if_unchanged(st.builds(DeleteCourse, COURSES, etag=VERSIONS, force=st.booleans()))),
    (3, st.builds(UndeleteCourse, COURSES)),
    (1, _if_unchanged(st.builds(UpdateCourse, COURSES, values=_LOCAL_VALUES, etag=VERSIONS))),
    (1, _if_unchanged(st.builds(UpdateCourse, COURSES, _CAPACITIES, etag=VERSIONS, creation=COURSE_VALUES))),
]
#: The content of a course affects the other courses of its students too.
_CONTENT_CHANGES: Weights = [
    (2, _if_unchanged(st.builds(UpdateCourse, COURSES, values=COURSE_VALUES, etag=VERSIONS))),
    (3, st.builds(UpdateCourse, COURSES, values=st.fixed_dictionaries({}, optional=_CONTENT))),
    (2, st.builds(UpdateCourse, COURSES, values=st.fixed_dictionaries({"state": _STATES}))),
]


@st.composite
def weighted(draw: st.DrawFn, weights: Sequence[tuple[int, st.SearchStrategy[Drawn]]]) -> Drawn:
    """Draw from one of several strategies, which have weights."""
    kinds = [kind for weight, kind in weights for _ in range(weight)]
    return draw(kinds[draw(st.integers(0, len(kinds) - 1))])


#: All commands.
COMMANDS: Commands = weighted([*_seat_commands(COURSES), *_LOCAL_CHANGES, *_CONTENT_CHANGES])
#: All commands except changes of the content of a course.
LOCAL_COMMANDS: Commands = weighted([*_seat_commands(COURSES), *_LOCAL_CHANGES])


def commands_about(course_id: str) -> Commands:
    """Return commands about the seats of one course; swaps from it name another course."""
    return weighted(_seat_commands(st.just(course_id)))


#: Commands to begin with; otherwise most commands would be refused because nothing exists yet.
FOUNDATION: tuple[Command, ...] = (
    *(CreateStudent(student_id, {"max_credits": 4500}) for student_id in MANY_STUDENTS),
    CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 6, "credits": 1500}),
    CreateCourse("c-2", {"capacity": 1, "waitlist_capacity": 4, "credits": 3000, "meetings": (MONDAYS,)}),
    CreateCourse("c-3", {"capacity": 1, "waitlist_capacity": 3, "meetings": (OVERLAPPING_MONDAYS,), "code": "MATH 1"}),
    *(Enroll(f"s-{number}", "c-1") for number in (1, 2, 3)),
    *(Enroll(f"s-{number}", "c-2") for number in (2, 1, 4)),
    *(RecordCompletion("s-1", course_id, "T", passed) for course_id in ("c-1", "c-2") for passed in (True, False)),
    *(Enroll(f"s-{number}", "c-1") for number in (4, 5, 6, 7)),
    *(Enroll(f"s-{number}", "c-2", override=Override(frozenset({"SCHEDULE_CONFLICT"}), "agreed")) for number in (6, 5)),
    *(Enroll(f"s-{number}", "c-3") for number in (7, 3, 4)),
)

_TIMETABLE = {name: _CONTENT[name] for name in ("term", "code", "component", "meetings")}


def _offering(course_id: str) -> Commands:
    values = st.fixed_dictionaries({"capacity": st.just(3), **_TIMETABLE})
    return st.builds(UpdateCourse, st.just(course_id), values=values)


#: Commands that give each course more seats and a place in the timetable: students get seats in several courses.
TIMETABLES: st.SearchStrategy[tuple[Command, ...]] = st.tuples(*map(_offering, MANY_COURSES))


def by_real_ids(command: Command, ids: Mapping[str, str]) -> Command:
    """Return a command with the ids that the database has for the enrollments that it names; ``ids`` are by name.

    A name without an id stays as it is, and no enrollment has it as its id.
    """
    return _renamed(command, lambda name: ids.get(name, name))


def as_named(command: Command, ids: Mapping[str, str]) -> Command:
    """Return a command for the reference.

    Nobody can know the id of an enrollment that the same batch adds, so a name without an id names no enrollment.
    """
    return _renamed(command, lambda name: name if name in ids else "none")


def _renamed(command: Command, rename: Callable[[str], str]) -> Command:
    if isinstance(command, CompleteById | VoidCompletion):
        command = replace(command, enrollment_id=rename(command.enrollment_id))
    if isinstance(command, Complete | CompleteById | VoidCompletion) and command.etag:
        name, _, version = command.etag.partition("/")
        command = replace(command, etag=f"{rename(name)}/{version}")
    return command


def result_of(record: Mapping[str, Any]) -> Result:
    """Return the result of a decision, given the fields of its record, in the terms of the reference."""
    if not record:
        return ("nothing",)
    promoted = ((one["course_id"], one["student_id"]) for one in record.get("promoted", ()))
    if record.keys() == {"promoted"}:
        return tuple(promoted)
    if "enrollment_id" in record:
        return (*_enrollment(record), *(_enrollment(record["dropped"]) if "dropped" in record else ()), *promoted)
    dropped = itertools.chain.from_iterable(map(_enrollment, record.get("dropped", ())))
    return (*(_course if "course_id" in record else _student)(record), *dropped, *promoted)


def _course(record: Mapping[str, Any]) -> Result:
    counts = (record["enrolled_count"], record["waitlisted_count"], record["completed_count"])
    deleted = record["delete_time"] is not None
    return ("course", record["course_id"], record["version"], deleted, record["capacity"], *counts)


def _student(record: Mapping[str, Any]) -> Result:
    holds = tuple((code, reason) for code, reason, _ in record["holds"])
    deleted = record["delete_time"] is not None
    return ("student", record["student_id"], record["version"], deleted, record["email"], holds)


def _enrollment(record: Mapping[str, Any]) -> Result:
    names = ("course_id", "student_id", "number", "attempt", "state", "waitlist_position", "grade", "passed", "counted")
    visible = (record[name] for name in names)
    rules, violations = tuple(sorted(record["bypassed_rules"])), _reasons(record["bypassed_violations"])
    return ("enrollment", *visible, rules, violations, record["version"])


def _reasons(violations: Iterable[Sequence[Any]]) -> tuple[str, ...]:
    return tuple(violation[0] for violation in violations)


def result_of_event(event: Any) -> Result:
    """Return an event, or its row, in the terms of the reference."""
    texts = (event.type, event.student_id, event.course_id, event.reason, event.comment)
    return (*texts, _reasons(event.violations))


def result_of_refusal(refusal: Refusal) -> Result:
    """Return the reasons of a refusal in the terms of the reference."""
    violated = [violation.reason.value for violation in refusal.violations]
    return ("refused", *(violated or [refusal.reason.value]))
