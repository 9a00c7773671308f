"""The parser of server-sent events in ``tests/support`` does what the standard says, with its own examples."""

from __future__ import annotations

import pytest

from tests.support.sse_parser import Message, SseParser


def parsed(text: str) -> list[Message]:
    return list(SseParser().feed(text.encode()))


def test_an_event_has_several_lines_of_data() -> None:
    assert parsed("data: YHOO\ndata: +2\ndata: 10\n\n") == [Message("message", "YHOO\n+2\n10", "")]


def test_comments_ids_and_events_without_data() -> None:
    """An empty id resets the last one, and one space after the colon does not count."""
    text = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert parsed(text) == [
        Message("message", "first event", "1"),
        Message("message", "second event", ""),
        Message("message", " third event", ""),
    ]


def test_the_last_event_is_complete_only_with_an_empty_line() -> None:
    assert parsed("data\n\ndata\ndata\n\ndata:") == [Message("message", "", ""), Message("message", "\n", "")]


def test_an_event_without_data_is_not_dispatched_but_its_id_counts() -> None:
    parser = SseParser()
    assert list(parser.feed(b"event: nothing\nid: 7\n\n")) == []
    assert parser.last_event_id == "7"


def test_an_event_has_a_name_that_does_not_last() -> None:
    assert parsed("event: add\ndata: 1\n\ndata: 2\n\n") == [Message("add", "1", ""), Message("message", "2", "")]


def test_an_id_counts_when_its_event_is_complete() -> None:
    parser = SseParser()
    assert list(parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")) == [Message("message", "a", "1")]
    assert parser.last_event_id == "1"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_lines_end_in_three_ways_and_bytes_come_in_any_parts(end: str) -> None:
    data = "\ufeff: é\nid: 3\nevent: x\nretry: 10\nunknown: y\ndata: é\ndata: :\n\n: end".replace("\n", end).encode()
    parser = SseParser()
    assert [message for byte in data for message in parser.feed(bytes([byte]))] == [Message("x", "é\n:", "3")]
