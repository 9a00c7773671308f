"""HistoryService: the events of all changes."""

from __future__ import annotations

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceServicer
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields


class HistoryService(HistoryServiceServicer):
    """Implements ``protos/registrar/v1/history_service.proto``, which documents each RPC."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.slow_call = dispatcher.slow_call

    @endpoint
    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        fields = Fields()
        student_id = fields.optional_id("student_id", request.student_id)
        course_id = fields.optional_id("course_id", request.course_id)
        if request.after_revision < 0:
            fields.wrong("after_revision", "must not be negative; 0 begins with the first event")
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        after = max([request.after_revision, *(page.after(int) or ())])
        rows = await self._dispatcher.reads.list(
            lambda reader: reader.list_events(student_id, course_id, after, page.size + 1)
        )
        response = pb.ListEventsResponse()
        page.fill(response, response.events, rows, convert.set_event, lambda entry: (entry.revision,))
        return response
