"""A load of a term for ``bulk``, and a program that makes it, so that a test can kill the program.

    python -m tests.support.bulk_load sync localhost:50051 OPERATION_ID

It prints the number of answered writes after each chunk.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

from registrar_client import AsyncRegistrarClient, RegistrarClient, writes

STUDENTS = 1_000
COURSES = 10
TOTAL = COURSES + STUDENTS * 4


def term(prefix: str = "", students: int = STUDENTS) -> Iterator[writes.Write[Any]]:
    """Return the writes of a term.

    Some are refused: courses are full, students have their seat already, one of the students is unknown. No later write
    makes a refused one possible, so that it does not matter when it is decided.
    """
    for number in range(COURSES):
        capacity = students if number % 2 else students // 10
        yield writes.courses.create(
            course_id=f"{prefix}c-{number}", capacity=capacity, waitlist_capacity=students // 50
        )
    for number in range(students):
        student_id = f"{prefix}s-{number}"
        yield writes.students.create(student_id=student_id if number != 7 else f"{prefix}another")
        yield writes.enroll(student_id=student_id, course_id=f"{prefix}c-{number % COURSES}")
        yield writes.enroll(student_id=student_id, course_id=f"{prefix}c-{number // 2 % COURSES}")
        yield writes.students.update(student_id=student_id, family_name=f"Name {number}")


def report(done: int, refused: int, _total: int | None) -> None:
    """Print the number of answered writes."""
    sys.stdout.write(f"{done + refused}\n")
    sys.stdout.flush()


async def _load_async(address: str, **options: Any) -> None:
    async with AsyncRegistrarClient(address) as client:
        await client.bulk(term(), **options)


def _load_sync(address: str, **options: Any) -> None:
    with RegistrarClient(address) as client:
        client.bulk(term(), **options)


def main(kind: str, address: str, operation_id: str) -> None:
    """Make the load."""
    # No test waits for this timeout.
    options = {"operation_id": operation_id, "chunk_size": 100, "on_progress": report, "timeout": 600}
    if kind == "async":
        asyncio.run(_load_async(address, **options))
    else:
        _load_sync(address, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
