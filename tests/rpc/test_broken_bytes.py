"""Bytes that are no message, sent to every RPC: one refusal with details and one short line, never UNKNOWN."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from registrar.v1.course_service_pb2 import GetCourseRequest
from tests.support.contract import filled
from tests.support.properties import scaled
from tests.support.raw_calls import OWN, RAW_METHODS, REFLECTION, RawMethod
from tests.support.refusals import Failure, info, refused
from tests.support.servers import Log, Registrar, calling, server_process

BROKEN = {
    "a tag without a value": b"\x0a",
    "a text that ends early": b"\x0a\x05abc",
    "a number that does not end": b"\xff" * 11,
    "field number 0": b"\x00\x00",
    "the end of a group that has not begun": b"\x0c",
    "a tag of an unknown kind": b"\x0f",
    "megabytes of noise": b"\xff" * 3_000_000,
}
LONGEST_LINE = 200
SENTENCE = "The bytes of the request are not a valid {} message."
FAULTS = {StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}


def refusal(method: RawMethod) -> Failure:
    """Return the refusal of broken bytes."""
    return Failure(StatusCode.INVALID_ARGUMENT, SENTENCE.format(method.expected), (info("INVALID_FIELD"),))


def course_method() -> RawMethod:
    """Return GetCourse."""
    (method,) = (each for each in OWN if each.logged == "GetCourse")
    return method


@pytest.mark.parametrize("method", RAW_METHODS, ids=lambda method: method.path)
async def test_every_rpc_refuses_bytes_that_are_no_message(
    method: RawMethod, sqlite_registrar: Registrar, log: Log
) -> None:
    for data in BROKEN.values():
        assert not method.reads(data)
        assert await refused(method.send(sqlite_registrar.channel, data)) == refusal(method)
    assert len(log.lines) == len(BROKEN)
    for line in log.lines:
        duration, peer = line.pop("duration_ms"), line.pop("peer")
        assert duration > 0
        assert peer.startswith("ipv4:127.0.0.1:")
        assert line == {
            "event": "rpc",
            "level": "info",
            "method": method.logged,
            "status": "INVALID_ARGUMENT",
            "reason": "INVALID_FIELD",
        }


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"], ids=["noise", "surrogate", "overlong"])
async def test_a_text_that_is_no_utf_8_is_refused(sqlite_registrar: Registrar, text: bytes) -> None:
    data = b"\x0a" + bytes([len(text)]) + text
    assert await refused(course_method().send(sqlite_registrar.channel, data)) == refusal(course_method())


async def test_unknown_fields_are_ignored(sqlite_registrar: Registrar) -> None:
    """A newer client may send fields that this version does not know."""
    await sqlite_registrar.add_course("c-1")
    of_field_1000 = b"\xc2\x3e\x05hello"
    request = GetCourseRequest(course_id="c-1").SerializeToString()
    (response,) = await course_method().send(sqlite_registrar.channel, request + of_field_1000)
    assert b"c-1" in response


@pytest.mark.parametrize("method", REFLECTION, ids=lambda method: method.path)
async def test_reflection_answers_the_messages_before_the_broken_one(
    method: RawMethod, sqlite_registrar: Registrar
) -> None:
    stream: Any = sqlite_registrar.channel.stream_stream(method.path)
    call = stream(iter([ServerReflectionRequest(list_services="").SerializeToString(), b"\xff"]))
    assert b"registrar.v1.CourseService" in await call.read()
    assert await refused(call.read()) == refusal(method)


async def test_answered_calls_of_health_and_reflection_have_no_line(sqlite_registrar: Registrar, log: Log) -> None:
    """A load balancer asks for health every few seconds."""
    question: dict[Any, Message] = {
        HealthCheckRequest: HealthCheckRequest(),
        ServerReflectionRequest: ServerReflectionRequest(),
    }
    for method in RAW_METHODS:
        if method not in OWN:
            assert await method.send(sqlite_registrar.channel, question[method.request].SerializeToString())
    assert log.lines == []


async def test_grpc_itself_answers_what_is_no_call_of_a_method(sqlite_registrar: Registrar, log: Log) -> None:
    for path in ("/registrar.v1.CourseService/Lunch", "/registrar.v2.CourseService/GetCourse", "/", "nowhere"):
        call: Any = sqlite_registrar.channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"\xff")
        assert failed.value.code() is StatusCode.UNIMPLEMENTED
    assert log.lines == []


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Return the data with a few bits changed."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4) if data else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def spliced(data: bytes, chance: random.Random) -> bytes:
    """Return the data with a part of it in another place."""
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    place = chance.randrange(len(data) + 1)
    return data[:place] + data[first:last] + data[place:]


def noisy(data: bytes, chance: random.Random) -> bytes:
    """Return the data with noise in it."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randint(1, 8)) + data[place:]


def mistyped(data: bytes, chance: random.Random) -> bytes:
    """Return the data with one printable character changed, most often in a text."""
    places = [place for place, byte in enumerate(data) if 0x20 < byte < 0x7F]
    changed = bytearray(data)
    for place in chance.sample(places, min(1, len(places))):
        changed[place] = chance.randrange(0x20, 0x7F)
    return bytes(changed)


def noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(1, 64))


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    truncated,
    flipped,
    spliced,
    noisy,
    noise,
    mistyped,
    mistyped,
    mistyped,
]


def some_request(method: RawMethod, chance: random.Random) -> bytes:
    """Return a request of an RPC with some of its fields."""
    if method not in OWN:
        return method.request.FromString(b"\x0a\x01x\x3a\x01y").SerializeToString()
    fields = [field for field in method.request.DESCRIPTOR.fields if chance.random() < 0.5]
    request: Any = method.request
    return bytes(request(**{field.name: filled(field) for field in fields}).SerializeToString())


@pytest.mark.long
async def test_mutated_messages_are_never_a_fault_of_the_server(sqlite_url: str, tmp_path: Path) -> None:
    """Bytes that are no message are refused as such, and all others get the answer of their method."""
    chance = random.Random(20261126)
    statuses: Counter[tuple[bool, StatusCode]] = Counter()
    async with server_process(sqlite_url, tmp_path) as server, calling(await server.address()) as registrar:
        for place in range(scaled(3_000)):
            method = RAW_METHODS[place % len(RAW_METHODS)]
            data = chance.choice(MUTATIONS)(some_request(method, chance), chance)
            statuses[method.reads(data), await _status(method, registrar.channel, data)] += 1
        assert await refused(registrar.course("/"))
        await server.logged("rpc", lambda line: line["method"] == "GetCourse" and line.get("course_id") == "/")
    of_broken = {status for is_message, status in statuses if not is_message}
    assert of_broken == {StatusCode.INVALID_ARGUMENT}
    assert not FAULTS & {status for _, status in statuses}
    assert len(statuses) > 5, "the mutations have to reach more than the parser"
    assert {line["level"] for line in server.lines} == {"info"}
    assert server.others == []
    sizes = [size_if_fast(*line) for line in zip(server.lines, server.sizes, strict=True) if _names_no_id(line[0])]
    assert len(sizes) >= statuses[False, StatusCode.INVALID_ARGUMENT]
    assert max(sizes) <= LONGEST_LINE


async def _status(method: RawMethod, channel: grpc.aio.Channel, data: bytes) -> StatusCode:
    """Return the status of a call. Bytes that are no message must be refused with details."""
    if not method.reads(data):
        failure = await refused(method.send(channel, data))
        assert failure == refusal(method)
        return failure.code
    try:
        await method.send(channel, data)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


def _names_no_id(line: dict[str, Any]) -> bool:
    """Return whether a line may be that of a call whose bytes are no message."""
    names = {"time", "level", "event", "method", "status", "reason", "duration_ms", "peer"}
    return set(line) == names and line["reason"] == "INVALID_FIELD"


def size_if_fast(line: dict[str, Any], size: int) -> int:
    """Return the size of a line, as if the call had taken less than 10 milliseconds."""
    return size - max(len(str(line["duration_ms"])) - len("9.999"), 0)
