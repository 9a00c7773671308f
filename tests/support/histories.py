"""What may be asked of a small university, and how its answers are compared: the random side of the property tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from registrar_server.core.commands import (
    NO_OVERRIDE,
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
from registrar_server.core.records import Meeting
from registrar_server.errors import OVERRIDABLE, Refusal
from tests.support.ledgers import NOW
from tests.support.reference import Result

# A crowd before few doors makes the longest queues; the last of each is not there at first.
STUDENTS = st.sampled_from([*["s-1", "s-2", "s-3", "s-4", "s-5"] * 4, "s-6"])
COURSES = st.sampled_from([*["c-1", "c-1", "c-2", "c-2", "c-3"] * 2, "c-4"])
SELDOM = st.sampled_from([False, False, False, True])

_NINE, _TEN, _NOON = 9 * 3600, 10 * 3600, 12 * 3600
MONDAYS = Meeting((1,), _NINE, _TEN, "2018-09-03", "2018-12-10", "")
MONDAYS_TOO = Meeting((1, 3), _TEN - 60, _NOON, "2018-12-10", "2018-12-21", "")
LATER = Meeting((1, 3), _TEN, _NOON, "", "", "")
UNANNOUNCED = Meeting((), None, None, "2018-09-03", "2018-12-10", "")

_TIMES = st.sampled_from([None, NOW - 1, NOW, NOW + 1])
_STATES = st.sampled_from(["OPEN", "OPEN", "CANCELLED"])
_CAPACITY = {"capacity": st.sampled_from([1, 2, 0, 3, None])}
_SEATS = _CAPACITY | {"waitlist_capacity": st.sampled_from([3, 3, 1, 0, None])}
_CONTENT = {
    "credits": st.sampled_from([0, 1500, 3000]),
    "term": st.sampled_from(["", "fall"]),
    "code": st.sampled_from(["", "MATH"]),
    "meetings": st.sampled_from([(), (MONDAYS,), (MONDAYS_TOO,), (LATER,), (UNANNOUNCED, MONDAYS)]),
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
    st.just(Override(frozenset(OVERRIDABLE), "whatever it takes")),
    st.builds(Override, _RULE_SETS, st.just("because")),
)

Commands = st.SearchStrategy[Command]
Weights = list[tuple[int, Commands]]


def _about_seats(courses: st.SearchStrategy[str]) -> Weights:
    """What is asked about the seats of some courses, and how often each kind of it: ``one_of`` would level that."""
    lenient = {"allow_existing": SELDOM, "no_waitlist": SELDOM}
    other = st.sampled_from(["c-1", "c-2", "c-3", "c-4"])
    swaps = st.builds(Swap, STUDENTS, courses, other, OVERRIDES)
    grades = st.sampled_from(["", "A"])
    return [
        (14, st.builds(Enroll, STUDENTS, courses, **lenient, override=OVERRIDES)),
        (7, st.builds(Unenroll, STUDENTS, courses, allow_missing=SELDOM, override=OVERRIDES)),
        (4, swaps.filter(lambda swap: swap.from_course_id != swap.to_course_id)),
        (2, st.builds(Complete, STUDENTS, courses, grade=grades, passed=st.booleans(), etag=ETAGS)),
        (3, st.builds(UpdateCourse, courses, values=st.fixed_dictionaries(_CAPACITY))),
    ]


#: About students, and about courses as far as a change decides about their own seats alone.
_OTHERS: Weights = [
    (1, st.builds(RecordCompletion, STUDENTS, COURSES, grade=st.just("T"), passed=st.booleans())),
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
#: The content of a course decides about other courses of its students too.
_CONTENTS: Weights = [(2, st.builds(UpdateCourse, COURSES, values=COURSE_VALUES, etag=ETAGS))]


@st.composite
def _weighted(draw: st.DrawFn, weights: Weights) -> Command:
    kinds = [kind for weight, kind in weights for _ in range(weight)]
    return draw(kinds[draw(st.integers(0, len(kinds) - 1))])


#: Anything at all.
COMMANDS: Commands = _weighted([*_about_seats(COURSES), *_OTHERS, *_CONTENTS])
#: Anything but changes of what a course is about.
LOCAL_COMMANDS: Commands = _weighted([*_about_seats(COURSES), *_OTHERS])


def commands_about(course_id: str) -> Commands:
    """Return commands about the seats of one course, and how they may meet another."""
    return _weighted(_about_seats(st.just(course_id)))


#: Somewhere to begin, so that not every history starts with mistakes.
FOUNDATION: tuple[Command, ...] = (
    *(CreateStudent(f"s-{number}", {"max_credits": 4500}) for number in range(1, 6)),
    CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 4, "credits": 1500}),
    CreateCourse("c-2", {"capacity": 1, "waitlist_capacity": 3, "credits": 3000, "meetings": (MONDAYS,)}),
    CreateCourse("c-3", {"capacity": 1, "waitlist_capacity": 3, "meetings": (MONDAYS_TOO,), "code": "MATH"}),
    *(Enroll(f"s-{number}", "c-1") for number in (1, 2, 3)),
    *(Enroll(f"s-{number}", "c-2") for number in (2, 1, 4)),
)


def summary(made: Mapping[str, Any]) -> Result:
    """Say what a decision made, by the fields of its record, in the words of the reference."""
    if not made:
        return ("nothing",)
    deleted = made.get("delete_time") is not None
    if "enrollment_id" in made:
        promoted = ((one["course_id"], one["student_id"]) for one in made.get("promoted", ()))
        return (*_enrollment(made), *(_enrollment(made["dropped"]) if "dropped" in made else ()), *promoted)
    if "course_id" in made:
        counts = (made["enrolled_count"], made["waitlisted_count"])
        return ("course", made["course_id"], made["version"], deleted, made["capacity"], *counts)
    holds = tuple((code, reason) for code, reason, _ in made["holds"])
    return ("student", made["student_id"], made["version"], deleted, made["email"], holds)


def _enrollment(made: Mapping[str, Any]) -> Result:
    names = ("course_id", "student_id", "number", "attempt", "state", "waitlist_position", "grade", "passed")
    seen = (made[name] for name in names)
    return ("enrollment", *seen, tuple(sorted(made["bypassed_rules"])), made["version"])


def refused(refusal: Refusal) -> Result:
    """Say why a command was refused, in the words of the reference."""
    broken = [violation.reason.value for violation in refusal.violations]
    return ("refused", *(broken or [refusal.reason.value]))
