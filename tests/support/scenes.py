"""Random scenes for property tests: several commands that together lead to the rare cases of waiting for a seat.

Commands that are drawn one by one seldom concern the same student and the same course at the right moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from registrar_server.core.commands import (
    NO_OVERRIDE,
    Command,
    Complete,
    CompleteById,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from tests.support.histories import (
    AFTERWARDS,
    COMMANDS,
    COMMENTS,
    EVERY_RULE,
    MANY_COURSES,
    MANY_STUDENTS,
    MONDAYS,
    OVERRIDES,
    RARELY,
    RULES_BUT_SEATS,
    TO_BE_ANNOUNCED,
    Commands,
    weighted,
)
from tests.support.states import NOW

Obstacle = Callable[[str, str, str], tuple[tuple[Command, ...], Command]]
"""Makes commands for a student, a course and another course: the first ones keep the student from a seat in the course,
the last one ends that."""

_OBSTACLES: tuple[Obstacle, ...] = (
    lambda me, here, other: ((PlaceHold(me, "BURSAR", "unpaid"),), ReleaseHold(me, "bursar")),
    lambda me, here, other: ((PlaceHold(me, "LIBRARY"),), ReleaseHold(me, "LIBRARY")),
    lambda me, here, other: (
        (UpdateStudent(me, {"max_credits": 3000}), Enroll(me, other, override=EVERY_RULE)),
        Unenroll(me, other, override=EVERY_RULE),
    ),
    lambda me, here, other: ((UpdateStudent(me, {"max_credits": 0}),), UpdateStudent(me, {"max_credits": None})),
)
_CONTENT_OBSTACLES: tuple[Obstacle, ...] = (
    *_OBSTACLES,
    lambda me, here, other: (
        (UpdateCourse(here, {"prerequisite_course_ids": (other,)}), VoidCompletion(f"{other}#4")),
        RecordCompletion(me, other, "T", True),
    ),
    lambda me, here, other: (
        (
            Unenroll(me, other),
            RecordCompletion(me, other, "F", False),
            UpdateCourse(here, {"prerequisite_course_ids": (other,)}),
        ),
        Complete(me, other, "A", True),
    ),
    lambda me, here, other: (
        (UpdateCourse(other, {"meetings": (MONDAYS,)}), Enroll(me, other, override=EVERY_RULE)),
        UpdateCourse(other, {"meetings": ()}),
    ),
    lambda me, here, other: (
        (UpdateCourse(here, {"meetings": (MONDAYS,), "credits": 3000}),),
        UpdateCourse(here, {"meetings": (AFTERWARDS,), "credits": 1500}),
    ),
)


@st.composite
def _scenes(draw: st.DrawFn, courses: Sequence[str], obstacles: Sequence[Obstacle]) -> tuple[Command, ...]:
    """Draw the story of one student who waits for a seat in one of the courses while obstacles come and go."""
    me, someone = draw(st.permutations(MANY_STUDENTS))[:2]
    here = draw(st.sampled_from(courses))
    other = draw(st.sampled_from([one for one in MANY_COURSES if one != here]))
    (before, after), (meanwhile, later) = (draw(st.sampled_from(obstacles))(me, here, other) for _ in range(2))
    mine = st.just(me), st.just(here)
    fewer = {"capacity": st.sampled_from([0, 0, 1, 2]), "waitlist_capacity": st.just(7)}
    waits = st.sampled_from([NO_OVERRIDE, NO_OVERRIDE, RULES_BUT_SEATS, draw(OVERRIDES)])
    frees: Commands = st.sampled_from(
        [UpdateCourse(here, {"capacity": 7}), Complete(someone, here), Unenroll(someone, here)]
    )
    settles = st.builds(Settle, st.just(here), st.booleans())
    chances: Commands = st.one_of(
        settles,
        st.builds(Enroll, *mine, RARELY, override=OVERRIDES, comment=COMMENTS),
        st.builds(Swap, st.just(me), st.just(other), st.just(here), OVERRIDES),
        st.builds(Enroll, st.just(someone), st.just(here), override=OVERRIDES),
        st.builds(UpdateCourse, st.just(here), st.fixed_dictionaries({"capacity": st.integers(1, 5)})),
    )
    joins: list[Command] = [Unenroll(me, here, override=EVERY_RULE), Enroll(someone, here, override=EVERY_RULE)]
    story: list[Commands] = [
        *map(st.just, [*joins, *before]),
        st.builds(UpdateCourse, st.just(here), st.fixed_dictionaries(fewer)),
        *(st.builds(Enroll, *mine, override=waits), frees, frees, settles),
        *(*map(st.just, meanwhile), settles, chances, st.just(after), settles, st.just(later), chances, chances),
        st.just(Settle(here, reserve_completed=True)),
    ]
    left_out = draw(st.sets(st.integers(0, len(story) - 1), max_size=3))
    return tuple(draw(step) for number, step in enumerate(story) if number not in left_out)


#: Changes of a course after which it settles, although they affect few students.
_SMALL_CHANGES = st.one_of(
    st.fixed_dictionaries({"term": st.sampled_from(["summer", "winter", ""])}),
    st.fixed_dictionaries({"code": st.sampled_from(["BIO 1", "BIO 2", "bio1"])}),
    st.fixed_dictionaries({"component": st.sampled_from(["LAB", "LEC", ""])}),
    st.fixed_dictionaries({"credits": st.sampled_from([0, 500, 1000])}),
    st.fixed_dictionaries({"meetings": st.sampled_from([(), (AFTERWARDS,), (TO_BE_ANNOUNCED,)])}),
    st.fixed_dictionaries({"enroll_open_time": st.sampled_from([None, NOW - 1, NOW])}),
    st.fixed_dictionaries({"enroll_close_time": st.sampled_from([None, NOW + 1, NOW + 2])}),
    st.fixed_dictionaries({"prerequisite_course_ids": st.just(())}),
)


@dataclass(frozen=True)
class _Rivalry:
    """Two students who wait for one free seat: with holds, and with overrides from the time when they enrolled."""

    me: str
    rival: str
    newcomer: str
    here: str
    other: str
    third: str

    @property
    def releases(self) -> list[Command]:
        """The commands that end the holds."""
        return [ReleaseHold(self.rival, "LIBRARY"), ReleaseHold(self.me, "BURSAR"), ReleaseHold(self.me, "LIBRARY")]

    def beginning(self, values: Mapping[str, Any], limit: int | None, hold: str, later_hold: str) -> list[Command]:
        """Return the commands after which both wait for one free seat; ``values`` are those of the course."""
        waiters = (self.me, self.rival)
        return [
            *(Unenroll(student_id, self.here, override=EVERY_RULE) for student_id in MANY_STUDENTS),
            *(UpdateCourse(self.here, values), UpdateStudent(self.me, {"max_credits": limit})),
            PlaceHold(self.me, hold),
            *(Enroll(student_id, self.here, override=RULES_BUT_SEATS) for student_id in waiters),
            *(PlaceHold(self.me, later_hold), PlaceHold(self.rival, "LIBRARY")),
            UpdateCourse(self.here, {"capacity": 1}),
        ]

    def turns(self, small_change: Mapping[str, Any]) -> list[list[Command]]:
        """Return the turns that the story can take."""
        me, here, other = self.me, self.here, self.other
        changes: list[Command] = [*self.releases, Unenroll(self.rival, here), Complete(me, here)]
        changes += [self._takes_other_seat, self._leaves_other_seat, VoidCompletion(f"{other}#4")]
        return [
            *([change] for change in changes),
            [RecordCompletion(me, other, "T", True)],
            *([release, Settle(here, reserve_completed=True)] for release in self.releases),
            *([release, UpdateCourse(here, small_change)] for release in self.releases),
            *([release, UpdateCourse(here, {"capacity": 1})] for release in self.releases),
            *([self._two_places, release, self._newcomer_asks] for release in self.releases),
            [UpdateCourse(here, {"state": "CANCELLED"}), *self.releases, UpdateCourse(here, {"state": "OPEN"})],
            [UpdateCourse(here, {"enroll_close_time": NOW}), *self.releases, Settle(here)],
        ]

    def judgements(self) -> list[list[Command]]:
        """Return turns in which a waiter must be judged again who was judged earlier in the same batch."""
        me, here, other, settles = self.me, self.here, self.other, Settle(self.here)
        no_credits = UpdateStudent(me, {"max_credits": 0})
        wants_more = UpdateCourse(here, {"prerequisite_course_ids": (other, self.third)})
        fails = RecordCompletion(me, other, "F", False)
        own = Enroll(me, here, allow_existing=True, override=Override(frozenset({"STUDENT_HOLD"}), "paid"))
        return [
            [self.releases[0], Enroll(me, here, allow_existing=True)],
            [self.releases[0], Enroll(me, here, override=RULES_BUT_SEATS)],
            [no_credits, settles, self._takes_other_seat, settles],
            [no_credits, settles, self._leaves_other_seat, settles],
            [self._leaves_other_seat, fails, wants_more, settles, Complete(me, other, "A", passed=True), settles],
            [wants_more, settles, VoidCompletion(f"{other}#4"), settles],
            [wants_more, own, own, settles],
            [UpdateCourse(here, {"credits": 3000}), *self.releases, settles],
        ]

    @property
    def _takes_other_seat(self) -> Command:
        return Enroll(self.me, self.other, override=EVERY_RULE)

    @property
    def _leaves_other_seat(self) -> Command:
        return Unenroll(self.me, self.other, override=EVERY_RULE)

    @property
    def _newcomer_asks(self) -> Command:
        return Enroll(self.newcomer, self.here, override=RULES_BUT_SEATS)

    @property
    def _two_places(self) -> Command:
        return UpdateCourse(self.here, {"waitlist_capacity": 2})


@st.composite
def _rivalries(draw: st.DrawFn, courses: Sequence[str]) -> tuple[Command, ...]:
    """Draw the story of a rivalry, and a call of one of the two at its end."""
    story = _Rivalry(*draw(st.permutations(MANY_STUDENTS))[:3], *draw(st.permutations(courses)))
    settles = [Settle(story.here, draw(st.booleans()))] * draw(st.sampled_from([1, 1, 2, 3]))
    values = {"capacity": 0, "waitlist_capacity": 5, "state": "OPEN", "enroll_open_time": None}
    values["credits"] = 1500
    values["enroll_close_time"] = draw(st.sampled_from([None, None, None, NOW]))
    values["prerequisite_course_ids"] = draw(st.sampled_from([(), (story.other,)]))
    limit = draw(st.sampled_from([None, 0, 1500]))
    holds = draw(st.sampled_from([("BURSAR", "LIBRARY"), ("LIBRARY", "BURSAR"), ("Bursar", "BURSAR")]))
    turns = [*story.turns(draw(_SMALL_CHANGES)), *story.judgements() * 2]
    drawn = draw(st.lists(st.sampled_from(turns), min_size=1, max_size=4))
    override = draw(OVERRIDES)
    calls: list[Command] = [
        *(Enroll(who, story.here, draw(st.booleans()), override=override) for who in (story.me, story.rival)),
        Swap(story.me, story.other, story.here, override),
    ]
    middle = [command for turn in drawn for command in (*turn, *settles[1:])]
    return (*story.beginning(values, limit, *holds), *settles, *middle, draw(st.sampled_from(calls)), *settles)


@st.composite
def _regrets(draw: st.DrawFn, courses: Sequence[str]) -> tuple[Command, ...]:
    """Draw the story of a completed seat, which a sweep leaves free until the completion is void."""
    here = draw(st.sampled_from(courses))
    name = f"{here}#{draw(st.sampled_from([1, 1, 2, 3, 6, 7, 8, 9]))}"
    sweep = Settle(here, reserve_completed=True)
    completions: list[Command] = [CompleteById(name, "A", passed=True)]
    completions += [CompleteById(name, "B", passed=True)] * draw(st.integers(0, 1))
    return (*completions, sweep, VoidCompletion(name, "not finished"), draw(st.sampled_from([sweep, Settle(here)])))


SWEEP: tuple[Command, ...] = tuple(Settle(f"c-{number}", reserve_completed=True) for number in range(1, 5))
"""What a sweep does: it settles each course, but leaves free what completions left."""

#: Single commands, several about one student and one course, and now and then a sweep.
SCENES: st.SearchStrategy[tuple[Command, ...]] = weighted(
    [(2, _scenes(MANY_COURSES, _CONTENT_OBSTACLES)), (2, _rivalries(MANY_COURSES)), (1, _regrets(MANY_COURSES))]
)
STEPS: st.SearchStrategy[tuple[Command, ...]] = weighted(
    [
        (12, COMMANDS.map(lambda command: (command,))),
        (5, SCENES),
        (1, st.just(SWEEP)),
    ]
)


@st.composite
def _batches_behind_a_queue(draw: st.DrawFn) -> tuple[list[Command], list[Command]]:
    """Draw a batch after which most students wait for one seat, and one in which a newcomer joins them.

    The second one loads only few of the waiters, since few seats become free in it.
    """
    here, (newcomer, held, *others) = draw(st.sampled_from(MANY_COURSES)), draw(st.permutations(MANY_STUDENTS))
    full = UpdateCourse(here, {"capacity": 1, "waitlist_capacity": 7})
    queue = [Enroll(student_id, here, allow_existing=True, override=RULES_BUT_SEATS) for student_id in (held, *others)]
    leaves = st.sampled_from([Unenroll, Complete])
    ends: list[Command] = [draw(leaves)(student_id, here) for student_id in others[: draw(st.integers(1, 5))]]
    asks = Enroll(newcomer, here, override=RULES_BUT_SEATS)
    before: list[Command] = [full, *queue, Unenroll(newcomer, here, override=EVERY_RULE), PlaceHold(held, "LIBRARY")]
    return before, [asks, *ends, draw(st.builds(Settle, st.just(here), st.booleans()))]


BATCHES_BEHIND_A_QUEUE = _batches_behind_a_queue()


def scenes_about(course_id: str) -> st.SearchStrategy[tuple[Command, ...]]:
    """Return scenes about one course, without changes of the content of a course."""
    return st.one_of(_scenes([course_id], _OBSTACLES), _regrets([course_id]))
