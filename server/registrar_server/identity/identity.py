"""Finds the caller of each call: by an API key, a token or a certificate."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import NamedTuple, Protocol

from registrar_server.identity.callers import ANYONE, Caller
from registrar_server.identity.credentials import Credentials
from registrar_server.identity.rejections import CredentialsRefused, credentials_missing

MAX_KNOWN = 10_000
"""The most bearers whose callers are remembered, and the most refused ones."""


class Verified(NamedTuple):
    """The caller of a bearer, or why there is none, and until when that may be remembered."""

    caller: Caller | CredentialsRefused
    until: float
    """In the time of the clock of ``Identity``."""


class Bearers(Protocol):
    """Knows one kind of bearer."""

    def takes(self, bearer: str) -> bool:
        """Return whether a bearer is of this kind."""

    async def verify(self, bearer: str, now: float) -> Verified:
        """Find the caller of a bearer. Raises DATABASE_UNAVAILABLE if that cannot be known now."""


class Identity:
    """Identifies callers while it ``is_on``; while it is not, everyone may do everything. Tests may inject the clock.

    A bearer decides alone: the certificate of a caller counts only without one.
    """

    def __init__(
        self,
        bearers: list[Bearers],
        of_certificate: Callable[[Sequence[str]], Caller] | None = None,
        *,
        is_on: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_on = is_on
        self._bearers = bearers
        self._of_certificate = of_certificate
        self._clock = clock
        self._known: OrderedDict[bytes, Verified] = OrderedDict()
        # Refused bearers are remembered apart, so that any number of them displaces no caller.
        self._refused: OrderedDict[bytes, Verified] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Verified]] = {}

    def recall(self, credentials: Credentials) -> Caller | None:
        """Return the caller if that needs no waiting, else None. Raises a ``Refusal`` for wrong credentials."""
        if not self.is_on:
            return ANYONE
        if not credentials.authorizations:
            return self._by_certificate(credentials)
        digest = _digest(credentials)
        known = self._known.get(digest) or self._refused.get(digest)
        if known is None or known.until <= self._clock():
            return None
        return _caller(known)

    def remembers_for(self, credentials: Credentials) -> float:
        """Return for how many seconds ``recall`` knows the caller; infinite if it needs no memory."""
        known = self._known.get(_digest(credentials)) if self.is_on and credentials.authorizations else None
        return known.until - self._clock() if known else math.inf

    async def find(self, credentials: Credentials) -> Caller:
        """Return the caller with the person for whom the call is made. Raises the refusals of ``identify``."""
        return credentials.on_behalf(self.recall(credentials) or await self.identify(credentials))

    async def identify(self, credentials: Credentials) -> Caller:
        """Return the caller. Raises CREDENTIALS_INVALID, or DATABASE_UNAVAILABLE if that cannot be known now."""
        bearer, digest = credentials.bearer, _digest(credentials)
        asked = self._asked.get(digest)
        if asked is None:  # Calls with the same bearer wait together.
            asked = self._asked[digest] = asyncio.create_task(self._verify(digest, bearer))
            asked.add_done_callback(partial(self._end, digest))
        try:
            return _caller(await asyncio.shield(asked))
        finally:
            # The traceback of a failure keeps this frame. If the frame kept the task, which has the failure, they and
            # the call would stay in memory until a garbage collection.
            del asked

    def forget_all(self) -> None:
        """Verify every bearer again before its next call."""
        self._known.clear()
        self._refused.clear()

    def _end(self, digest: bytes, asked: asyncio.Task[Verified]) -> None:
        self._asked.pop(digest, None)
        if not asked.cancelled():
            asked.exception()  # If all callers have left, asyncio would log that nobody has seen it.

    async def _verify(self, digest: bytes, bearer: str) -> Verified:
        now = self._clock()
        for bearers in self._bearers:
            if bearers.takes(bearer):
                verified = await bearers.verify(bearer, now)
                self._remember(digest, verified)  # At once, so that ``forget_all`` never comes before.
                return verified
        return Verified(CredentialsRefused("the server takes no bearer of this kind"), now)

    def _remember(self, digest: bytes, verified: Verified) -> None:
        known, other = self._known, self._refused
        if isinstance(verified.caller, CredentialsRefused):
            known, other = other, known
        other.pop(digest, None)
        if verified.until > self._clock():
            known[digest] = verified
            known.move_to_end(digest)
            while len(known) > MAX_KNOWN:
                known.popitem(last=False)

    def _by_certificate(self, credentials: Credentials) -> Caller:
        names = credentials.certificate_names() if self._of_certificate else None
        if names is None or self._of_certificate is None:
            raise credentials_missing()
        return self._of_certificate(names)


def _digest(credentials: Credentials) -> bytes:
    """Return what stands for a bearer in memory. The whole header needs no check before it is known to be right."""
    return sha256("\n".join(credentials.authorizations).encode(errors="surrogatepass")).digest()


def _caller(verified: Verified) -> Caller:
    if isinstance(verified.caller, CredentialsRefused):
        raise CredentialsRefused(verified.caller.cause)  # Each caller gets an error of its own, with its own traceback.
    return verified.caller
