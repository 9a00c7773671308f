"""The sweep: finds the courses that have waiters and a free seat, and settles them.

Most changes settle their course at once. The sweep catches the others, such as a hold that is released, a conflict that
is dropped in another course, or a window that opens. It runs beside callers and yields to them. It remembers courses
whose waiters the rules refuse. Several servers may sweep one database at once; each has its own memory.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from registrar_server.core.commands import Settle
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.batching import Lanes
from registrar_server.ledger.event_lines import log_events
from registrar_server.ledger.ledger import Answer, Call, NoResponse
from registrar_server.ledger.unsettled import Memory, Unsettled

SWEEPER = "system:sweep"
"""The caller of the sweep's commands, and so the actor of their events."""
MAX_IN_FLIGHT = 16
"""The most commands of the sweep that wait or run at the same time."""
PATIENCE_S = 10.0
"""How long the sweep waits for one course; longer than a transaction waits for a lock."""

_ENDS_ROUND = frozenset({Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.DATABASE_UNAVAILABLE})

log = structlog.get_logger()


class Swept(NamedTuple):
    """What a round changed: the courses with a promotion or a skip, and the promoted waiters."""

    courses: int
    promoted: int


class Sweep:
    """Settles the courses that ``find`` returns, through the lanes. Tests may inject the choice of the first course.

    ``find`` gets what the sweep remembers of the rounds before.
    """

    def __init__(
        self,
        find: Callable[[Memory], Awaitable[Unsettled]],
        lanes: Lanes[Call, Answer],
        *,
        choose: Callable[[int], int] = random.randrange,
        patience: float = PATIENCE_S,
    ) -> None:
        self._find = find
        self._lanes = lanes
        self._choose = choose
        self._patience = patience
        self._memory = Memory()

    async def run(self) -> Swept:
        """Settle each course that has waiters and a free seat once, and return and log what changed.

        A course that was settled without an error is not settled again until something changes that the rules depend
        on. The round begins with a random course, so that rounds that end early do not always reach the same courses.
        It ends early if the server is overloaded or stopping, or if the database does not answer. Raises the error if
        the courses cannot be found.
        """
        found = await self._find(self._memory)
        left = deque(found.courses)
        if left:
            left.rotate(-self._choose(len(left)))
        settled: dict[str, Sequence[Event]] = {}
        async with asyncio.TaskGroup() as group:
            for _ in range(min(MAX_IN_FLIGHT, len(left))):
                group.create_task(self._settle_all(left, settled))
        self._memory = found.memory.and_settled(settled)
        return _report(settled.values())

    async def _settle_all(self, left: deque[str], settled: dict[str, Sequence[Event]]) -> None:
        """Settle one course after the other until none is left, and collect the events by course."""
        while left:
            course_id = left.popleft()
            try:
                settled[course_id] = await self._settle(course_id)
            except Exception as error:
                if _ends_round(error):
                    left.clear()
                if not _is_expected(error):
                    log.warning("course_not_settled", course_id=course_id, error=str(error) or type(error).__name__)

    async def _settle(self, course_id: str) -> Sequence[Event]:
        """Settle a course, and return and log the events; raises TimeoutError after the sweep's patience."""
        call = Call(Settle(course_id, reserve_completed=True), _no_response, NoResponse, caller=SWEEPER)
        submission = self._lanes.enter(call, behind=True)
        try:
            async with asyncio.timeout(self._patience):
                answer = await submission.result()
        except (asyncio.CancelledError, TimeoutError):
            # If its batch has begun, the course may still settle.
            submission.leave_to(_log_late)
            raise
        log_events(answer.events)
        return answer.events


def _report(settled: Iterable[Sequence[Event]]) -> Swept:
    """Return and log what a round changed, given the events of each course."""
    changes = list(filter(None, settled))
    promoted = sum(event.type is EventType.STUDENT_PROMOTED for events in changes for event in events)
    swept = Swept(len(changes), promoted)
    if swept.courses:
        log.info("courses_settled", courses=swept.courses, promoted=swept.promoted)
    return swept


def _no_response(_promoted: object) -> NoResponse:
    return NoResponse()


def _log_late(outcome: Answer | Exception | None) -> None:
    """Log the events of a course that settles after the sweep has stopped to wait for it."""
    if isinstance(outcome, Answer):
        log_events(outcome.events)


def _ends_round(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or (isinstance(error, Refusal) and error.reason in _ENDS_ROUND)


def _is_expected(error: Exception) -> bool:
    """Return whether other log lines report an error, or the course was deleted meanwhile."""
    return isinstance(error, Refusal) and error.reason in (*_ENDS_ROUND, Reason.COURSE_NOT_FOUND)
