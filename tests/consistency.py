"""What must hold in a database at any moment, told from its rows and its history alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registrar_server.models import LIVE_STATES, Course, Enrollment, Event, EventCounter, RequestId, Student

LIFE = ("CREATED", "UPDATED", "DELETED", "UNDELETED")


def assert_consistent(engine: Engine) -> None:
    """Assert that counters, rows, events and request ids tell the same story.

    Holds for any database that was changed through the ledger alone and whose request ids were not purged.
    """
    with Session(engine) as session:
        events = session.scalars(select(Event).order_by(Event.revision)).all()
        enrollments = session.scalars(select(Enrollment).order_by(Enrollment.course_id, Enrollment.number)).all()
        courses = session.scalars(select(Course)).all()
        students = session.scalars(select(Student)).all()
        _assert_gapless(events, session.scalars(select(EventCounter.revision)).one())
        _assert_counted(courses, enrollments)
        _assert_attempts(enrollments)
        _assert_told(enrollments, events)
        _assert_lives({course.course_id: course for course in courses}, "COURSE", events)
        _assert_lives({student.student_id: student for student in students}, "STUDENT", events)
        _assert_seats(events)
        _assert_answered(events, session.scalars(select(RequestId)).all())


def _assert_gapless(events: Sequence[Event], counter: int) -> None:
    assert [event.revision for event in events] == list(range(1, counter + 1)), "revisions have gaps"
    assert len({event.event_id for event in events}) == len(events), "event ids repeat"


def _assert_counted(courses: Iterable[Course], enrollments: Sequence[Enrollment]) -> None:
    rows = Counter((enrollment.course_id, enrollment.state) for enrollment in enrollments)
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for enrollment in enrollments:
        numbers[enrollment.course_id].append(enrollment.number)
    for course in courses:
        counted = (course.enrolled_count, course.waitlisted_count)
        found = tuple(rows[course.course_id, state] for state in LIVE_STATES)
        assert counted == found, f"{course.course_id} counts {counted}, but has {found}"
        given = list(range(1, course.last_number + 1))
        assert numbers[course.course_id] == given, f"the numbers of {course.course_id} have gaps"


def _assert_attempts(enrollments: Iterable[Enrollment]) -> None:
    attempts: defaultdict[tuple[str, str], list[Enrollment]] = defaultdict(list)
    for enrollment in enrollments:
        attempts[enrollment.student_id, enrollment.course_id].append(enrollment)
    for pair, of_pair in attempts.items():
        assert [one.attempt for one in of_pair] == list(range(1, len(of_pair) + 1)), f"attempts of {pair} have gaps"
        live = [one.attempt for one in of_pair if one.state in LIVE_STATES]
        assert live in ([], [len(of_pair)]), f"of the attempts of {pair}, {live} are live"


def _assert_told(enrollments: Iterable[Enrollment], events: Iterable[Event]) -> None:
    """Every state of every enrollment was reached by exactly one event, from the state before it."""
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event in events:
        if event.enrollment_id and event.type != "PROMOTION_SKIPPED":
            states = told[event.course_id, event.enrollment_id]
            assert event.previous_state == (states[-1] if states else ""), f"event {event.revision} skips a state"
            states.append(event.state)
    rows = {(row.course_id, row.enrollment_id): (row.state, row.version) for row in enrollments}
    assert rows == {key: (states[-1], len(states)) for key, states in told.items()}, "rows and events differ"


def _assert_lives(rows: dict[str, Course] | dict[str, Student], kind: str, events: Iterable[Event]) -> None:
    """Every resource was created by one event, each later event raised its version, and the last says if it lives."""
    told: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        named, _, what = event.type.partition("_")
        if named == kind and what in LIFE:
            told[event.course_id if kind == "COURSE" else event.student_id].append(what)
    assert told.keys() == rows.keys(), f"{kind} rows and events differ"
    for key, whats in told.items():
        row = rows[key]
        assert [what for what in whats if what == "CREATED"] == whats[:1], f"{key} was made {whats}"
        assert row.version == len(whats), f"{key} has version {row.version} after {whats}"
        ends = [what for what in whats if what.endswith("DELETED")]
        assert (row.delete_time is not None) == (ends[-1:] == ["DELETED"]), f"{key} was ended {ends}"


def _assert_seats(events: Iterable[Event]) -> None:
    """Every event states the capacity and count in force, and no seat was given beyond capacity but by override."""
    capacity: dict[str, int | None] = {}
    count: Counter[str] = Counter()
    for event in events:
        if not event.course_id:
            continue
        if event.type == "COURSE_UPDATED":
            changed = {field: after for field, _before, after in event.changes}
            if "capacity" in changed:
                capacity[event.course_id] = int(changed["capacity"]) if changed["capacity"] else None
        if event.type == "COURSE_CREATED":
            capacity[event.course_id] = event.capacity  # Creating tells the whole course, not its changes.
        count[event.course_id] += (event.state == "ENROLLED") - (event.previous_state == "ENROLLED")
        assert event.enrolled_count == count[event.course_id], f"event {event.revision} counts otherwise"
        assert event.capacity == capacity[event.course_id], f"event {event.revision} has another capacity"
        gives = event.state == "ENROLLED" and event.previous_state != "ENROLLED"
        if gives and event.capacity is not None and "COURSE_FULL" not in event.bypassed_rules:
            assert event.enrolled_count <= event.capacity, f"event {event.revision} oversells {event.course_id}"


def _assert_answered(events: Iterable[Event], stored: Iterable[RequestId]) -> None:
    asked = {(event.actor, event.request_id) for event in events if event.request_id}
    kept = {(answer.caller, answer.request_id) for answer in stored}
    assert asked <= kept, f"changed without a stored answer: {asked - kept}"
