"""The queue of one course: positions, newcomers, and queues of which only the first waiters are loaded."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from registrar_server.core.queue import OutOfWaiters, Queue
from registrar_server.core.records import Enrollment
from tests.support.states import enrollment
from tests.support.waitlists import letters


def waiters(students: str, first_number: int = 1) -> list[Enrollment]:
    """Return waiters with consecutive numbers, at positions from 1."""
    return [
        enrollment(letter, "WAITLISTED", number, waitlist_position=position)
        for position, (number, letter) in enumerate(enumerate(students, first_number), 1)
    ]


def loaded_queue(loaded: Iterable[Enrollment], length: int) -> Queue:
    """Return a queue of ``length`` waiters; only these are loaded."""
    queue = Queue("c-1")
    loaded = list(loaded)
    for waiter in loaded:
        queue.load_position(waiter)
    queue.load(loaded, length)
    return queue


class TestWaiters:
    """The queue yields its waiters in order."""

    def test_a_whole_queue_ends(self) -> None:
        """A queue that is loaded to its end yields all waiters."""
        assert letters(loaded_queue(waiters("abc"), 3).waiters(3)) == "abc"

    def test_a_new_queue_is_empty(self) -> None:
        """A queue without waiters yields nothing."""
        assert list(Queue("c-1").waiters(0)) == []

    def test_the_first_waiters_come_before_the_error(self) -> None:
        """A queue of which only the first waiters are loaded yields them, then raises ``OutOfWaiters``."""
        found = loaded_queue(waiters("ab"), 3).waiters(3)
        assert [next(found).student_id, next(found).student_id] == ["a", "b"]
        with pytest.raises(OutOfWaiters) as error:
            next(found)
        assert error.value.course_id == "c-1"

    def test_loading_the_others_completes_the_queue(self) -> None:
        """A second load adds the later waiters."""
        first, second, third = waiters("abc")
        queue = loaded_queue([first, second], 3)
        queue.load([third], 3)
        assert letters(queue.waiters(3)) == "abc"

    def test_a_queue_longer_than_its_count_is_whole(self) -> None:
        """A preview may load more waiters than the course counted a moment before."""
        assert letters(loaded_queue(waiters("abc"), 2).waiters(2)) == "abc"


class TestJoin:
    """A newcomer joins at the end."""

    def test_an_empty_queue(self) -> None:
        """The first waiter is at position 1."""
        queue = Queue("c-1")
        (newcomer,) = waiters("z")
        queue.join(newcomer, 0)
        assert (letters(queue.waiters(1)), newcomer.waitlist_position, queue.position(newcomer)) == ("z", 1, 1)

    def test_a_whole_queue(self) -> None:
        """The newcomer comes after the waiters."""
        queue = loaded_queue(waiters("ab"), 2)
        (newcomer,) = waiters("z", first_number=3)
        queue.join(newcomer, 2)
        assert (letters(queue.waiters(3)), newcomer.waitlist_position, queue.position(newcomer)) == ("abz", 3, 3)

    def test_a_queue_that_is_not_whole(self) -> None:
        """The position counts waiters that are not loaded, and the queue still ends with ``OutOfWaiters`` before it."""
        queue = loaded_queue(waiters("a"), 5)
        (newcomer,) = waiters("z", first_number=6)
        queue.join(newcomer, 5)
        assert queue.position(newcomer) == 6
        found = queue.waiters(6)
        assert next(found).student_id == "a"
        with pytest.raises(OutOfWaiters):
            next(found)

    def test_a_queue_that_all_waiters_have_left(self) -> None:
        """A queue becomes whole when the last waiter has left, even if not all waiters were loaded."""
        first, second = waiters("ab")
        queue = loaded_queue([first], 2)
        queue.load_position(second)
        queue.leave(first)
        queue.leave(second)
        (newcomer,) = waiters("z", first_number=3)
        queue.join(newcomer, 0)
        assert (letters(queue.waiters(1)), newcomer.waitlist_position, queue.position(newcomer)) == ("z", 1, 1)


class TestLeave:
    """A waiter leaves, and those behind move up."""

    def test_has_no_position_afterwards(self) -> None:
        """An enrollment that has left has the position 0, and is not yielded."""
        first, second = waiters("ab")
        queue = loaded_queue([first, second], 2)
        queue.leave(first)
        assert (letters(queue.waiters(1)), first.waitlist_position) == ("b", 0)

    def test_positions_behind_move_up(self) -> None:
        """Each waiter that leaves moves those behind up by one, and those ahead not at all."""
        loaded = waiters("abcde")
        queue = loaded_queue(loaded, 5)
        queue.leave(loaded[1])
        queue.leave(loaded[3])
        assert [queue.position(loaded[index]) for index in (0, 2, 4)] == [1, 2, 3]

    def test_numbers_need_not_be_consecutive(self) -> None:
        """Positions are counted, since numbers of enrollments that ended leave gaps."""
        first, second, third = waiters("a") + waiters("b", 5) + waiters("c", 9)
        second.waitlist_position, third.waitlist_position = 2, 3
        queue = loaded_queue([first, second, third], 3)
        queue.leave(first)
        assert (queue.position(second), queue.position(third)) == (1, 2)

    def test_before_a_newcomer_joins(self) -> None:
        """A waiter that left before the newcomer came is not counted twice."""
        first, second = waiters("ab")
        queue = loaded_queue([first, second], 2)
        (newcomer,) = waiters("z", first_number=3)
        queue.leave(first)
        queue.join(newcomer, 1)
        assert (newcomer.waitlist_position, queue.position(newcomer)) == (2, 2)
        queue.leave(second)
        assert queue.position(newcomer) == 1

    def test_a_waiter_that_is_not_loaded(self) -> None:
        """A waiter behind the loaded ones can leave, and those ahead keep their positions."""
        first, second, third = waiters("abc")
        queue = loaded_queue([first], 3)
        queue.load_position(third)
        queue.leave(second)
        assert (queue.position(first), queue.position(third)) == (1, 2)


def test_the_loaded_position_is_kept() -> None:
    """A row that two statements load keeps the position from the first one."""
    queue = Queue("c-1")
    (waiter,) = waiters("a")
    queue.load_position(waiter)
    waiter.waitlist_position = 7
    queue.load_position(waiter)
    assert queue.position(waiter) == 1
