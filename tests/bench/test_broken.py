"""Broken messages: bytes that are no message, the same in each run."""

from __future__ import annotations

from itertools import islice

import pytest
from google.protobuf.message import DecodeError, Message

from bench import broken
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar_server.rpc.services import SERVICE_NAMES

RPCS = broken.rpcs()


def some(path: str, seed: str = "1") -> list[bytes]:
    return list(islice(broken.messages(RPCS[path], seed), 50))


def test_all_services_and_both_versions_of_reflection_get_them() -> None:
    services = {path.split("/")[1] for path in RPCS}
    assert services == {
        *SERVICE_NAMES,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize(("path", "kind"), RPCS.items(), ids=RPCS)
def test_no_message_can_be_parsed(path: str, kind: type[Message]) -> None:
    for message in some(path):
        with pytest.raises(DecodeError):
            kind.FromString(message)


def test_they_are_the_same_in_each_run() -> None:
    path = next(iter(RPCS))
    assert some(path) == some(path)
    assert some(path) != some(path, seed="2")


def test_they_are_made_from_messages_with_a_value_in_every_field() -> None:
    request = broken.filled(CreateCourseRequest)
    assert [field.name for field, _ in request.ListFields()] == [field.name for field in request.DESCRIPTOR.fields]
