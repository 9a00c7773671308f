"""The sweep: finds the courses that have waiters and a free seat, and settles them.

Most changes settle their course at once. The sweep catches the others, such as a hold that is released, a conflict that
is dropped in another course, or a window that opens. It runs beside callers and yields to them. It remembers courses
whose waiters the rules refuse. Several servers may sweep one database at once; each has its own memory.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from registrar_server.core.commands import Settle
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.batching import Lanes
from registrar_server.ledger.calls import Answer, Call, NoResponse
from registrar_server.ledger.event_lines import log_events
from registrar_server.ledger.unsettled import Memory, Unsettled

SWEEPER = "system:sweep"
"""The caller of the sweep's commands, and so the actor of their events."""
MAX_IN_FLIGHT = 16
"""The most commands of the sweep that wait or run at the same time."""

_REPORTED = frozenset({Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.DATABASE_UNAVAILABLE})
"""The reasons of refusals that other log lines report."""
_ENDS_ROUND = _REPORTED | {Reason.CONTENTION}

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
    ) -> None:
        self._find = find
        self._lanes = lanes
        self._choose = choose
        self._memory = Memory()

    async def run(self) -> Swept:
        """Settle each course that has waiters and a free seat once, and return and log what changed.

        A course that was settled without an error is not settled again until something changes that the rules depend
        on. The round begins with a random course, so that rounds that end early do not always reach the same courses.
        It ends early if the server is overloaded or stopping, if the database does not answer, or if others hold the
        locks of a course for too long. Raises the error if
        the courses cannot be found.
        """
        found = await self._find(self._memory)
        left = deque(found.courses)
        if left:
            left.rotate(-self._choose(len(left)))
        settled: dict[str, Swept] = {}
        async with asyncio.TaskGroup() as group:
            for _ in range(min(MAX_IN_FLIGHT, len(left))):
                group.create_task(self._settle_all(left, settled))
        self._memory = found.memory.and_settled(settled)
        swept = Swept(*map(sum, zip(Swept(0, 0), *settled.values(), strict=True)))
        if swept.courses:
            log.info("courses_settled", courses=swept.courses, promoted=swept.promoted)
        return swept

    async def _settle_all(self, left: deque[str], settled: dict[str, Swept]) -> None:
        """Settle one course after the other until none is left, and note what changed in each."""
        while left:
            course_id = left.popleft()
            try:
                settled[course_id] = await self._settle(course_id)
            except Exception as error:
                if _ends_round(error):
                    left.clear()
                if not _is_expected(error):
                    log.warning("course_not_settled", course_id=course_id, error=str(error))

    async def _settle(self, course_id: str) -> Swept:
        """Settle a course, log the events, and return what changed."""
        call = Call(Settle(course_id, reserve_completed=True), _no_response, caller=SWEEPER)
        answer = await self._lanes.submit(call, behind=True)
        log_events(answer.events)
        promoted = sum(event.type is EventType.STUDENT_PROMOTED for event in answer.events)
        return Swept(bool(answer.events), promoted)


def _no_response(_promoted: object) -> NoResponse:
    return NoResponse()


def _ends_round(error: Exception) -> bool:
    return isinstance(error, Refusal) and error.reason in _ENDS_ROUND


def _is_expected(error: Exception) -> bool:
    """Return whether other log lines report an error, or the course was deleted meanwhile."""
    return isinstance(error, Refusal) and error.reason in (*_REPORTED, Reason.COURSE_NOT_FOUND)
