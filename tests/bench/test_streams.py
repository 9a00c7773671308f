"""The watchers of the bench: how they read messages, and what they find wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from bench import http2
from bench.streams import WATCH, Stream, Watchers
from registrar.v1 import history_service_pb2 as pb
from registrar.v1.event_pb2 import Event

SECONDS = 30.0


def events(first: int, last: int) -> pb.WatchEventsResponse:
    """Return a response with these revisions."""
    return pb.WatchEventsResponse(
        events=[Event(revision=revision, student_id="s-1") for revision in range(first, last + 1)], revision=last
    )


def checkpoint(revision: int) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(revision=revision, checkpoint=True)


def as_bytes(*responses: pb.WatchEventsResponse) -> bytes:
    """Return the messages as gRPC sends them."""
    found = b""
    for response in responses:
        message = response.SerializeToString()
        found += http2.MESSAGE.pack(0, len(message)) + message
    return found


def stream(*responses: pb.WatchEventsResponse, after: int | None = None) -> Stream:
    """Return a stream that has received these responses."""
    found = Stream(after)
    found.take(as_bytes(*responses))
    return found.parse()


def test_messages_are_read_however_their_bytes_arrive() -> None:
    data = as_bytes(events(1, 40), checkpoint(40), events(41, 42))
    found = Stream(after=0)
    for place in range(0, len(data), 7):
        found.take(data[place : place + 7])
    assert found.parse().revisions == list(range(1, 43))
    assert found.checkpoints == [40]
    assert not found.wrong_until(42)


def test_a_watcher_from_now_on_begins_where_its_first_response_says() -> None:
    assert not stream(checkpoint(7), events(8, 9)).wrong_until(9)
    assert not stream(events(8, 9)).wrong_until(9)


@pytest.mark.parametrize(
    "responses",
    [
        [events(1, 2), events(4, 5)],
        [events(1, 3), events(3, 5)],
        [events(1, 4)],
        [events(1, 6)],
        [events(4, 5), events(1, 3)],
        [],
    ],
    ids=["missing", "twice", "too few", "too many", "in another order", "nothing"],
)
def test_other_events_than_those_of_the_history_are_wrong(responses: list[pb.WatchEventsResponse]) -> None:
    assert stream(*responses, after=0).wrong_until(5)["a watcher has not exactly the events"] == 1


@pytest.mark.parametrize(
    "response",
    [
        pb.WatchEventsResponse(events=[Event(revision=1)]),
        pb.WatchEventsResponse(events=[Event(revision=1)], revision=1, checkpoint=True),
        pb.WatchEventsResponse(revision=1),
    ],
    ids=["revision before its event", "checkpoint with an event", "nothing"],
)
def test_a_response_that_contradicts_itself_is_wrong(response: pb.WatchEventsResponse) -> None:
    assert stream(response, after=0).wrong["wrong revision of a response"] == 1


def tell(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """Send three events and a checkpoint, and then nothing until the caller leaves; refuse to begin after 9."""
    after = pb.WatchEventsRequest.FromString(request).after_revision
    if after == 9:
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "9 is ahead")
    yield events(after + 1, after + 3).SerializeToString()
    yield checkpoint(after + 3).SerializeToString()
    left = threading.Event()
    context.add_callback(left.set)
    left.wait()


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a server of WatchEvents."""
    server = grpc.server(ThreadPoolExecutor(8))
    _, service, method = WATCH.split("/")
    handlers: dict[str, Any] = {method: grpc.unary_stream_rpc_method_handler(tell)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_watchers_on_several_connections_catch_up(address: str) -> None:
    with Watchers([address] * 2, each=3, after=4) as watchers:
        assert watchers.catch_up(SECONDS, 7)
        assert watchers.reach(7, SECONDS)
        assert not watchers.wrong_until(7)
        assert len(list(watchers.lags())) == 18


def test_a_stream_that_ends_is_a_failure(address: str) -> None:
    with Watchers([address], after=9) as watchers:
        assert not watchers.catch_up(SECONDS)
        assert watchers.wrong_until(9) == {"ended stream: OUT_OF_RANGE: 9 is ahead": 1}
