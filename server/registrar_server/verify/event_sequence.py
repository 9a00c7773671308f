"""Checks the history as a whole: each revision from 1 to the counter's occurs once, and so does each event id."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from registrar_server.storage.models import Event, EventCounter
from registrar_server.verify.snapshot import stream
from registrar_server.verify.wording import differences, gap

_NUMBERED = select(
    Event.revision, func.lag(Event.revision, 1, 0).over(order_by=Event.revision).label("previous")
).subquery()
_GAPS = (
    select(_NUMBERED.c.previous, _NUMBERED.c.revision)
    .where(_NUMBERED.c.revision != _NUMBERED.c.previous + 1)
    .order_by(_NUMBERED.c.revision)
)
_REPEATED_IDS = (
    select(Event.event_id, func.min(Event.revision).label("first"), func.count().label("times"))
    .group_by(Event.event_id)
    .having(func.count() > 1)
    .order_by(func.min(Event.revision))
)


def disagreements(connection: Connection) -> Iterator[str]:
    """Report missing and repeated revisions, a counter that is not at the last one, and repeated event ids."""
    for event in stream(connection, _GAPS):
        yield f"Events: {gap('revision', event.previous, event.revision)}."
    counter = connection.scalar(select(EventCounter.revision))
    last = connection.scalar(select(func.max(Event.revision))) or 0
    yield from differences("Event counter", [("revision", counter, last)])
    for repeated in stream(connection, _REPEATED_IDS):
        yield f'Event {repeated.first}: its event_id "{repeated.event_id}" is that of {repeated.times} events.'
