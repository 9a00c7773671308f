"""The bytes of the response of a batch are those that protobuf writes for a message with these results."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from registrar.v1.batch_service_pb2 import BatchWriteResponse
from registrar_server.errors import Reason, Refusal
from registrar_server.rpc import status
from registrar_server.rpc.batch_answers import MAX_MESSAGE_BYTES, BatchAnswers
from registrar_server.rpc.batch_requests import CHANGES

ANSWERS = BatchAnswers(MAX_MESSAGE_BYTES)
LENGTHS = st.sampled_from([0, 1, 100, 117, 118, 119, 120, 121, 130, 16_360, 16_370, 16_380, 16_384, 70_000])
"""Around the lengths at which a size takes one byte more."""


def answered(name: str, length: int) -> Any:
    """Return a write whose response has about so many bytes."""
    change = CHANGES[name]
    response = change.response()
    field = change.response.DESCRIPTOR.fields[0]
    if length and field.message_type and not field.is_repeated:
        resource = getattr(response, field.name)
        setattr(
            resource, next(one.name for one in resource.DESCRIPTOR.fields if one.name.endswith("_id")), "x" * length
        )
    return SimpleNamespace(method=change, refused=None, response=response.SerializeToString())


def refused(message: str) -> Any:
    """Return a write that was refused."""
    return SimpleNamespace(refused=status.of_refusal(Refusal(Reason.COURSE_FULL, message, course_id="c-1")))


WRITES = st.lists(
    st.builds(answered, st.sampled_from(list(CHANGES)), LENGTHS) | st.builds(refused, st.text(max_size=200)), max_size=8
)


def expected(writes: Sequence[Any], *, errors_only: bool) -> BatchWriteResponse:
    """Return the response of writes, made field by field."""
    response = BatchWriteResponse()
    names = {change: name for name, change in CHANGES.items()}
    for write in writes:
        result = response.results.add()
        if write.refused:
            response.refused_count += 1
            result.error.CopyFrom(write.refused.message)
        elif not errors_only:
            message = getattr(result, names[write.method])
            message.SetInParent()
            message.MergeFromString(write.response)
    return response


@given(WRITES, st.booleans())
def test_bytes_of_results(writes: Sequence[Any], errors_only: bool) -> None:
    """They are the same, whatever the writes answered and however long that is."""
    packed, summary = ANSWERS.results(writes, errors_only=errors_only)
    message = expected(writes, errors_only=errors_only)
    assert packed + summary.SerializeToString() == message.SerializeToString()
    assert summary.refused_count == message.refused_count
