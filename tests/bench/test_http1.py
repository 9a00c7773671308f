"""The client of the load over HTTP, on a real HTTP server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.http1 import Answer, Connection


class Handler(BaseHTTPRequestHandler):
    """Returns the body of a POST with its length, and in chunks for the path /chunked; refuses a GET."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("content-length", "8")
        self.end_headers()
        self.wfile.write("no “x”"[:4].encode() + b"\n\n")

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def connection() -> Iterator[Connection]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with closing(Connection(f"127.0.0.1:{server.server_port}")) as connection:
            yield connection
        server.shutdown()
        serving.join()


def call(connection: Connection, request: bytes) -> Answer:
    """Send a request and return its answer."""
    connection.begin("", request)
    connection.send()
    found: list[Answer] = []
    while not found:
        found = connection.receive()
    [answer] = found
    return answer


def post(path: str, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


@pytest.mark.parametrize("path", ["/", "/chunked"])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1_000_000])
def test_bodies_of_any_size_are_returned_on_one_connection(connection: Connection, path: str, size: int) -> None:
    for letter in (b"a", b"\n", b"0"):
        answer = call(connection, post(path, letter * size))
        assert (answer.failure, answer.message == letter * size) == ("", True)


def test_an_error_has_its_status_and_its_text_and_the_connection_goes_on(connection: Connection) -> None:
    assert call(connection, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").failure == "404: no “"
    assert call(connection, post("/", b"x")) == Answer(0, 200, b"x")


def test_the_end_of_the_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(f"127.0.0.1:{listener.getsockname()[1]}")
        listener.accept()[0].close()
        with closing(connection), pytest.raises(ConnectionError):
            call(connection, post("/", b""))
