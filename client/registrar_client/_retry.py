"""When a failed call is tried again. Pure decisions; the clients do the waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from registrar_client._enums import ErrorReason
from registrar_client.errors import RegistrarError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """How calls are repeated that failed for a reason which passes by itself.

    These are UNAVAILABLE, ABORTED with the reason CONTENTION, and RESOURCE_EXHAUSTED where the server says how long to
    wait. A repeated call carries the same ``request_id``, so the server never does anything twice. Pauses are
    random between nothing and a bound that grows ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), after the wait that the server asks for.
    """

    max_attempts: int | None = None
    """The most attempts at one call, the first included; 1 switches retries off, None leaves it to the timeout."""
    initial_backoff: float = 0.05
    """The bound of the first pause, in seconds."""
    backoff_multiplier: float = 2.0
    """How much the bound grows from pause to pause."""
    max_backoff: float = 2.0
    """The largest bound, in seconds."""

    def __post_init__(self) -> None:
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if self.initial_backoff < 0 or self.max_backoff < 0 or self.backoff_multiplier < 1:
            raise ValueError("backoffs must not be negative, and backoff_multiplier must be at least 1")


@dataclass(frozen=True, slots=True)
class Timing:
    """What a client reads of the world, so that tests can put theirs in its place."""

    now: Callable[[], float] = time.monotonic
    """Seconds, from any origin."""
    jitter: Callable[[], float] = random.random
    """From 0 up to 1."""


class Attempts:
    """The failed attempts at one call, and the pauses after them."""

    def __init__(self, options: RetryOptions, timing: Timing, deadline: float) -> None:
        self._options = options
        self._timing = timing
        self._deadline = deadline
        self._made = 0
        self._bound = min(options.initial_backoff, options.max_backoff)
        self._last: RegistrarError | None = None

    def pause_after(self, failure: RegistrarError) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is to be none."""
        self._made += 1
        pause = (failure.retry_after or 0.0) + self._timing.jitter() * self._bound
        if not self._may_repeat(failure) or self._timing.now() + pause >= self._deadline:
            self._mention_last(failure)
            return None
        self._bound = min(self._bound * self._options.backoff_multiplier, self._options.max_backoff)
        self._last = failure
        return pause

    def _may_repeat(self, failure: RegistrarError) -> bool:
        limit = self._options.max_attempts
        return is_transient(failure) and (limit is None or self._made < limit)

    def _mention_last(self, failure: RegistrarError) -> None:
        # A deadline that passes while the service is away would otherwise hide why there was no answer.
        if self._last is not None and type(self._last) is not type(failure):
            failure.add_note(f"Attempt {self._made}; the one before failed with {self._last!r}.")


def is_transient(failure: RegistrarError) -> bool:
    """Say whether the same call may succeed a little later."""
    match failure.status:
        case grpc.StatusCode.UNAVAILABLE:
            return True
        case grpc.StatusCode.ABORTED:
            # After ETAG_MISMATCH the caller has to decide anew; only losing a race for a lock passes by itself.
            return failure.reason == ErrorReason.CONTENTION
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            # Without a wait from the server it is a message that is too large, and will be again.
            return failure.retry_after is not None
        case _:
            return False
