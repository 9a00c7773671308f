"""The calls of HistoryService."""

from __future__ import annotations

from operator import attrgetter

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub
from registrar_client import _convert as convert
from registrar_client import _fields as fields
from registrar_client._calls import ListCall, Rpc
from registrar_client._types import Event

LIST_EVENTS = Rpc(HistoryServiceStub, "ListEvents")


def list_(
    *,
    student_id: str = "",
    course_id: str = "",
    after_revision: int = 0,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[Event]:
    """List what has happened, in the order of revisions; without filters, all of it.

    Nothing is asked of the server before the iteration starts; errors are raised there. To follow the history, list
    again and again after the last revision that was seen: no event ever appears at or under it.

    Args:
        student_id: Only events of this student; one that never was has none.
        course_id: Only events of this course; one that never was has none.
        after_revision: Only events after this revision; left out, from the first.
        page_size: The most items per page, up to 1000; left out, the server's 50.
        page_token: Where to start, from an earlier page's ``next_page_token``.
        timeout: Seconds for all attempts at one page; left out, the client's.

    Raises:
        InvalidField: The server refuses a value, such as a negative revision; ``field_violations`` names all of them.
        InvalidPageToken: The token is not from this list.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.ListEventsRequest,
        student_id=student_id,
        course_id=course_id,
        after_revision=after_revision,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_EVENTS, request, convert.event, attrgetter("events"), timeout)
