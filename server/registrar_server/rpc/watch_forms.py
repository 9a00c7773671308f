"""How watchers get events: the responses of a stream, from events that were packed once for all of them.

A packed event is a WatchEventsResponse with this one event. Protobuf merges messages whose bytes follow each other:
lists are joined, and later values replace earlier ones. So the bytes of several packed events, with those of the
revision behind them, are one response (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from registrar.v1.history_service_pb2 import WatchEventsResponse
from registrar_server.reading.history import HistoryEntry
from registrar_server.reading.spans import Span
from registrar_server.rpc import convert
from registrar_server.rpc.student_view import student_view

MAX_RESPONSE_EVENTS = 500
MAX_RESPONSE_BYTES = 255 * 1024
"""Events with more bytes together are not in one response. A slow reader keeps at most one response in memory.

With the revision, a response is smaller than the smallest REGISTRAR_MAX_MESSAGE_BYTES, 256 KiB.
"""


def pack(entry: HistoryEntry) -> bytes:
    """Return the packed event."""
    response = WatchEventsResponse()
    convert.set_event(response.events.add(), entry)
    return response.SerializeToString()


def unchanged(packed: bytes) -> bytes:
    """Return a packed event as it is."""
    return packed


def for_students(packed: bytes) -> bytes:
    """Return a packed event without the fields that students do not see."""
    response = WatchEventsResponse.FromString(packed)
    student_view(response, "")
    return response.SerializeToString()


def join(events: Sequence[bytes], revision: int, *, checkpoint: bool = False) -> bytes:
    """Return the response with these events, for gRPC."""
    end = WatchEventsResponse(revision=revision, checkpoint=checkpoint)
    return b"".join((*events, end.SerializeToString()))


class Response(NamedTuple):
    """A response in some form: its bytes, the number of its events and its revision."""

    data: bytes
    events: int
    revision: int


@dataclass(frozen=True, slots=True)
class Form:
    """A form of responses: what makes it of a packed event, and what joins events to a response."""

    of_event: Callable[[bytes], bytes] = unchanged
    of_event_for_students: Callable[[bytes], bytes] = for_students
    join: Callable[..., bytes] = join

    def responses(self, span: Span, *, as_student: bool) -> Sequence[Response]:
        """Return the responses with the events of a span, made once for all watchers who get the same."""
        return span.in_form(self._for_students if as_student else self._for_others)

    def _for_students(self, span: Span) -> Sequence[Response]:
        return list(self._joined(span, [event.in_form(self.of_event_for_students) for event in span.events]))

    def _for_others(self, span: Span) -> Sequence[Response]:
        make = self.of_event
        events = [event.packed if make is unchanged else event.in_form(make) for event in span.events]
        return list(self._joined(span, events))

    def _joined(self, span: Span, made: Sequence[bytes]) -> Iterator[Response]:
        events: list[bytes] = []
        size, last = 0, span.after
        for event, data in zip(span.events, made, strict=True):
            if events and (size + len(data) > MAX_RESPONSE_BYTES or len(events) == MAX_RESPONSE_EVENTS):
                yield Response(self.join(events, last), len(events), last)
                events, size = [], 0
            events.append(data)
            size += len(data)
            last = event.revision
        if events:
            yield Response(self.join(events, span.upto), len(events), span.upto)


GRPC = Form()
