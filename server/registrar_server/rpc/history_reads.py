"""The rows of HistoryService: the list of all events, and the stream of those that come."""

from __future__ import annotations

from registrar.v1 import history_service_pb2 as pb
from registrar_server.identity.credentials import MAX_NAME_CHARACTERS
from registrar_server.reading.history import EventSearch, HistoryEntry, HistoryPage
from registrar_server.rpc import convert
from registrar_server.rpc.filters import members, time_from
from registrar_server.rpc.methods import QueryPlan, Read, Watch, WatchPlan
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import EVENT_TYPES

MAX_ACTOR_CHARACTERS = 200


def _list_events(fields: Fields, request: pb.ListEventsRequest) -> QueryPlan:
    search = _search(fields, request)
    page = Page(fields, request)
    if seen := page.after(int):
        search = search._replace(before=seen[0]) if search.descending else search._replace(after=seen[0])

    def pack(found: HistoryPage, max_bytes: int) -> pb.ListEventsResponse:
        response = pb.ListEventsResponse(last_revision=found.last_revision)
        page.fill(response, response.events, found.entries, convert.set_event, _key, max_bytes)
        return response

    return QueryPlan(lambda reader: reader.list_events(search, page.size + 1), pack)


def _key(entry: HistoryEntry) -> tuple[int]:
    return (entry.revision,)


def _watch_events(fields: Fields, request: pb.WatchEventsRequest) -> WatchPlan:
    _check_after(fields, request)
    search = EventSearch(
        student_id=fields.optional_id("student_id", request.student_id),
        course_id=fields.optional_id("course_id", request.course_id),
        types=members(fields, "types", request.types, EVENT_TYPES),
        actor=fields.selector("actor", request.actor, MAX_ACTOR_CHARACTERS),
    )
    return WatchPlan(search, request.after_revision if request.HasField("after_revision") else None)


def _check_after(fields: Fields, request: pb.ListEventsRequest | pb.WatchEventsRequest) -> None:
    if request.after_revision < 0:
        fields.wrong("after_revision", "must not be negative; 0 begins with the first event")


def _search(fields: Fields, request: pb.ListEventsRequest) -> EventSearch:
    """Return the filters of a request."""
    _check_after(fields, request)
    start, end = time_from(fields, request, "start_time"), time_from(fields, request, "end_time")
    if start is not None and end is not None and start >= end:
        fields.wrong("end_time", "must be after start_time")
    return EventSearch(
        student_id=fields.optional_id("student_id", request.student_id),
        course_id=fields.optional_id("course_id", request.course_id),
        enrollment_id=fields.optional_id("enrollment_id", request.enrollment_id),
        types=members(fields, "types", request.types, EVENT_TYPES),
        actor=fields.selector("actor", request.actor, MAX_ACTOR_CHARACTERS),
        on_behalf_of=fields.selector("on_behalf_of", request.on_behalf_of, MAX_NAME_CHARACTERS),
        start=start,
        end=end,
        descending=request.descending,
        after=request.after_revision,
    )


ROWS = (
    Read(pb.ListEventsRequest, pb.ListEventsResponse, _list_events),
    Watch(pb.WatchEventsRequest, pb.WatchEventsResponse, _watch_events),
)
