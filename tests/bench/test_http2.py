"""The client of the load generator, on a real gRPC server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import pytest

from bench.http2 import STATUSES, Answer, Connection

SERVICE = "bench.Service"


def echo(request: bytes, _context: Any) -> bytes:
    return request


def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"100 % of {request.decode()} are “full”")


def fail(_request: bytes, _context: Any) -> bytes:
    raise RuntimeError("on purpose")


def many(_requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    yield from ()


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a server that takes and returns bytes."""
    server = grpc.server(ThreadPoolExecutor(4))
    unary: dict[str, Any] = {
        method.__name__: grpc.unary_unary_rpc_method_handler(method) for method in (echo, refuse, fail)
    }
    streaming: dict[str, Any] = {"many": grpc.stream_stream_rpc_method_handler(many)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, unary | streaming)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def connection(address: str) -> Iterator[Connection]:
    with closing(Connection(address)) as connection:
        yield connection


def answers(connection: Connection, count: int) -> list[Answer]:
    """Send what is prepared, and return so many answers in order of their calls."""
    found: list[Answer] = []
    connection.send()
    while len(found) < count:
        found += connection.receive()
        connection.send()
    return sorted(found)


def call(connection: Connection, method: str, request: bytes) -> tuple[str, str, bytes]:
    """Return the status of a call, the message of an error, and the response."""
    connection.begin(f"/{SERVICE}/{method}", request)
    [answer] = answers(connection, 1)
    return STATUSES[answer.status.code], answer.status.message, answer.message


def test_the_response_of_a_call_is_returned(connection: Connection) -> None:
    assert call(connection, "echo", b"") == ("OK", "", b"")
    assert call(connection, "echo", b"\x00\xff") == ("OK", "", b"\x00\xff")


def test_an_error_has_its_status_and_its_message(connection: Connection) -> None:
    for name in ("CS-1", "CS-2", "CS-1"):
        message = f"100 % of {name} are “full”"
        assert call(connection, "refuse", name.encode()) == ("FAILED_PRECONDITION", message, b"")


def test_successes_and_errors_of_several_rpcs_alternate(connection: Connection) -> None:
    expected = {"echo": "OK", "refuse": "FAILED_PRECONDITION", "fail": "UNKNOWN", "many": "OK", "none": "UNIMPLEMENTED"}
    for _ in range(20):
        assert {method: call(connection, method, b"x")[0] for method in expected} == expected


def test_many_calls_are_in_flight_at_once(connection: Connection) -> None:
    requests = [str(number).encode() for number in range(500)]
    for request in requests:
        connection.begin(f"/{SERVICE}/echo", request)
    assert [answer.message for answer in answers(connection, 500)] == requests


def test_requests_and_responses_may_be_larger_than_a_frame_and_all_together_than_any_window(
    connection: Connection,
) -> None:
    requests = [bytes((number,)) * 16_000 for number in range(100)]
    for request in requests:
        connection.begin(f"/{SERVICE}/echo", request)
    assert [answer.message for answer in answers(connection, 100)] == requests


def test_headers_beyond_the_table_of_the_server_are_sent_in_full(connection: Connection) -> None:
    for number in range(100):
        assert call(connection, f"none-{number}", b"")[0] == "UNIMPLEMENTED"
    assert call(connection, "echo", b"x") == ("OK", "", b"x")


def test_the_end_of_the_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(f"127.0.0.1:{listener.getsockname()[1]}")
        listener.accept()[0].close()
        with closing(connection), pytest.raises(ConnectionError):
            call(connection, "echo", b"")
