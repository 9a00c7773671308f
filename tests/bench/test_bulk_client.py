"""The rows of the bulk load, and the memory of the process that loads them."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import cast

from bench.bulk_client import EACH, Progress, enrollments
from bench.messages import COURSES
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest

SLOTS = 60
"""Courses whose numbers differ by a multiple of this meet at the same time."""


def rows(students: int) -> list[EnrollStudentRequest]:
    """Return the requests of so many students in order."""
    return [cast(EnrollStudentRequest, write.request) for write in enrollments(0, students)]


def number(request: EnrollStudentRequest) -> int:
    return int(request.course_id.removeprefix("C-"))


def test_each_student_enrolls_in_courses_that_do_not_overlap() -> None:
    remaining = iter(rows(COURSES))
    while listed := list(islice(remaining, EACH)):
        assert len({request.student_id for request in listed}) == 1
        assert len({number(request) % SLOTS for request in listed}) == EACH


def test_all_courses_get_equally_many_students() -> None:
    assert Counter(map(number, rows(COURSES))) == dict.fromkeys(range(COURSES), EACH)


def test_a_chunk_names_hundreds_of_courses() -> None:
    assert len({number(request) for request in rows(50)}) > 400


def test_memory_that_grows_after_the_first_chunks_is_reported() -> None:
    progress = Progress(rows=1_000)
    progress.note(100, 0, None)
    kept = bytearray(b"x") * 64_000_000
    progress.note(1_000, 0, None)
    assert progress.growth_mb > len(kept) / 2**21


def test_memory_that_grows_during_the_first_chunks_is_not_reported() -> None:
    progress = Progress(rows=1_000)
    progress.note(50, 0, None)
    kept = bytearray(b"x") * 64_000_000
    progress.note(100, 0, None)
    progress.note(1_000, 0, None)
    assert progress.growth_mb < len(kept) / 2**21
