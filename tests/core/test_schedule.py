"""Meetings conflict if they share a date, a weekday and a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar_server.core.commands import Enroll, UpdateCourse
from registrar_server.core.decide import decide
from registrar_server.core.records import Commitment, Course, Student
from registrar_server.core.rules import Case, violations
from registrar_server.core.schedule import Meeting, hours_of
from registrar_server.core.schedule import overlap as overlap_in
from registrar_server.errors import Reason, Violation
from tests.support.states import NOW, enrolled, enrollment, loaded_state, refusal

MON, TUE, WED, SUN = 1, 2, 3, 7
FALL = {"first": "2026-09-01", "last": "2026-12-18"}
TO_BE_ANNOUNCED = Meeting((), None, None, "", "", "")


MEETINGS = st.builds(
    lambda weekdays, times: Meeting(tuple(sorted(weekdays)), min(times), max(times), "", "", ""),
    st.frozensets(st.integers(MON, SUN)),
    st.frozensets(st.integers(0, 24 * 3600), min_size=2, max_size=2),
)
"""Meetings at any times, without dates."""


def at(*weekdays: int, start: str = "09:00", end: str = "10:00", first: str = "", last: str = "") -> Meeting:
    """Return a meeting on these weekdays; without dates it has no first or last day."""
    return Meeting(weekdays, seconds(start), seconds(end), first, last, "Aula")


def seconds(clock: str) -> int:
    hours, minutes, rest = (*map(int, clock.split(":")), 0)[:3]
    return hours * 3600 + minutes * 60 + rest


def conflicts(mine: list[Meeting], *others: list[Meeting]) -> list[Violation]:
    """Return the violations of c-1 with these meetings, for a student with seats in c-2, c-3 and so on."""
    enrolled = [
        Commitment("ada", f"c-{number}", "", 0, tuple(meetings)) for number, meetings in enumerate(others, start=2)
    ]
    return violations(Case(Student("ada"), Course("c-1", meetings=tuple(mine)), NOW, enrolled))


def overlap_of(mine: Meeting, theirs: Meeting) -> tuple[str, str, str]:
    """Return the weekdays, the time and the period that two meetings share, whichever is asked first."""
    ((one,), (other,)) = conflicts([mine], [theirs]), conflicts([theirs], [mine])
    assert one == other
    return one.values["weekdays"], one.values["time"], one.values["dates"]


def overlap(mine: Meeting, theirs: Meeting) -> bool:
    """Return whether two meetings overlap, whichever is asked first."""
    one, other = conflicts([mine], [theirs]), conflicts([theirs], [mine])
    assert one == other
    return bool(one)


class TestTimes:
    """Times are half-open, in seconds of the day."""

    @pytest.mark.parametrize(
        ("start", "end", "time"),
        [
            ("09:59", "11:00", "09:59-10:00"),
            ("08:00", "09:01", "09:00-09:01"),
            ("09:15", "09:45", "09:15-09:45"),
            ("08:00", "11:00", "09:00-10:00"),
            ("09:00", "10:00", "09:00-10:00"),
            ("09:59:59", "11:00", "09:59:59-10:00"),
            ("08:00", "09:00:01", "09:00-09:00:01"),
        ],
    )
    def test_overlap(self, start: str, end: str, time: str) -> None:
        """One second is enough to overlap; times are shown with seconds if they have any."""
        assert overlap_of(at(MON), at(MON, start=start, end=end)) == ("MONDAY", time, "../..")

    @pytest.mark.parametrize(("start", "end"), [("10:00", "11:00"), ("08:00", "09:00"), ("10:01", "24:00")])
    def test_touching_ends(self, start: str, end: str) -> None:
        """A meeting may start when another ends."""
        assert not overlap(at(MON), at(MON, start=start, end=end))

    def test_until_midnight(self) -> None:
        """A meeting that ends at 24:00 includes the last minute of its day."""
        late = at(MON, start="22:00", end="24:00")
        assert overlap_of(late, at(MON, start="23:59", end="24:00")) == ("MONDAY", "23:59-24:00", "../..")

    def test_after_midnight(self) -> None:
        """24:00 is not 00:00, neither of the next day nor of the same day."""
        late = at(MON, start="22:00", end="24:00")
        assert not overlap(late, at(TUE, start="00:00", end="01:00"))
        assert not overlap(late, at(MON, start="00:00", end="01:00"))


class TestWeekdays:
    """Meetings overlap only on weekdays that both have."""

    def test_another_weekday(self) -> None:
        """The same time on other weekdays does not overlap."""
        assert not overlap(at(MON, WED), at(TUE, SUN))

    def test_shared_weekdays(self) -> None:
        """All shared weekdays are reported, in order."""
        assert overlap_of(at(MON, WED, SUN), at(MON, TUE, SUN))[0] == "MONDAY, SUNDAY"

    @pytest.mark.parametrize(
        "open_meeting",
        [
            TO_BE_ANNOUNCED,
            Meeting((MON,), None, None, "", "", ""),
            Meeting((), seconds("09:00"), seconds("10:00"), "", "", ""),
        ],
        ids=["nothing-known", "no-times", "no-weekdays"],
    )
    def test_to_be_announced(self, open_meeting: Meeting) -> None:
        """A meeting without weekdays or times overlaps nothing, not even itself."""
        assert not overlap(open_meeting, at(MON))
        assert not overlap(open_meeting, open_meeting)


class TestHours:
    """The hours of the week in which a meeting takes place tell early that two meetings do not overlap."""

    @pytest.mark.parametrize(
        ("start", "end", "hours"),
        [
            ("00:00", "01:00", [0]),
            ("09:00", "10:00:01", [9, 10]),
            ("09:59:59", "12:00", [9, 10, 11]),
            ("23:00", "24:00", [23]),
        ],
    )
    def test_times(self, start: str, end: str, hours: list[int]) -> None:
        """A meeting touches an hour if at least a second of it belongs to the meeting."""
        every_hour = [at(MON, start=f"{hour:02}:00", end=f"{hour + 1:02}:00") for hour in range(24)]
        touched = at(MON, start=start, end=end).hours
        assert [hour for hour, meeting in enumerate(every_hour) if touched & meeting.hours] == hours

    def test_a_whole_week(self) -> None:
        """Each hour of each weekday differs from all others."""
        every_hour = [
            at(day, start=f"{hour:02}:00", end=f"{hour + 1:02}:00") for day in range(MON, SUN + 1) for hour in range(24)
        ]
        assert hours_of(every_hour).bit_count() == len(every_hour)

    @given(MEETINGS, MEETINGS)
    def test_overlapping_meetings(self, mine: Meeting, theirs: Meeting) -> None:
        """Two meetings that overlap share an hour."""
        assert overlap_in(mine, theirs) is None or mine.hours & theirs.hours


class TestDates:
    """Dates are inclusive; a period without a first or last day is open at that end."""

    @pytest.mark.parametrize(
        ("mine", "theirs", "dates"),
        [
            (FALL, FALL, "2026-09-01/2026-12-18"),
            (FALL, {}, "2026-09-01/2026-12-18"),
            (FALL, {"first": "2026-10-05"}, "2026-10-05/2026-12-18"),
            (FALL, {"last": "2026-10-05"}, "2026-09-01/2026-10-05"),
            ({"first": "2026-09-01"}, {"first": "2026-10-05"}, "2026-10-05/.."),
            ({"last": "2026-09-01"}, {"last": "2026-10-05"}, "../2026-09-01"),
            ({"first": "2026-09-01"}, {"last": "2026-12-18"}, "2026-09-01/2026-12-18"),
            ({"first": "2026-09-01"}, {}, "2026-09-01/.."),
            ({}, {"last": "2026-12-18"}, "../2026-12-18"),
        ],
    )
    def test_periods(self, mine: dict[str, str], theirs: dict[str, str], dates: str) -> None:
        """The shared period is reported, with its open ends."""
        assert overlap_of(at(MON, **mine), at(MON, **theirs)) == ("MONDAY", "09:00-10:00", dates)

    @pytest.mark.parametrize(
        ("mine", "theirs"),
        [
            (FALL, {"first": "2027-01-11", "last": "2027-05-07"}),
            (FALL, {"first": "2026-12-19"}),
            (FALL, {"last": "2026-08-31"}),
            ({"last": "2026-08-31"}, {"first": "2026-09-01"}),
        ],
    )
    def test_one_after_the_other(self, mine: dict[str, str], theirs: dict[str, str]) -> None:
        """Separate periods do not overlap."""
        assert not overlap(at(MON, **mine), at(MON, **theirs))

    @pytest.mark.parametrize(("weekday", "overlaps"), [(MON, True), (TUE, False), (SUN, False)])
    def test_one_shared_day(self, weekday: int, overlaps: bool) -> None:
        """If periods share one day, a Monday, only Mondays overlap."""
        autumn, winter = at(weekday, first="2026-09-01", last="2026-12-14"), at(weekday, first="2026-12-14")
        assert overlap(autumn, winter) is overlaps

    def test_a_few_shared_days(self) -> None:
        """If periods share less than a week, only weekdays in it are reported."""
        autumn, winter = at(MON, TUE, SUN, last="2026-12-15"), at(MON, TUE, SUN, first="2026-12-14")
        assert overlap_of(autumn, winter) == ("MONDAY, TUESDAY", "09:00-10:00", "2026-12-14/2026-12-15")

    @pytest.mark.parametrize(("last", "overlaps"), [("2026-12-19", False), ("2026-12-20", True)])
    def test_nearly_a_week(self, last: str, overlaps: bool) -> None:
        """Six days from a Monday have no Sunday, seven have one."""
        assert overlap(at(SUN, last=last), at(SUN, first="2026-12-14")) is overlaps


class TestCourses:
    """Each conflicting course is one violation."""

    def test_violation(self) -> None:
        """The violation names the course and states weekdays, time and dates."""
        (violation,) = conflicts([at(MON, WED, **FALL)], [at(WED, MON, start="09:30", end="12:00")])
        assert violation == Violation(
            Reason.SCHEDULE_CONFLICT,
            '"c-1" meets at the same time as "c-2": Monday, Wednesday 09:30-10:00.',
            {
                "conflicting_course_id": "c-2",
                "weekdays": "MONDAY, WEDNESDAY",
                "time": "09:30-10:00",
                "dates": "2026-09-01/2026-12-18",
            },
        )
        assert violation.override_rule == "SCHEDULE_CONFLICT"

    def test_several_courses(self) -> None:
        """Each conflicting course has its own violation, and others have none."""
        found = conflicts([at(MON), at(TUE)], [at(MON)], [at(WED)], [TO_BE_ANNOUNCED, at(TUE)])
        assert [violation.values["conflicting_course_id"] for violation in found] == ["c-2", "c-4"]

    def test_several_meetings_of_one_course(self) -> None:
        """A course is reported once, with its first overlapping meeting."""
        (violation,) = conflicts([at(TUE), at(MON)], [at(MON), at(TUE)])
        assert violation.values["weekdays"] == "TUESDAY"

    def test_its_own_meetings(self) -> None:
        """Meetings of one course may overlap each other."""
        assert conflicts([at(MON), at(MON, start="09:30", end="11:00")]) == []

    @pytest.mark.parametrize(
        ("other_state", "refuses"),
        [("ENROLLED", True), ("WAITLISTED", False), ("DROPPED", False), ("COMPLETED", False)],
    )
    def test_only_seats_count(self, other_state: str, refuses: bool) -> None:
        """Waitlisted, dropped and completed enrollments do not conflict."""
        courses = [Course(course_id, meetings=(at(MON),)) for course_id in ("c-1", "c-2")]
        state = loaded_state(Student("ada"), *courses, enrollment("ada", other_state, course_id="c-2"))
        if refuses:
            assert refusal(state, Enroll("ada", "c-1")).reason is Reason.SCHEDULE_CONFLICT
        else:
            assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    def test_a_course_that_moved_in_the_same_batch(self) -> None:
        """Later commands of a batch see the new meetings."""
        courses = Course("c-1", meetings=(at(MON),)), Course("c-2", meetings=(at(MON),))
        state = loaded_state(
            Student("ada"),
            *courses,
            enrollment("ada", "ENROLLED", course_id="c-2"),
        )
        decide(state, UpdateCourse("c-2", {"meetings": (at(TUE),)}))
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"
