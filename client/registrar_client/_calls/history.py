"""The calls of HistoryService."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from operator import attrgetter

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import ListCall, Rpc
from registrar_client._enums import EventType
from registrar_client._from_wire import reader
from registrar_client._types import Event

LIST_EVENTS = Rpc(HistoryServiceStub, "ListEvents")


def list_(
    *,
    student_id: str = "",
    course_id: str = "",
    enrollment_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    on_behalf_of: str = "",
    start_time: dt.datetime | None = None,
    end_time: dt.datetime | None = None,
    after_revision: int = 0,
    descending: bool = False,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[Event]:
    """List events in the order of their revisions. Without filters, list all events.

    The first request is sent when the iteration starts, and errors are raised there. To follow the history, list the
    events after the last revision that you have read, again and again. New events always have higher revisions. With
    filters, continue after the ``last_revision`` of the last of the ``pages()``.

    Args:
        student_id: Only events of this student. An unknown student has no events.
        course_id: Only events of this course. An unknown course has no events.
        enrollment_id: Only events of this enrollment. An unknown enrollment has no events.
        types: Only events of one of these types.
        actor: Only events of changes that this caller requested, such as ``key:sis-sync``. ``system:sweep`` is the
            server when it settles courses by itself.
        on_behalf_of: Only events of changes that were made on behalf of this person. In other methods, it is not a
            filter, but says on behalf of which person the call is made.
        start_time: Only events at or after this time.
        end_time: Only events before this time.
        after_revision: Only events after this revision. By default, the list starts with the first event.
        descending: List the newest events first.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.
        timeout: Seconds for all attempts at one page. Defaults to the client's timeout.

    Raises:
        InvalidField: The server refuses values, such as a negative revision. ``field_violations`` lists all of them.
        InvalidPageToken: The token is not from this list with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ListEventsRequest,
        student_id=student_id,
        course_id=course_id,
        enrollment_id=enrollment_id,
        types=types,
        actor=actor,
        on_behalf_of=on_behalf_of,
        start_time=start_time,
        end_time=end_time,
        after_revision=after_revision,
        descending=descending,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_EVENTS, request, reader(Event), attrgetter("events"), timeout)
