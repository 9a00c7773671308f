"""Lists fetch their pages during iteration."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest
from grpc import StatusCode

from registrar.v1 import student_pb2
from registrar.v1 import student_service_pb2 as pb
from registrar_client import AsyncPager, Page, Pager, Student, Unavailable
from tests.support.client_fakes import AsyncDriver, Driver, Failure, SyncDriver


def page(*ids: str, token: str = "") -> pb.ListStudentsResponse:
    return pb.ListStudentsResponse(
        students=[student_pb2.Student(student_id=each, state=student_pb2.STUDENT_STATE_ACTIVE) for each in ids],
        next_page_token=token,
    )


TWO_PAGES = (page("a", "b", token="after-b"), page("c"))


def students(*ids: str) -> tuple[Student, ...]:
    return tuple(Student(student_id=each) for each in ids)


def test_iterating_goes_through_all_pages(driver: Driver) -> None:
    driver.script.answers.extend(TWO_PAGES)
    assert tuple(driver.call("students.list", query="x", page_size=2)) == students("a", "b", "c")


def test_each_page_is_requested_with_the_token_of_the_page_before(driver: Driver) -> None:
    driver.script.answers.extend(TWO_PAGES)
    driver.call("students.list", query="x", page_size=2, page_token="start")
    assert driver.script.requests == [
        pb.ListStudentsRequest(query="x", page_size=2, page_token="start"),
        pb.ListStudentsRequest(query="x", page_size=2, page_token="after-b"),
    ]


def test_pages_can_be_iterated_over(driver: Driver) -> None:
    driver.script.answers.extend(TWO_PAGES)
    assert driver.pages("students.list") == [
        Page(items=students("a", "b"), next_page_token="after-b"),
        Page(items=students("c"), next_page_token=""),
    ]


def test_an_empty_page_in_the_middle_does_not_end_the_list(driver: Driver) -> None:
    driver.script.answers.extend([page("a", token="t"), page(token="u"), page("b")])
    assert tuple(driver.call("students.list")) == students("a", "b")


def test_an_empty_list_is_one_call(driver: Driver) -> None:
    driver.script.answers.append(page())
    assert driver.call("students.list") == []
    assert len(driver.script.attempts) == 1


def test_every_page_has_the_whole_timeout_and_its_own_retries(driver: Driver) -> None:
    away = Failure(StatusCode.UNAVAILABLE)
    driver.script.answers.extend([TWO_PAGES[0], away, TWO_PAGES[1]])
    driver.call("students.list", timeout=3)
    assert [attempt.timeout for attempt in driver.script.attempts] == pytest.approx([3, 3, 3 - 0.025])


def test_no_request_is_sent_before_the_iteration() -> None:
    driver = SyncDriver()
    driver.script.answers.extend(TWO_PAGES)
    listed = driver.client.students.list()
    assert isinstance(listed, Pager)
    assert driver.script.attempts == []
    assert tuple(islice(listed, 2)) == students("a", "b")
    assert len(driver.script.attempts) == 1


def test_no_request_is_sent_before_the_asynchronous_iteration() -> None:
    driver = AsyncDriver()
    driver.script.answers.extend(TWO_PAGES)

    async def first_two() -> list[Student]:
        listed = driver.client.students.list()
        assert isinstance(listed, AsyncPager)
        assert driver.script.attempts == []
        iterator = aiter(listed)
        return [await anext(iterator), await anext(iterator)]

    assert tuple(asyncio.run(first_two())) == students("a", "b")
    assert len(driver.script.attempts) == 1


def test_each_iteration_starts_at_the_beginning() -> None:
    driver = SyncDriver()
    driver.script.answers.extend(TWO_PAGES * 2)
    listed = driver.client.students.list()
    assert tuple(listed) == tuple(listed) == students("a", "b", "c")
    assert [request.page_token for request in driver.script.requests] == ["", "after-b"] * 2


def test_a_failed_page_raises_after_the_items_before_it() -> None:
    driver = SyncDriver()
    driver.script.answers.extend([TWO_PAGES[0], Failure(StatusCode.UNAVAILABLE)])
    iterator = iter(driver.client.students.list(timeout=0.001))
    assert tuple(islice(iterator, 2)) == students("a", "b")
    with pytest.raises(Unavailable):
        next(iterator)
