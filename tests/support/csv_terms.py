"""A small term in CSV files, as the README and ``examples/load_term.py`` load it."""

from __future__ import annotations

from pathlib import Path

STUDENTS = """student_id,given_name
t-1,Emmy
t-2,Carl
"""
COURSES = """course_id,title,capacity
ALG-1,Algebra,1
"""
ENROLLMENTS = """student_id,course_id
t-1,ALG-1
t-2,ALG-1
t-2,ALG-2
"""


def write_term(folder: Path) -> None:
    """Write a term of 6 rows. The last two are refused: there is one seat, and no course has the id ``ALG-2``."""
    (folder / "students.csv").write_text(STUDENTS)
    (folder / "courses.csv").write_text(COURSES)
    (folder / "enrollments.csv").write_text(ENROLLMENTS)
