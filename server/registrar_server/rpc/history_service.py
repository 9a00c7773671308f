"""HistoryService: the events of all changes."""

from __future__ import annotations

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceServicer
from registrar_server.reading.history import EventSearch
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.filters import members, time_from
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import EVENT_TYPES


class HistoryService(HistoryServiceServicer):
    """Implements ``protos/registrar/v1/history_service.proto``, which documents each RPC."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    @endpoint
    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        fields = Fields()
        search = _search(fields, request)
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        if seen := page.after(int):
            search = search._replace(before=seen[0]) if search.descending else search._replace(after=seen[0])
        found = await self._dispatcher.reads.list(lambda reader: reader.list_events(search, page.size + 1))
        response = pb.ListEventsResponse(last_revision=found.last_revision)
        page.fill(response, response.events, found.entries, convert.set_event, lambda entry: (entry.revision,))
        return response


def _search(fields: Fields, request: pb.ListEventsRequest) -> EventSearch:
    """Return the filters of a request."""
    if request.after_revision < 0:
        fields.wrong("after_revision", "must not be negative; 0 begins with the first event")
    start, end = time_from(fields, request, "start_time"), time_from(fields, request, "end_time")
    if start is not None and end is not None and start >= end:
        fields.wrong("end_time", "must be after start_time")
    return EventSearch(
        student_id=fields.optional_id("student_id", request.student_id),
        course_id=fields.optional_id("course_id", request.course_id),
        enrollment_id=fields.optional_id("enrollment_id", request.enrollment_id),
        types=members(fields, "types", request.types, EVENT_TYPES),
        actor=fields.selector("actor", request.actor, 200),
        start=start,
        end=end,
        descending=request.descending,
        after=request.after_revision,
    )
