"""Tokens of any length: the longest one that the server takes always gets through, and longer ones are wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar_server.identity.tokens import MAX_CHARACTERS
from tests.support.doors import DOORS, Door, entering
from tests.support.identities import identifying
from tests.support.servers import Log, calling
from tests.support.tokens import Issuer

CAMPUS = Issuer()
OFTEN = 100
"""So many calls find a refusal at random: gRPC's own limits refuse one call in fifteen if they are near."""


def longest(limit: int) -> str:
    """Return the longest token of at most so many characters."""
    usual = (limit - len(token(""))) * 3 // 4
    found = (token("x" * (usual + more)) for more in range(-4, 4))
    return max((one for one in found if len(one) <= limit), key=len)


def token(padding: str) -> str:
    return CAMPUS.token(roles=["reader"], registrar_on_behalf_of=True, padding=padding)


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """A server that takes tokens, over gRPC and over HTTP."""
    keys = CAMPUS.write_keys(tmp_path / "keys.json")
    async with entering(request.param, sqlite_url, **CAMPUS.settings(keys)) as opened:
        yield opened


async def test_the_longest_token_gets_through_each_time(door: Door) -> None:
    """Also beside the longest name of a person, and what else callers send."""
    bearer = longest(MAX_CHARACTERS)
    assert len(bearer) >= MAX_CHARACTERS - 1
    for _ in range(OFTEN):
        await door.made(bearer, "SearchCourses", behalf="x" * 128)


@pytest.mark.parametrize("length", [MAX_CHARACTERS + 8, 12_000, 15_000])
async def test_longer_tokens_are_wrong_credentials_each_time(door: Door, length: int) -> None:
    bearer = longest(length)
    assert len(bearer) > MAX_CHARACTERS
    for _ in range(OFTEN):
        assert (await door.refused(bearer, "SearchCourses")).reason == "CREDENTIALS_INVALID"


async def test_a_huge_bearer_is_refused_before_it_is_a_call(sqlite_url: str, log: Log) -> None:
    """It is refused by gRPC itself, each time. The message has only its size, and the connection goes on."""
    huge = longest(50_000)
    async with identifying(sqlite_url) as server, calling(server.address) as registrar:
        for bearer, code in ((huge, StatusCode.RESOURCE_EXHAUSTED), ("nobody", StatusCode.PERMISSION_DENIED)) * 3:
            with pytest.raises(AioRpcError) as refused:
                await registrar.courses.SearchCourses(
                    SearchCoursesRequest(), metadata=(("authorization", f"Bearer {bearer}"),)
                )
            assert refused.value.code() is code
            assert huge[:8] not in str(refused.value.details())
    assert {line["actor"] for line in log.of("rpc")} == {"test:nobody"}
