"""How bearers are remembered, and how the calls that present one wait together."""

from __future__ import annotations

import asyncio

import pytest

from registrar_server.errors import Refusal, database_unavailable
from registrar_server.identity import identity as identity_module
from registrar_server.identity.callers import ANYONE, Caller, Role
from registrar_server.identity.credentials import Credentials
from registrar_server.identity.identity import Identity, Verified
from registrar_server.identity.rejections import CredentialsRefused
from tests.support.api_keys import Clock

ADA = Caller("key:ada", frozenset([Role.READER]))


class Doorman:
    """Knows each bearer: those that begin with ``bad`` are refused. It can be held up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.begun = asyncio.Event()
        self.opens = asyncio.Event()
        self.opens.set()

    def takes(self, bearer: str) -> bool:
        """Return whether the bearer is one of ours."""
        return not bearer.startswith("foreign")

    async def verify(self, bearer: str, now: float) -> Verified:
        """Return the caller, for ten seconds."""
        self.asked.append(bearer)
        self.begun.set()
        await self.opens.wait()
        if self.failure:
            raise self.failure
        return Verified(CredentialsRefused("it is bad") if bearer.startswith("bad") else ADA, now + 10)


def presenting(bearer: str) -> Credentials:
    return Credentials([f"Bearer {bearer}"])


@pytest.fixture
async def doorman() -> Doorman:
    """What knows the bearers."""
    return Doorman()


@pytest.fixture
def clock() -> Clock:
    """The clock of the identity."""
    return Clock()


@pytest.fixture
def identity(doorman: Doorman, clock: Clock) -> Identity:
    """An identity that is on."""
    return Identity([doorman], is_on=True, clock=clock)


async def reason(identity: Identity, bearer: str) -> str:
    """Return the reason why a bearer is refused."""
    with pytest.raises(Refusal) as refused:
        identity.recall(presenting(bearer)) or await identity.identify(presenting(bearer))
    return refused.value.reason.value


async def test_while_identity_is_off_everyone_may_do_everything() -> None:
    identity = Identity([], is_on=False)
    assert identity.recall(presenting("any")) == identity.recall(Credentials()) == ANYONE


async def test_a_call_without_credentials_is_refused(identity: Identity) -> None:
    with pytest.raises(Refusal) as refused:
        identity.recall(Credentials())
    assert refused.value.reason == "CREDENTIALS_MISSING"


async def test_a_caller_is_remembered_until_the_given_time(identity: Identity, doorman: Doorman, clock: Clock) -> None:
    assert identity.recall(presenting("good")) is None
    assert await identity.identify(presenting("good")) == ADA
    clock.now = 9.9
    assert identity.recall(presenting("good")) == ADA
    clock.now = 10.0
    assert identity.recall(presenting("good")) is None
    assert doorman.asked == ["good"]


async def test_a_refused_bearer_is_remembered_too(identity: Identity, doorman: Doorman, clock: Clock) -> None:
    assert await reason(identity, "bad") == await reason(identity, "bad") == "CREDENTIALS_INVALID"
    assert doorman.asked == ["bad"]
    clock.now = 10.0
    await reason(identity, "bad")
    assert doorman.asked == ["bad", "bad"]


async def test_a_bearer_that_no_source_takes_is_refused(identity: Identity, doorman: Doorman) -> None:
    assert await reason(identity, "foreign") == "CREDENTIALS_INVALID"
    assert doorman.asked == []


async def test_a_bearer_that_becomes_valid_is_accepted_and_one_that_ends_is_refused(clock: Clock) -> None:
    """Each bearer has one result, the last one."""

    class Fickle:
        def takes(self, _bearer: str) -> bool:
            return True

        async def verify(self, _bearer: str, now: float) -> Verified:
            return Verified(ADA if now == 10.0 else CredentialsRefused("not now"), now + 10)

    identity = Identity([Fickle()], is_on=True, clock=clock)
    assert await reason(identity, "x") == "CREDENTIALS_INVALID"
    clock.now = 10.0
    assert await identity.identify(presenting("x")) == identity.recall(presenting("x")) == ADA
    clock.now = 20.0
    assert await reason(identity, "x") == await reason(identity, "x") == "CREDENTIALS_INVALID"


async def test_any_number_of_wrong_bearers_displaces_no_caller(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "MAX_KNOWN", 10)
    await identity.identify(presenting("good"))
    for number in range(100):
        assert await reason(identity, f"bad-{number}") == "CREDENTIALS_INVALID"
    assert identity.recall(presenting("good")) == ADA
    assert identity.recall(presenting("bad-89")) is None  # Only the last ten are remembered.
    assert await reason(identity, "bad-90") == "CREDENTIALS_INVALID"


async def test_callers_are_remembered_up_to_a_limit(
    identity: Identity, doorman: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "MAX_KNOWN", 10)
    for number in range(11):
        await identity.identify(presenting(f"good-{number}"))
    assert identity.recall(presenting("good-0")) is None
    assert identity.recall(presenting("good-1")) == ADA


async def test_forget_all_verifies_every_bearer_again(identity: Identity, doorman: Doorman) -> None:
    await identity.identify(presenting("good"))
    await reason(identity, "bad")
    identity.forget_all()
    assert identity.recall(presenting("good")) is identity.recall(presenting("bad")) is None


async def test_calls_with_the_same_bearer_are_verified_together(identity: Identity, doorman: Doorman) -> None:
    doorman.opens.clear()
    calls = [asyncio.create_task(identity.identify(presenting("good"))) for _ in range(10)]
    await doorman.begun.wait()
    doorman.opens.set()
    assert await asyncio.gather(*calls) == [ADA] * 10
    assert doorman.asked == ["good"]


async def test_a_caller_who_leaves_takes_no_other_along(identity: Identity, doorman: Doorman) -> None:
    doorman.opens.clear()
    leaving, staying = (asyncio.create_task(identity.identify(presenting("good"))) for _ in range(2))
    await doorman.begun.wait()
    leaving.cancel()
    doorman.opens.set()
    assert await staying == ADA
    assert leaving.cancelled()


async def test_a_failure_is_not_remembered(identity: Identity, doorman: Doorman) -> None:
    doorman.failure = database_unavailable()
    assert await reason(identity, "good") == "DATABASE_UNAVAILABLE"
    doorman.failure = None
    assert await identity.identify(presenting("good")) == ADA


async def test_a_failure_that_no_caller_waits_for_is_silent(identity: Identity, doorman: Doorman) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    doorman.failure = database_unavailable()
    doorman.opens.clear()
    leaving = asyncio.create_task(identity.identify(presenting("good")))
    await doorman.begun.wait()
    leaving.cancel()
    doorman.opens.set()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await reason(identity, "good") == "DATABASE_UNAVAILABLE"
    assert complaints == []


async def test_each_caller_gets_an_error_of_its_own(identity: Identity) -> None:
    """A shared error would collect the tracebacks of all calls."""
    errors = []
    for _ in range(2):
        with pytest.raises(CredentialsRefused) as refused:
            identity.recall(presenting("bad")) or await identity.identify(presenting("bad"))
        errors.append(refused.value)
    assert errors[0] is not errors[1]
    assert errors[0].cause == errors[1].cause == "it is bad"
