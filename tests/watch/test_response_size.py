"""The responses of a stream fit into a message, whatever its events are."""

from __future__ import annotations

from registrar.v1.history_service_pb2 import WatchEventsResponse
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.reading.history import HistoryEntry
from registrar_server.reading.spans import Span, WatchedEvent
from registrar_server.rpc.watch_forms import GRPC, pack

SMALLEST_MESSAGE = 262_144
"""The smallest REGISTRAR_MAX_MESSAGE_BYTES."""
FIRST = 2**62


def event_of(size: int, revision: int) -> WatchedEvent:
    """Return an event whose packed bytes have a size."""
    entry = HistoryEntry(revision, Event("e", EventType.STUDENT_UPDATED, 0, "", "", comment="x" * (size - 200)), None)
    padding = size - len(pack(entry))
    entry = entry._replace(event=entry.event._replace(comment=entry.event.comment + "x" * padding))
    packed = pack(entry)
    assert len(packed) == size
    return WatchedEvent(entry, packed)


def test_a_full_response_fits_into_the_smallest_message_that_a_server_may_have() -> None:
    """The events of one response are as large as the message; the revision comes behind them."""
    size = SMALLEST_MESSAGE // 256
    events = [event_of(size, FIRST + number) for number in range(256)]
    span = Span(FIRST - 1, FIRST + 255, events, is_last=True)
    responses = [response.data for response in GRPC.responses(span, as_student=False)]
    assert max(map(len, responses)) <= SMALLEST_MESSAGE
    received = [event.revision for each in responses for event in WatchEventsResponse.FromString(each).events]
    assert received == [event.revision for event in events]
