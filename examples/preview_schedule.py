"""Shows what stands in the way of a student's schedule, and enrolls the student in all of its courses or in none.

Run it as ``python examples/preview_schedule.py s-1 CS-101 MATH-1``, with ``--enroll`` to enroll the student if nothing
stands in the way. ``REGISTRAR_TARGET`` names the server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from registrar_client import Enrolled, RegistrarClient, RegistrarError, writes


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Show what stands in the way of a student's schedule.")
    parser.add_argument("student_id")
    parser.add_argument("course_id", nargs="+")
    parser.add_argument("--enroll", action="store_true", help="enroll the student in all courses, or in none")
    return parser.parse_args()


def describe(outcome: Enrolled | RegistrarError) -> str:
    """Return the state that an enrollment would have, or everything that stands in its way."""
    if isinstance(outcome, Enrolled):
        return str(outcome.state)
    reasons = [violation.description for violation in outcome.violations]
    return "\n    ".join(["refused", *(reasons or [str(outcome)])])


def preview(registrar: RegistrarClient, schedule: Sequence[writes.Write[Enrolled]], course_ids: Sequence[str]) -> bool:
    """Print the answer for each course, and return whether the student can take all of them."""
    # The writes see each other: two courses of the schedule that meet at the same time are found too.
    results = registrar.batch(schedule, validate_only=True, check=False)
    for course_id, outcome in zip(course_ids, results.outcomes, strict=True):
        print(f"{course_id}: {describe(outcome)}")
    return not results.errors


def main() -> None:
    """Preview a schedule, and exit with 1 if an enrollment is refused."""
    given = arguments()
    schedule = [writes.enroll(student_id=given.student_id, course_id=course_id) for course_id in given.course_id]
    with RegistrarClient.from_env() as registrar:
        try:
            if not preview(registrar, schedule, given.course_id):
                sys.exit(1)
            if given.enroll:
                registrar.batch(schedule, atomic=True)
                print(f"{given.student_id} is enrolled.")
        except RegistrarError as error:
            sys.exit(f"Nothing was changed: {error}")


if __name__ == "__main__":
    main()
