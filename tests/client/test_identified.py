"""Both clients and a real server that identifies its callers: who did what, on whose behalf, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from registrar_client import (
    BatchFailed,
    CredentialsInvalid,
    CredentialsMissing,
    RequestIdReused,
    RoleRequired,
    writes,
)
from registrar_server.identity.callers import Caller as Identified
from registrar_server.identity.callers import Permission, Role, with_contained
from registrar_server.identity.identity import Verified
from registrar_server.identity.rejections import CredentialsRefused
from tests.support.both_clients import CALLERS, Caller
from tests.support.client_samples import REQUEST_ID
from tests.support.servers import serving

Connect = Callable[..., contextlib.AbstractAsyncContextManager[Caller]]


class Staff:
    """Knows some tokens. They are never remembered, so that a revoked one is refused at once."""

    def __init__(self) -> None:
        on_behalf = frozenset([Permission.ON_BEHALF_OF])
        self.callers = {
            "sis": Identified("key:sis", with_contained([Role.ADMIN]), on_behalf),
            "registry": Identified("key:registry", with_contained([Role.ADMIN]), on_behalf),
            "portal": Identified("key:portal", with_contained([Role.READER])),
        }

    def takes(self, _bearer: str) -> bool:
        return True

    async def verify(self, bearer: str, now: float) -> Verified:
        return Verified(self.callers.get(bearer) or CredentialsRefused("not known"), now)


@pytest.fixture
def staff() -> Staff:
    return Staff()


@pytest.fixture(params=CALLERS)
async def connect(request: pytest.FixtureRequest, staff: Staff, sqlite_url: str) -> AsyncIterator[Connect]:
    """Opens clients of one kind to a server that identifies its callers. The test runs once for each."""
    async with serving(sqlite_url, identity="required") as server:
        server._sources.identity._bearers.append(staff)
        async with CALLERS[request.param](server.address, token="sis") as calling:
            await calling("courses.create", course_id="CS-101")
            await calling("students.create", student_id="s-1")
            await calling("students.create", student_id="s-2")
        yield lambda **options: CALLERS[request.param](server.address, **options)


async def named(calling: Caller, **filters: Any) -> list[tuple[str, str, str]]:
    """Return the student, the actor and the person of each enrollment in the history."""
    events = await calling("history.list", course_id="CS-101", **filters)
    return [(each.student_id, each.actor, each.on_behalf_of) for each in events if each.student_id]


async def test_a_call_without_a_token_is_refused(connect: Connect) -> None:
    async with connect() as calling:
        with pytest.raises(CredentialsMissing):
            await calling("courses.get", course_id="CS-101")


async def test_a_call_with_a_wrong_token_is_refused(connect: Connect) -> None:
    async with connect(token="stranger") as calling:
        with pytest.raises(CredentialsInvalid) as refused:
            await calling("courses.get", course_id="CS-101")
    assert "stranger" not in str(refused.value)


async def test_a_client_goes_on_with_the_newest_token(connect: Connect, staff: Staff) -> None:
    tokens = ["sis"]
    async with connect(token=lambda: tokens[-1]) as calling:
        await calling("courses.get", course_id="CS-101")
        staff.callers["sis-2"] = staff.callers.pop("sis")
        with pytest.raises(CredentialsInvalid):
            await calling("courses.get", course_id="CS-101")
        tokens.append("sis-2")
        await calling("courses.get", course_id="CS-101")


async def test_a_refusal_names_the_role_that_the_call_needs(connect: Connect) -> None:
    async with connect(token="portal") as calling:
        with pytest.raises(RoleRequired) as refused:
            await calling("enroll", student_id="s-1", course_id="CS-101")
        assert refused.value.role == "registrar"
        with pytest.raises(BatchFailed) as failed:
            await calling("batch", [writes.enroll(student_id="s-1", course_id="CS-101"), writes.students.create()])
    refusals = failed.value.errors.values()
    assert [one.role for one in refusals if isinstance(one, RoleRequired)] == ["registrar", "admin"]


async def test_acting_on_behalf_of_others_needs_a_permission(connect: Connect) -> None:
    async with connect(token="portal", on_behalf_of="dean") as calling:
        with pytest.raises(RoleRequired) as refused:
            await calling("courses.get", course_id="CS-101")
        assert refused.value.role == "on_behalf_of"
        assert (await calling("courses.get", course_id="CS-101", on_behalf_of="")).course_id == "CS-101"


async def test_the_history_names_the_caller_and_the_person(connect: Connect) -> None:
    async with connect(token="sis", on_behalf_of="dean") as calling:
        await calling("enroll", student_id="s-1", course_id="CS-101")
        await calling("enroll", student_id="s-2", course_id="CS-101", on_behalf_of="Ada Lovelace")
        assert await named(calling) == [("s-1", "key:sis", "dean"), ("s-2", "key:sis", "Ada Lovelace")]
        assert await named(calling, on_behalf_of="dean") == [("s-1", "key:sis", "dean")]
        assert await named(calling, actor="key:sis", on_behalf_of="nobody") == []


@pytest.mark.parametrize("many", ["batch", "bulk"])
async def test_many_changes_are_made_on_behalf_of_one_person(connect: Connect, many: str) -> None:
    enrolls = [writes.enroll(student_id=student_id, course_id="CS-101") for student_id in ("s-1", "s-2")]
    async with connect(token="sis") as calling:
        await calling(many, enrolls, on_behalf_of="dean")
        assert await named(calling) == [("s-1", "key:sis", "dean"), ("s-2", "key:sis", "dean")]


async def test_a_request_id_belongs_to_the_person_too(connect: Connect) -> None:
    same = {"student_id": "s-1", "course_id": "CS-101", "request_id": REQUEST_ID}
    async with connect(token="sis") as calling:
        enrolled = await calling("enroll", **same, on_behalf_of="dean")
        assert await calling("enroll", **same, on_behalf_of="dean") == enrolled
        with pytest.raises(RequestIdReused):
            await calling("enroll", **same, on_behalf_of="advisor")


async def test_a_load_is_continued_by_the_same_caller(connect: Connect) -> None:
    """Another caller knows nothing of what was made."""
    source = [writes.students.create(given_name="Ada")]
    for token, created in (("sis", 1), ("sis", 1), ("registry", 2)):
        async with connect(token=token) as calling:
            report = await calling("bulk", source, operation_id=REQUEST_ID)
            assert (report.done, report.refused) == (1, {})
            assert len(await calling("students.list", query="Ada")) == created
    async with connect(token="sis") as calling:
        report = await calling("bulk", source, operation_id=REQUEST_ID, on_behalf_of="dean")
    assert report.refused == {"REQUEST_ID_REUSED": 1}
