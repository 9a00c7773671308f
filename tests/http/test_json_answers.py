"""Answers as JSON: as ``json_format`` writes them, and large ones in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from registrar.v1.course_service_pb2 import SearchCoursesResponse
from registrar.v1.enrollment_service_pb2 import EnrollStudentResponse, ListCoursesResponse
from registrar.v1.history_service_pb2 import ListEventsResponse
from registrar_server.http import json_answers
from registrar_server.http.json_answers import write, write_in_pieces
from registrar_server.rpc.table import METHODS
from tests.support.client_samples import filled
from tests.support.http_calls import HttpCaller
from tests.support.servers import FREE_PORT, calling, serving

RESPONSES = {method.name: method.response for methods in METHODS.values() for method in methods.values()}


def samples(kind: type[Message]) -> Iterator[Message]:
    """Return an empty message, one with a value in every field, and one with two entries in every list."""
    yield kind()
    yield filled(kind)
    double = filled(kind)
    double.MergeFrom(filled(kind))
    yield double


def expected(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


async def pieces(message: Message) -> list[bytes]:
    return [piece async for piece in write_in_pieces(message)]


@pytest.mark.parametrize("kind", RESPONSES.values(), ids=RESPONSES)
async def test_every_response(kind: type[Message]) -> None:
    """A response is written as ``json_format`` does, at once or in pieces, and reads as the same message."""
    for message in samples(kind):
        text = write(message)
        assert text.endswith(b"}\n")
        assert json.loads(text) == expected(message)
        assert json.loads(b"".join(await pieces(message))) == expected(message)
        assert json_format.Parse(text, kind()) == message


def test_form() -> None:
    """Names are those of the proto, zeros are printed, and integers of 64 bits are strings."""
    assert json.loads(write(ListEventsResponse(last_revision=2**60))) == {
        "events": [],
        "next_page_token": "",
        "last_revision": str(2**60),
    }
    assert json.loads(write(EnrollStudentResponse())) == {"promoted": [], "promoted_count": 0}


def test_order_of_fields() -> None:
    """Fields are in the order of the proto, whether they are set or not."""
    message = filled(ListCoursesResponse)
    message.courses[0].course.ClearField("code")
    found = json.loads(write(message))
    for entry, kind in ((found, message), (found["courses"][0]["course"], message.courses[0].course)):
        names = [field.name for field in kind.DESCRIPTOR.fields if field.name in entry]
        assert list(entry) == names


async def test_other_work_between_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work of the event loop runs after every piece."""
    monkeypatch.setattr(json_answers, "PIECE_S", 0.0)
    (course,) = filled(SearchCoursesResponse).courses
    message = SearchCoursesResponse(courses=[course] * 50, next_page_token="t")
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    found = await pieces(message)
    assert len(found) >= 50
    assert turns >= 50
    assert json.loads(b"".join(found)) == expected(message)


async def test_size_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece has a limited size too, however fast it was made, since it may also be compressed."""
    monkeypatch.setattr(json_answers, "PIECE_S", 60.0)
    (course,) = filled(SearchCoursesResponse).courses
    course.description = "x" * 10_000
    found = await pieces(SearchCoursesResponse(courses=[course] * 50))
    assert max(map(len, found)) < 2 * json_answers.PIECE_BYTES
    assert len(found) > 10


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_large_answer(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """A large answer arrives whole, compressed for a client that accepts it, and other calls are served meanwhile."""
    monkeypatch.setattr(json_answers, "PIECE_S", 0.0)
    async with serving(sqlite_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        for number in range(100):
            await registrar.add_course(f"C-{number:03}", title="x" * 500)
        http = HttpCaller(server.http_address)
        large, small = await asyncio.gather(
            http.call("GET", "/v1/courses", query={"page_size": 100}, accept_encoding=encoding),
            http.call("GET", "/v1/courses/C-007"),
        )
    assert [course["course_id"] for course in large.json["courses"]] == [f"C-{number:03}" for number in range(100)]
    assert (large.headers.get("content-encoding") == "gzip") == (encoding == "gzip")
    assert small.json["course"] == large.json["courses"][7]


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", "gzip"),
        ("br, gzip", "gzip"),
        ("gzip;q=0.5, identity", "gzip"),
        ("br;q=1.0, gzip; q=0.001", "gzip"),
        ("gzip;q=0", None),
        ("identity, gzip; q=0.000, br", None),
        ("x-gzip", None),
        ("identity", None),
    ],
)
async def test_accepted_encodings(http: HttpCaller, accepted: str, expected: str | None) -> None:
    """An answer is compressed for a client that accepts it, but not for one that refuses it."""
    answer = await http.call("GET", "/openapi.json", accept_encoding=accepted)
    assert (answer.status, answer.headers.get("content-encoding")) == (200, expected)
