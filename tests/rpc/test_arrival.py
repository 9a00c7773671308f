"""A call from its arrival to its outcome, when its caller leaves at an unlucky moment or its line cannot be logged."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any, cast

import pytest

from registrar.v1.student_service_pb2 import GetStudentRequest, GetStudentResponse
from registrar_server.identity.identity import Identity
from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.endpoint import Endpoints, Entrance, Intake
from registrar_server.rpc.methods import Method
from tests.support.servers import Log

GET_STUDENT = Method(GetStudentRequest, GetStudentResponse)
FOUND = Answer(b"", message=GetStudentResponse())


if TYPE_CHECKING:
    from registrar_server.rpc.watchers import Watchers


class Context:
    """The context of a call without a deadline."""

    def peer(self) -> str:
        return "test:1"

    def time_remaining(self) -> None:
        return None

    async def abort_with_status(self, status: Any) -> None:
        raise RuntimeError(status.code.name)


class Place:
    """The place of a call in a queue, which refers to the call as the places of the server do."""

    stopwatch = None

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def leave(self) -> bool:
        """Give the call up before it begins."""
        return False


async def started() -> tuple[asyncio.Task[bytes], Arrival]:
    """Start a call that waits for its outcome."""
    opened: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
    intake, no_watchers = Intake(lambda arrivals: opened.set_result(arrivals[0])), cast("Watchers", None)
    endpoints = Endpoints(Entrance(intake, no_watchers, Identity([], is_on=False)), slow_call=60)
    context: Any = Context()
    running = asyncio.ensure_future(endpoints.handler(GET_STUDENT).handle((), b"", context))
    arrival = await opened
    arrival.entry = Place(arrival)
    return running, arrival


async def test_a_caller_who_leaves_just_when_the_outcome_is_there_is_logged_once(log: Log) -> None:
    running, arrival = await started()
    arrival.end(FOUND)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [line["status"] for line in log.of("rpc")] == ["OK"]


async def test_an_outcome_for_a_caller_who_has_left_is_not_logged(log: Log) -> None:
    running, arrival = await started()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    arrival.end(FOUND)
    assert [line["status"] for line in log.of("rpc")] == ["CANCELLED"]


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("outcome", [FOUND, None], ids=["answered", "left"])
async def test_a_call_that_is_over_leaves_no_cycle(outcome: Outcome | None) -> None:
    gc.collect()
    gc.disable()
    try:
        running, arrival = await started()
        place = weakref.ref(arrival.entry)
        if outcome is None:
            running.cancel()
        else:
            arrival.end(outcome)
        del arrival
        await asyncio.wait([running])
        del running
        assert place() is None
    finally:
        gc.enable()


async def test_an_answer_whose_line_cannot_be_logged_is_an_error_with_an_id(log: Log) -> None:
    """Whatever fails at the end of a call, its caller gets an answer."""
    running, arrival = await started()
    arrival.end(Answer(b"\xff"))  # A stored response that is no message of this version.
    with pytest.raises(RuntimeError, match="INTERNAL"):
        await asyncio.wait_for(running, 5)
    (line,) = log.of("rpc")
    assert line["status"] == "INTERNAL"
    assert log.of("rpc_crashed", error_id=line["error_id"])
