"""WatchEvents: every event once and in order, from any revision on, and then live."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from registrar.v1.event_pb2 import (
    EVENT_TYPE_COURSE_CREATED,
    EVENT_TYPE_STUDENT_CREATED,
    EVENT_TYPE_STUDENT_ENROLLED,
    EVENT_TYPE_STUDENT_PROMOTED,
    EVENT_TYPE_STUDENT_UNENROLLED,
)
from registrar_server.reading.spans import SPAN_EVENTS
from registrar_server.rpc.watchers import WatchTimes
from tests.support.history_calls import create_campus, drop, history, record_every_type
from tests.support.refusals import info
from tests.support.servers import Log, Registrar, registrar_on
from tests.support.watching import add_students, revisions, watching, watching_live

CAMPUS_REVISION = 5
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "student": {"student_id": "s-1"},
    "course": {"course_id": "CS-101"},
    "type": {"types": [EVENT_TYPE_STUDENT_ENROLLED]},
    "types": {"types": [EVENT_TYPE_STUDENT_UNENROLLED, EVENT_TYPE_STUDENT_ENROLLED, EVENT_TYPE_STUDENT_UNENROLLED]},
    "student-and-course": {"student_id": "s-1", "course_id": "CS-101"},
    "student-and-types": {"student_id": "s-2", "types": [EVENT_TYPE_STUDENT_PROMOTED]},
    "all": {"student_id": "s-1", "course_id": "CS-102", "types": [EVENT_TYPE_STUDENT_ENROLLED]},
    "nobody": {"student_id": "s-9"},
    "actor": {"actor": "key:nobody"},
}


class TestEvents:
    """Which events a stream has."""

    @pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
    async def test_existing_events(self, registrar: Registrar, fields: dict[str, Any]) -> None:
        """A stream from the beginning has exactly the events of ListEvents with the same filters."""
        await record_every_type(registrar)
        events = await history(registrar)
        async with watching(registrar, after_revision=0, **fields) as stream:
            await stream.checkpoint()
        assert stream.events == await history(registrar, **fields)
        assert stream.revision == events[-1].revision

    @pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
    async def test_new_events(self, registrar: Registrar, fields: dict[str, Any]) -> None:
        """A stream has the events that are committed while it runs, with the same filters."""
        async with watching_live(registrar, **fields) as stream, watching_live(registrar) as unfiltered:
            await record_every_type(registrar)
            expected = await history(registrar, **fields)
            last = (await history(registrar))[-1].revision
            assert revisions(await unfiltered.reach(last)) == list(range(1, last + 1))
            while len(stream.events) < len(expected):
                await stream.next()
            assert stream.events == expected

    async def test_from_the_middle(self, registrar: Registrar) -> None:
        """``after_revision`` is the last revision that the reader has seen already."""
        await create_campus(registrar)
        async with watching(registrar, after_revision=3) as stream:
            await stream.checkpoint()
            assert revisions(stream.events) == [4, 5]
            await registrar.add_student("s-4")
            assert revisions(await stream.reach(6)) == [4, 5, 6]

    async def test_from_now(self, registrar: Registrar) -> None:
        """Without ``after_revision``, a stream begins with the events after its call."""
        await create_campus(registrar)
        async with watching(registrar) as stream:
            assert await stream.checkpoint() == CAMPUS_REVISION
            await registrar.add_student("s-4")
            assert revisions(await stream.reach(6)) == [6]

    async def test_from_the_end(self, registrar: Registrar) -> None:
        """The last revision of the history is no revision ahead."""
        await create_campus(registrar)
        async with watching(registrar, after_revision=CAMPUS_REVISION) as stream:
            assert await stream.checkpoint() == CAMPUS_REVISION
        assert not stream.events

    async def test_empty_history(self, registrar: Registrar) -> None:
        """A history without events can be watched from its beginning."""
        async with watching(registrar, after_revision=0) as stream:
            assert await stream.checkpoint() == 0
            await registrar.add_student("s-1")
            assert revisions(await stream.reach(1)) == [1]

    async def test_events_of_one_change(self, registrar: Registrar) -> None:
        """The events of one change come together."""
        await create_campus(registrar)
        await registrar.enroll("s-1", "CS-101")
        await registrar.enroll("s-2", "CS-101")
        async with watching_live(registrar) as stream:
            await drop(registrar, "s-1")
            response = await stream.next()
        assert [event.type for event in response.events] == [EVENT_TYPE_STUDENT_UNENROLLED, EVENT_TYPE_STUDENT_PROMOTED]
        assert response.revision == response.events[-1].revision

    async def test_catch_up_beside_writes(self, registrar: Registrar) -> None:
        """Thousands of events are read in several spans, while others are written."""
        count = 3 * SPAN_EVENTS + 1
        await add_students(registrar, count)
        async with watching(registrar, after_revision=0) as stream:
            writing = asyncio.create_task(add_students(registrar, 700, "t"))
            assert revisions(await stream.reach(count + 700)) == list(range(1, count + 701))
            await writing

    async def test_catch_up_to_a_full_span(self, registrar: Registrar) -> None:
        """A history that ends exactly with a span is caught up with, too."""
        await add_students(registrar, SPAN_EVENTS)
        async with watching(registrar, after_revision=0) as stream:
            await stream.reach(SPAN_EVENTS)
            assert await stream.checkpoint() == SPAN_EVENTS
            await registrar.add_course("c-1")
            assert revisions(await stream.reach(SPAN_EVENTS + 1))[-1] == SPAN_EVENTS + 1


class TestRevisions:
    """The revisions that a reader stores, to go on from there."""

    async def test_resume_anywhere(self, registrar: Registrar) -> None:
        """A reader that goes on after the revision of any response has each event once."""
        await record_every_type(registrar)
        expected = await history(registrar, student_id="s-1")
        last = (await history(registrar))[-1].revision
        for reached in range(last + 1):
            async with watching(registrar, after_revision=reached, student_id="s-1") as stream:
                assert await stream.checkpoint() == last
            assert stream.events == [event for event in expected if event.revision > reached]

    async def test_checkpoint_without_a_fitting_event(self, registrar: Registrar) -> None:
        """The checkpoint after catching up has the revision of the whole history, whatever the filters let through."""
        await create_campus(registrar)
        async with watching(registrar, after_revision=0, student_id="s-9") as stream:
            response = await stream.next()
        assert (response.checkpoint, response.revision) == (True, CAMPUS_REVISION)
        assert not response.events

    async def test_periodic_checkpoints(self, database_url: str) -> None:
        """Checkpoints go on while nothing happens, and also while nothing fits the filters."""
        async with (
            registrar_on(database_url, times=WatchTimes(checkpoint=0.05)) as registrar,
            watching(registrar, student_id="s-9") as filtered,
            watching(registrar) as idle,
        ):
            assert [await idle.checkpoint() for _ in range(3)] == [0, 0, 0]
            await registrar.add_student("s-1")
            while await filtered.checkpoint() < 1:
                pass
            assert not filtered.events
            assert revisions(await idle.reach(1)) == [1]
            assert await idle.checkpoint() == 1

    async def test_first_checkpoint(self, registrar: Registrar) -> None:
        """The first checkpoint says that the stream has caught up, so it does not come between existing events."""
        count = 2 * SPAN_EVENTS + 1
        await add_students(registrar, count)
        async with watching(registrar, after_revision=0) as stream:
            assert await stream.checkpoint() == count
        assert len(stream.events) == count

    async def test_checkpoints_of_a_long_catch_up(self, database_url: str) -> None:
        """A stream that catches up for long has checkpoints as well, so that its reader can store where it is."""
        async with registrar_on(database_url, times=WatchTimes(checkpoint=0)) as registrar:
            await add_students(registrar, 2 * SPAN_EVENTS + 1)
            async with watching(registrar, after_revision=0) as stream:
                assert await stream.checkpoint() == SPAN_EVENTS

    async def test_checkpoints_are_frequent_enough(self) -> None:
        """Callers may count on 10 seconds."""
        assert 0 < WatchTimes().checkpoint < 10


class TestRefusals:
    """Streams that do not begin."""

    @pytest.mark.parametrize("after_revision", [CAMPUS_REVISION + 1, 2**63 - 1])
    async def test_revision_ahead(self, registrar: Registrar, after_revision: int) -> None:
        """A revision beyond the history is that of another database, and the refusal has the last revision."""
        await create_campus(registrar)
        async with watching(registrar, after_revision=after_revision, student_id="s-1") as stream:
            failure = await stream.failure()
        assert failure.code is StatusCode.OUT_OF_RANGE
        assert failure.details == (info("REVISION_AHEAD", revision=str(CAMPUS_REVISION)),)
        assert failure.message == (
            f"The history has not reached revision {after_revision}; its newest event has revision 5."
        )
        assert not stream.events

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"after_revision": -1}, "after_revision"),
            ({"after_revision": -(2**63)}, "after_revision"),
            ({"student_id": "s 1"}, "student_id"),
            ({"course_id": "c" * 129}, "course_id"),
            ({"types": [EVENT_TYPE_COURSE_CREATED, 0]}, "types[1]"),
            ({"types": [9999]}, "types[0]"),
            ({"actor": "a" * 201}, "actor"),
        ],
    )
    async def test_invalid_field(self, registrar: Registrar, fields: dict[str, Any], field: str) -> None:
        """The refusal names the field, and nothing is streamed."""
        await create_campus(registrar)
        async with watching(registrar, **{"after_revision": 0, **fields}) as stream:
            failure = await stream.failure()
        assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert list(failure.fields) == [field]
        assert not stream.events

    async def test_several_invalid_fields(self, registrar: Registrar) -> None:
        """All invalid fields are named at once."""
        async with watching(registrar, after_revision=-1, student_id="s 1", types=[9999]) as stream:
            assert set((await stream.failure()).fields) == {"after_revision", "student_id", "types[0]"}


class TestLog:
    """The one line of a stream, which is written when the stream ends."""

    async def test_line(self, registrar: Registrar, log: Log) -> None:
        """It has the filters, the number of events and the revision that the stream reached."""
        await create_campus(registrar)
        async with watching(registrar, after_revision=0, student_id="s-1") as stream:
            await stream.checkpoint()
            assert not log.of("rpc", method="WatchEvents")
        line = await log.one("rpc", method="WatchEvents")
        assert {name: line[name] for name in ("status", "student_id", "events", "revision", "level")} == {
            "status": "CANCELLED",
            "student_id": "s-1",
            "events": 1,
            "revision": CAMPUS_REVISION,
            "level": "info",
        }

    async def test_refusal(self, registrar: Registrar, log: Log) -> None:
        """A refused stream has the line of a refused call."""
        async with watching(registrar, after_revision=7) as stream:
            await stream.failure()
        line = await log.one("rpc", method="WatchEvents")
        assert (line["status"], line["reason"], line["revision"]) == ("OUT_OF_RANGE", "REVISION_AHEAD", "0")
        assert "events" not in line

    async def test_long_stream(self, database_url: str, log: Log) -> None:
        """A stream is never a slow call, however long it runs."""
        async with registrar_on(database_url, slow_call=0) as registrar:
            async with watching_live(registrar):
                pass
            assert (await log.one("rpc", method="WatchEvents"))["level"] == "info"


async def test_types_of_all_kinds_are_streamed(registrar: Registrar) -> None:
    """Events of students and courses are in the history as well as those of enrollments."""
    async with watching_live(registrar, types=[EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_COURSE_CREATED]) as stream:
        await create_campus(registrar)
        assert revisions(await stream.reach(CAMPUS_REVISION)) == [1, 2, 3, 4, 5]
