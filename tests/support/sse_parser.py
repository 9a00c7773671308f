"""A parser of server-sent events that does what browsers do.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r(?=.)", re.DOTALL)
"""A CR that is the last character so far may be the first half of CRLF."""


class Message(NamedTuple):
    """An event as a browser dispatches it."""

    event: str
    data: str
    last_event_id: str


class SseParser:
    """Makes events of the bytes of a stream, in whatever parts they come. An event that is cut off never happened."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        self.last_event_id = ""
        """The id with which a browser connects again."""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the events that are complete with these bytes."""
        *lines, self._rest = _LINE_END.split(self._rest + self._decoder.decode(data))
        for line in lines:
            if not line:
                yield from self._dispatch()
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                self._take(name, value.removeprefix(" "))

    def _take(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value

    def _dispatch(self) -> Iterator[Message]:
        self.last_event_id = self._id
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        if data:
            yield Message(event, "\n".join(data), self.last_event_id)
