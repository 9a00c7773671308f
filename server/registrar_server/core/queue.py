"""The waitlists of courses: the waiters, their order and positions, and those that need no second judgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from registrar_server.core.records import Enrollment


class OutOfWaiters(Exception):
    """A decision needs more waiters than were loaded; the ledger runs the batch again with more of them."""

    def __init__(self, course_id: str) -> None:
        super().__init__(course_id)
        self.course_id = course_id


class Queue:
    """The waiters of a course, in the order of their numbers, as the batch has left them so far.

    Only the first waiters are loaded, as many as may be promoted. The queue knows whether all waiters are loaded.
    """

    def __init__(self, course_id: str) -> None:
        self._course_id = course_id
        self._waiters: dict[int, Enrollment] = {}
        self._is_whole = False
        self._in_order = True
        self._positions: dict[int, int] = {}
        self._left: list[int] = []
        self._hidden = 0
        self.needed = 0
        """The number of first waiters that decisions have looked at."""

    def load(self, waiters: Iterable[Enrollment], length: int) -> None:
        """Add the first waiters, or all of them; ``length`` is the number of students who wait for the course."""
        self._waiters.update((waiter.number, waiter) for waiter in waiters)
        # Without locks, as in a preview, the queue may have grown since the course was read.
        self._is_whole = self._is_whole or len(self._waiters) >= length

    def load_position(self, waiter: Enrollment) -> None:
        """Remember the position at which a waiter was loaded."""
        self._positions.setdefault(waiter.number, waiter.waitlist_position)

    def waiters(self, length: int) -> Iterator[Enrollment]:
        """Yield the waiters in order; raise ``OutOfWaiters`` after the last loaded one if more of them wait."""
        if not self._in_order:
            self._waiters = dict(sorted(self._waiters.items()))
            self._in_order = True
        for needed, waiter in enumerate(self._waiters.values(), len(self._left) + self._hidden + 1):
            self.needed = needed
            yield waiter
        if length and not self._is_whole:
            raise OutOfWaiters(self._course_id)

    def join(self, enrollment: Enrollment, length: int) -> None:
        """Add a newcomer after the ``length`` students who wait already."""
        self._is_whole = self._is_whole or not length
        # Keep the newcomer only if all waiters are loaded. Otherwise a decision that gets that far raises OutOfWaiters.
        if self._is_whole:
            self._waiters[enrollment.number] = enrollment
        enrollment.waitlist_position = length + 1
        self._positions[enrollment.number] = length + 1 + len(self._left)

    def leave(self, enrollment: Enrollment) -> None:
        """Remove a waiter."""
        self._waiters.pop(enrollment.number, None)
        self._left.append(enrollment.number)
        enrollment.waitlist_position = 0

    def hide(self, waiter: Enrollment) -> None:
        """Leave a waiter out of ``waiters``; the position stays."""
        del self._waiters[waiter.number]
        self._hidden += 1

    def show(self, waiter: Enrollment) -> None:
        """Undo ``hide``, unless the waiter has left."""
        self._hidden -= 1
        if waiter.waits:
            self._waiters[waiter.number] = waiter
            self._in_order = False

    def position(self, enrollment: Enrollment) -> int:
        """Return a waiter's position: the loaded one, less the number of those ahead who left in this batch."""
        return self._positions[enrollment.number] - sum(number < enrollment.number for number in self._left)


class Queues:
    """The queues of a batch's courses.

    A blocked waiter was judged in this batch, and nothing has changed since that the rules depend on. Another judgement
    would have the same result, so the queue leaves the waiter out.
    """

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._blocked: defaultdict[str, list[Enrollment]] = defaultdict(list)

    def of(self, course_id: str) -> Queue:
        """Return the queue of a course."""
        queue = self._queues.get(course_id)
        if queue is None:
            queue = self._queues[course_id] = Queue(course_id)
        return queue

    def block(self, waiter: Enrollment) -> None:
        """Note that the rules refuse a waiter, and that the history says so."""
        self.of(waiter.course_id).hide(waiter)
        self._blocked[waiter.student_id].append(waiter)

    def unblock(self, student_id: str) -> None:
        """Note that something has changed that a judgement of the student depends on."""
        for waiter in self._blocked.pop(student_id, ()):
            self.of(waiter.course_id).show(waiter)

    def unblock_all(self) -> None:
        """Note that something has changed that the judgement of any student may depend on."""
        for student_id in list(self._blocked):
            self.unblock(student_id)
