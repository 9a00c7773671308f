"""Decides whether and when to retry a failed call. The runners do the waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from registrar_client._docstrings import documented
from registrar_client._enums import ErrorReason
from registrar_client.errors import RegistrarError


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """How the client retries transient failures.

    These are UNAVAILABLE, ABORTED with the reason CONTENTION, and RESOURCE_EXHAUSTED if the server says how long to
    wait. A retry has the same ``request_id``, so the server never makes a change twice. The client first waits as long
    as the server asks, then for a random time between 0 and a growing bound ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    max_attempts: int | None = None
    """The maximum number of attempts at a call. 1 disables retries. With ``None``, only the timeout limits them."""
    initial_backoff: float = 0.05
    """The bound of the first pause, in seconds."""
    backoff_multiplier: float = 2.0
    """The factor by which the bound grows after each pause."""
    max_backoff: float = 2.0
    """The maximum bound, in seconds."""

    def __post_init__(self) -> None:
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if self.initial_backoff < 0 or self.max_backoff < 0 or self.backoff_multiplier < 1:
            raise ValueError("backoffs must not be negative, and backoff_multiplier must be at least 1")


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock and the randomness of a client. Tests replace them."""

    now: Callable[[], float] = time.monotonic
    """Returns seconds since any fixed time."""
    jitter: Callable[[], float] = random.random
    """Returns a number from 0 up to 1."""


class Attempts:
    """Counts the failed attempts at one call and computes the pauses."""

    def __init__(
        self,
        options: RetryOptions,
        timing: Timing,
        deadline: float,
        connect_deadline: float,
        earlier: Attempts | None = None,
    ) -> None:
        """Begin to count, with the pauses as long as those of earlier attempts have grown."""
        self._options = options
        self._timing = timing
        self._deadline = deadline
        self._connect_deadline = min(deadline, connect_deadline)
        self._made = 0
        self._bound: float = earlier._bound if earlier else min(options.initial_backoff, options.max_backoff)
        self._last: RegistrarError | None = None

    def pause_after(self, failure: RegistrarError, *, reached: bool, passes: bool = False) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up.

        Args:
            failure: The failure of the last attempt.
            reached: Whether the server was ever reached. If not, the attempts end after the time to connect.
            passes: Whether the failure passes by itself, whatever it is.
        """
        self._made += 1
        may_repeat = (passes or is_transient(failure)) and not self._is_last
        pause = self._pause(failure, reached=reached) if may_repeat else None
        if pause is None:
            self._mention_last(failure)
            return None
        self._bound = min(self._bound * self._options.backoff_multiplier, self._options.max_backoff)
        self._last = failure
        return pause

    def _pause(self, failure: RegistrarError, *, reached: bool) -> float | None:
        pause = (failure.retry_after or 0.0) + self._timing.jitter() * self._bound
        left = (self._deadline if reached else self._connect_deadline) - self._timing.now()
        if pause < left:
            return pause
        # The last attempt to connect is at the end of its time, since a server may start until then.
        return left if not reached and left > 0 and self._connect_deadline < self._deadline else None

    @property
    def _is_last(self) -> bool:
        return self._options.max_attempts is not None and self._made >= self._options.max_attempts

    def _mention_last(self, failure: RegistrarError) -> None:
        # A missed deadline alone would not tell why the earlier attempts failed.
        if self._last is not None and type(self._last) is not type(failure):
            failure.add_note(f"Attempt {self._made}; the one before failed with {self._last!r}.")


def is_transient(failure: RegistrarError) -> bool:
    """Return whether the same call may succeed a little later."""
    match failure.status:
        case grpc.StatusCode.UNAVAILABLE:
            return True
        case grpc.StatusCode.ABORTED:
            # A retry helps after waiting too long for a lock. After ETAG_MISMATCH, the caller must decide again.
            return failure.reason == ErrorReason.CONTENTION
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            # If the server names no wait, the message is too large, and a retry would fail too.
            return failure.retry_after is not None
        case _:
            return False
