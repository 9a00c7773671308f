"""Callers for tests: servers that take bearers which say in words who calls, and stubs that send them.

``registrar``, ``admin+override+on_behalf_of``, ``student:s-1``, ``reader+student:s-1`` and ``nobody`` are callers with
these roles and permissions, and ``admin@ann`` is the same as ``admin`` with another name. An actor is ``test:`` and the
bearer. ``student`` is a student without a ``student_id``, and ``nobody`` has no role. Any other bearer is wrong.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from registrar_server.app import Server, start
from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.identity.identity import Bearers, Verified
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.rpc.watchers import WATCH_TIMES
from tests.support.servers import OPTIONS, Registrar, over, settings

WRONG = "a-bearer-that-nobody-knows"
CAUSE = "no caller of the tests"
"""What the log says of a wrong bearer."""

_WORDS = {role.value for role in Role} | {permission.value for permission in Permission} | {"nobody"}
_BEARER = re.compile(rf"(?:{'|'.join(_WORDS)})(?::[^@+]+)?(?:\+(?:{'|'.join(_WORDS)})(?::[^@+]+)?)*(?:@.+)?")


class SpokenBearers:
    """Knows bearers that say in words who calls."""

    def takes(self, bearer: str) -> bool:
        """Return whether the bearer consists of words that mean a caller, or is the wrong one."""
        return bearer == WRONG or _BEARER.fullmatch(bearer) is not None

    async def verify(self, bearer: str, now: float) -> Verified:
        """Return the caller that the words mean."""
        return Verified(CredentialsRefused(CAUSE) if bearer == WRONG else caller_of(bearer), now + 30)


def caller_of(bearer: str) -> Caller:
    """Return the caller that a bearer means."""
    words = dict(word.partition(":")[::2] for word in bearer.partition("@")[0].split("+"))
    roles = [role for role in Role if role in words]
    permissions = frozenset(permission for permission in Permission if permission in words)
    return Caller(f"test:{bearer}", with_contained(roles), permissions, words.get(Role.STUDENT, ""))


@contextlib.asynccontextmanager
async def identifying(database_url: str, *more: Bearers, **others: Any) -> AsyncIterator[Server]:
    """Run a server that identifies its callers; ``more`` know other bearers.

    ``clock`` and ``times`` among ``others`` are those of ``serving``.
    """
    clock, times = others.pop("clock", time.monotonic), others.pop("times", WATCH_TIMES)
    chosen = settings(database_url, **{"identity": "required", **others})
    server = await start(chosen, bearers=(SpokenBearers(), *more), clock=clock, times=times)
    try:
        yield server
    finally:
        await server.stop(grace=0)


@contextlib.asynccontextmanager
async def calling_as(address: str, bearer: str, *, on_behalf_of: str = "") -> AsyncIterator[Registrar]:
    """Return stubs that send a bearer with each call over a new connection."""
    sent = [("authorization", f"Bearer {bearer}")] if bearer else []
    if on_behalf_of:
        sent.append(("registrar-on-behalf-of", on_behalf_of))
    async with grpc.aio.insecure_channel(address, OPTIONS, interceptors=[_Sending(sent)]) as channel:
        yield over(channel)


class _Sending(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds metadata to every call."""

    def __init__(self, sent: list[tuple[str, str]]) -> None:
        self._sent = sent

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Send a call with the metadata."""
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self._sent)
        return await continuation(details._replace(metadata=metadata), request)
