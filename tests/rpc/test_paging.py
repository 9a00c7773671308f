"""Paging is the same for every list: complete, stable during writes, with tokens that are valid for one list only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message
from grpc import StatusCode

from registrar.v1.course_service_pb2 import DeleteCourseRequest, SearchCoursesRequest
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED as ENROLLED
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_WAITLISTED as WAITLISTED
from registrar.v1.enrollment_service_pb2 import (
    ListCoursesRequest,
    ListEnrollmentsRequest,
    ListRosterRequest,
    UnenrollRequest,
)
from registrar.v1.student_pb2 import STUDENT_STATE_ACTIVE
from registrar.v1.student_service_pb2 import DeleteStudentRequest, ListStudentsRequest
from registrar_server.core.records import Student
from registrar_server.errors import Reason, Refusal
from registrar_server.rpc.paging import MAX_TOKEN_LENGTH, Page, SortName
from registrar_server.rpc.validation import Fields
from tests.support.refusals import info, refused
from tests.support.servers import Registrar, calling, registrar_on, server_processes

TOKEN_RULE = "must be a next_page_token of the same list with the same filters"


class Paged(NamedTuple):
    """A list: how to call it, how to read the names on a page, and how to add and remove entries."""

    request: Message
    call: Callable[[Registrar], Any]
    names: Callable[[Any], list[str]]
    add: Callable[[Registrar, str], Awaitable[Any]]
    remove: Callable[[Registrar, str], Awaitable[Any]]
    other_filters: tuple[Message, ...]


async def _add_roster_entry(registrar: Registrar, student_id: str) -> None:
    await registrar.add_student(student_id)
    await registrar.enroll(student_id, "CS-101")


async def _add_named_roster_entry(registrar: Registrar, student_id: str) -> None:
    await registrar.add_student(student_id, family_name=f"É{student_id}")
    await registrar.enroll(student_id, "CS-101")


async def _leave_course(registrar: Registrar, student_id: str) -> None:
    await registrar.enrollments.Unenroll(UnenrollRequest(student_id=student_id, course_id="CS-101"))


async def _add_course_of_student(registrar: Registrar, course_id: str) -> None:
    await registrar.add_course(course_id)
    await registrar.enroll("s-1", course_id)


LISTS = {
    "ListStudents": Paged(
        ListStudentsRequest(),
        lambda registrar: registrar.students.ListStudents,
        lambda answer: [student.student_id for student in answer.students],
        lambda registrar, name: registrar.add_student(name),
        lambda registrar, name: registrar.students.DeleteStudent(DeleteStudentRequest(student_id=name)),
        (
            ListStudentsRequest(query="x"),
            ListStudentsRequest(show_deleted=True),
            ListStudentsRequest(hold_code="BURSAR"),
            ListStudentsRequest(state=STUDENT_STATE_ACTIVE),
        ),
    ),
    "SearchCourses": Paged(
        SearchCoursesRequest(),
        lambda registrar: registrar.courses.SearchCourses,
        lambda answer: [course.course_id for course in answer.courses],
        lambda registrar, name: registrar.add_course(name),
        lambda registrar, name: registrar.courses.DeleteCourse(DeleteCourseRequest(course_id=name)),
        (
            SearchCoursesRequest(open_only=True),
            SearchCoursesRequest(term="2018"),
            SearchCoursesRequest(waitlisted_only=True),
            SearchCoursesRequest(component="LAB"),
        ),
    ),
    "ListCourses": Paged(
        ListCoursesRequest(student_id="s-1"),
        lambda registrar: registrar.enrollments.ListCourses,
        lambda answer: [entry.course.course_id for entry in answer.courses],
        _add_course_of_student,
        lambda registrar, name: registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id=name)),
        (
            ListCoursesRequest(student_id="s-2"),
            ListCoursesRequest(student_id="s-1", states=[ENROLLED]),
            ListCoursesRequest(student_id="s-1", term="2018"),
            ListCoursesRequest(student_id="s-1", show_deleted=True),
        ),
    ),
    "ListRoster": Paged(
        ListRosterRequest(course_id="CS-101"),
        lambda registrar: registrar.enrollments.ListRoster,
        lambda answer: [entry.student.student_id for entry in answer.entries],
        _add_roster_entry,
        _leave_course,
        (
            ListRosterRequest(course_id="CS-102"),
            ListRosterRequest(course_id="CS-101", states=[ENROLLED]),
            ListRosterRequest(course_id="CS-101", order_by="family_name"),
            ListRosterRequest(course_id="CS-101", show_deleted=True),
        ),
    ),
    "ListRoster by name": Paged(
        ListRosterRequest(course_id="CS-101", order_by="family_name"),
        lambda registrar: registrar.enrollments.ListRoster,
        lambda answer: [entry.student.student_id for entry in answer.entries],
        _add_named_roster_entry,
        _leave_course,
        (ListRosterRequest(course_id="CS-101"), ListRosterRequest(course_id="CS-102", order_by="family_name")),
    ),
    "ListEnrollments": Paged(
        ListEnrollmentsRequest(states=[ENROLLED, WAITLISTED]),
        lambda registrar: registrar.enrollments.ListEnrollments,
        lambda answer: [enrollment.student_id for enrollment in answer.enrollments],
        _add_roster_entry,
        _leave_course,
        (
            ListEnrollmentsRequest(),
            ListEnrollmentsRequest(states=[ENROLLED, WAITLISTED], course_id="CS-101"),
            ListEnrollmentsRequest(states=[ENROLLED, WAITLISTED], term="2018"),
            ListEnrollmentsRequest(states=[ENROLLED, WAITLISTED], show_deleted=True),
        ),
    ),
}
NAMES = [f"n-{number:02}" for number in range(7)]
"""The entries of the list under test, in its order."""


@pytest.fixture(params=LISTS)
def paged(request: pytest.FixtureRequest) -> Paged:
    """The list under test; the test runs once for each list."""
    return LISTS[request.param]


async def fill(registrar: Registrar, paged: Paged, names: list[str] = NAMES) -> None:
    """Add entries to the list, and create the students and courses that it needs."""
    if paged.request != SearchCoursesRequest():
        await registrar.add_course("CS-101")
        await registrar.add_course("CS-102")
    if paged.request != ListStudentsRequest():
        await registrar.add_student("s-1")
        await registrar.add_student("s-2")
    for name in names:
        await paged.add(registrar, name)


async def page(registrar: Registrar, paged: Paged, size: int, token: str = "") -> tuple[list[str], str]:
    """Return the names on a page and the next page token."""
    answer = await paged.call(registrar)(with_page(paged.request, size, token))
    return paged.names(answer), answer.next_page_token


def with_page(request: Message, size: int, token: str) -> Message:
    """Return the request for a page."""
    asked = type(request)(page_size=size, page_token=token)
    asked.MergeFrom(request)
    return asked


async def all_pages(registrar: Registrar, paged: Paged, size: int, token: str = "") -> list[list[str]]:
    """Return all pages that follow a token."""
    pages = []
    while True:
        names, token = await page(registrar, paged, size, token)
        pages.append(names)
        if not token:
            return pages


async def test_complete(registrar: Registrar, paged: Paged) -> None:
    """For every page size, the pages together are the list, and all pages but the last are full."""
    await fill(registrar, paged)
    for size in (1, 3, 6, 7, 8, 50, 1001, 2**31 - 1):
        pages = await all_pages(registrar, paged, size)
        assert pages == [NAMES[start : start + size] for start in range(0, 7, size)], size


async def test_default_size(registrar: Registrar, paged: Paged) -> None:
    """A page has 50 entries by default."""
    names = [f"n-{number:02}" for number in range(51)]
    await fill(registrar, paged, names)
    assert await all_pages(registrar, paged, 0) == [names[:50], names[50:]]


async def test_size_may_change(registrar: Registrar, paged: Paged) -> None:
    """The page size may differ from page to page."""
    await fill(registrar, paged)
    first, token = await page(registrar, paged, 2)
    second, token = await page(registrar, paged, 1, token)
    third, token = await page(registrar, paged, 100, token)
    assert (first, second, third, token) == (NAMES[:2], NAMES[2:3], NAMES[3:], "")


async def test_a_thousand_at_most(sqlite_registrar: Registrar) -> None:
    """A page has at most a thousand entries."""
    ids = [f"n-{number:04}" for number in range(1001)]
    await asyncio.gather(*map(sqlite_registrar.add_student, ids))
    pages = await all_pages(sqlite_registrar, LISTS["ListStudents"], 5000)
    assert pages == [ids[:1000], ids[1000:]]


async def test_message_size(sqlite_registrar: Registrar) -> None:
    """A page ends early if it would exceed the message size that clients accept by default."""
    ids = [f"n-{number:03}" for number in range(150)]
    await asyncio.gather(*(sqlite_registrar.add_course(name, description="\U0001d50a" * 10_000) for name in ids))
    pages = await all_pages(sqlite_registrar, LISTS["SearchCourses"], 1000)
    assert len(pages) == 2
    assert [name for names in pages for name in names] == ids


async def test_smaller_message_size(sqlite_url: str) -> None:
    """Pages fit into a smaller message size in the settings."""
    async with registrar_on(sqlite_url, max_message_bytes=262_144) as registrar:
        await asyncio.gather(*(registrar.add_course(f"c-{place:03}", description="x" * 9_000) for place in range(60)))
        found: list[str] = []
        token = ""
        while token or not found:
            request = SearchCoursesRequest(page_size=1000, page_token=token)
            answer = await registrar.courses.SearchCourses(request)
            found += [course.course_id for course in answer.courses]
            token = answer.next_page_token
        assert found == [f"c-{place:03}" for place in range(60)]


async def test_stable(registrar: Registrar, paged: Paged) -> None:
    """If entries are added and removed between pages, the next pages list each remaining entry once."""
    await fill(registrar, paged)
    first, token = await page(registrar, paged, 3)
    assert first == NAMES[:3]
    await paged.remove(registrar, NAMES[0])
    await paged.remove(registrar, NAMES[2])
    await paged.remove(registrar, NAMES[3])
    await paged.add(registrar, "n-99")
    assert await all_pages(registrar, paged, 3, token) == [NAMES[4:7], ["n-99"]]


async def test_stable_under_writers(registrar: Registrar, paged: Paged) -> None:
    """While a writer adds and removes entries, readers see the other entries once and in order."""
    await fill(registrar, paged)
    reading = True

    async def write() -> int:
        number = 0
        while reading:
            await paged.add(registrar, f"n-0{number % 6}-{number}")
            await paged.remove(registrar, f"n-0{number % 6}-{number}")
            number += 1
        return number

    writer = asyncio.create_task(write())
    for _ in range(10):
        pages = await all_pages(registrar, paged, 2)
        listed = [name for names in pages for name in names]
        assert [name for name in listed if name in NAMES] == NAMES
        assert len(set(listed)) == len(listed)
    reading = False
    assert await writer > 0


INVENTED = (b"[]", b"{}", b"1", b"null", b'["n-04"]', b'["","n-04"]', b"\xff", b"[" * 1500)


def encoded(text: bytes) -> str:
    """Return text in the encoding of tokens."""
    return base64.urlsafe_b64encode(text).decode()


class TestTokens:
    """A token is valid for its list, on every server."""

    async def test_another_server(self, database_url: str, paged: Paged) -> None:
        """A token is valid on another server, and after a restart."""
        async with registrar_on(database_url) as one:
            await fill(one, paged)
            async with registrar_on(database_url) as other:
                first, token = await page(one, paged, 3)
                assert await all_pages(other, paged, 3, token) == [NAMES[3:6], NAMES[6:]]
        async with registrar_on(database_url) as restarted:
            assert await all_pages(restarted, paged, 3, token) == [NAMES[3:6], NAMES[6:]]
        assert first == NAMES[:3]

    async def test_another_process(self, postgresql_url: str, tmp_path: Path) -> None:
        """A token is valid on another process."""
        paged = LISTS["ListRoster"]
        async with server_processes(2, postgresql_url, tmp_path) as servers:
            here, there = [await server.address() for server in servers]
            async with calling(here) as one, calling(there) as other:
                await fill(one, paged)
                _, token = await page(one, paged, 5)
                assert await page(other, paged, 5, token) == (NAMES[5:], "")

    async def test_twice(self, registrar: Registrar, paged: Paged) -> None:
        """A token may be used twice."""
        await fill(registrar, paged)
        _, token = await page(registrar, paged, 5)
        assert await page(registrar, paged, 5, token) == await page(registrar, paged, 5, token) == (NAMES[5:], "")

    async def test_other_filters(self, sqlite_registrar: Registrar, paged: Paged) -> None:
        """A token is refused with other filters."""
        await fill(sqlite_registrar, paged)
        _, token = await page(sqlite_registrar, paged, 5)
        for request in paged.other_filters:
            failure = await refused(paged.call(sqlite_registrar)(with_page(request, 5, token)))
            assert failure.code is StatusCode.INVALID_ARGUMENT
            assert failure.details[0] == info("INVALID_PAGE_TOKEN")
            assert failure.fields == {"page_token": TOKEN_RULE}

    async def test_other_rpc(self, sqlite_registrar: Registrar) -> None:
        """A token of another RPC is refused, even if both lists have the same ids."""
        for name in NAMES:
            await sqlite_registrar.add_student(name)
            await sqlite_registrar.add_course(name)
        _, token = await page(sqlite_registrar, LISTS["ListStudents"], 5)
        failure = await refused(page(sqlite_registrar, LISTS["SearchCourses"], 5, token))
        assert failure.reason == "INVALID_PAGE_TOKEN"

    async def test_tampered(self, sqlite_registrar: Registrar) -> None:
        """A token with a changed, missing or added character is refused."""
        paged = LISTS["ListStudents"]
        await fill(sqlite_registrar, paged)
        _, token = await page(sqlite_registrar, paged, 5)
        for changed in sorted(_tampered(token)):
            failure = await refused(page(sqlite_registrar, paged, 5, changed))
            assert failure.reason == "INVALID_PAGE_TOKEN", changed

    @pytest.mark.parametrize("token", ["2", "n-04", "ä", "\0", "x" * 100_000, *map(encoded, INVENTED)])
    async def test_invented(self, sqlite_registrar: Registrar, paged: Paged, token: str) -> None:
        """An invented token is refused."""
        await fill(sqlite_registrar, paged)
        assert (await refused(page(sqlite_registrar, paged, 5, token))).reason == "INVALID_PAGE_TOKEN"

    async def test_same_states(self, sqlite_registrar: Registrar) -> None:
        """A token is valid for the same states in any order."""
        await sqlite_registrar.add_student("s-1")
        for place in range(3):
            await sqlite_registrar.add_course(f"c-{place}")
            await sqlite_registrar.enroll("s-1", f"c-{place}")
        first = await sqlite_registrar.enrollments.ListCourses(ListCoursesRequest(student_id="s-1", page_size=2))
        states = [WAITLISTED, ENROLLED, WAITLISTED]
        rest = ListCoursesRequest(student_id="s-1", states=states, page_token=first.next_page_token)
        second = await sqlite_registrar.enrollments.ListCourses(rest)
        assert [entry.course.course_id for entry in second.courses] == ["c-2"]

    @pytest.mark.parametrize("key", [[{"a": 1}], [10**30, 1], [None], ["\ud800", 1], ["x"], ["a b", 1], ["x", "y"], []])
    def test_invalid_key(self, key: list[Any]) -> None:
        """A token with a computed digest and an invalid key is refused."""
        request = ListCoursesRequest(student_id="s-1")
        request.page_token = Page(Fields(), request)._token_after(key)
        with pytest.raises(Refusal) as refusal:
            Page(Fields(), request).after(str, int)
        assert refusal.value.reason is Reason.INVALID_PAGE_TOKEN

    @pytest.mark.parametrize("key", [["\ud800", 1], ["a\0", 1], [1, 1], ["a", "b"], ["a"]])
    def test_invalid_name(self, key: list[Any]) -> None:
        """A token of a list by name may have any text that the database can store, and no other."""
        request = ListRosterRequest(course_id="CS-101", order_by="family_name")
        request.page_token = Page(Fields(), request)._token_after(key)
        with pytest.raises(Refusal):
            Page(Fields(), request).after(SortName, int)

    def test_longest_name(self) -> None:
        """A token of a list by name has room for the longest name."""
        request = ListRosterRequest(course_id="c" * 128, order_by="family_name")
        key = [Student("s-1", "", "\U0001d50a" * 200).sort_name, 2**62]
        request.page_token = Page(Fields(), request)._token_after(key)
        assert len(request.page_token) <= MAX_TOKEN_LENGTH
        assert Page(Fields(), request).after(SortName, int) == key


def _tampered(token: str) -> set[str]:
    changed = {token + extra for extra in ("=", "A", "!", " ", "\n")}
    for place, character in enumerate(token):
        head, tail = token[:place], token[place + 1 :]
        other = "A" if character != "A" else "B"
        changed |= {head + tail, head + other + tail, head + "!" + character + tail}
    return changed - {token}
