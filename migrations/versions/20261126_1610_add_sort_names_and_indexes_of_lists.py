"""Add the sort names of students, and the indexes of ListEvents, ListEnrollments and ListStudents.

Revision: 20261126_1610, after 20261126_1601.

Sort names are filled in pages of bounded size, since neither database can fold case and accents as Python does. On
PostgreSQL each page is a transaction of its own, and the indexes are built concurrently, so that servers of the
previous version go on working. If the revision is interrupted, it continues where it stopped. Servers of this version
complete the rows that older servers write later.
"""

from __future__ import annotations

import unicodedata
from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_1610"
down_revision: str | None = "20261126_1601"
branch_labels: str | None = None
depends_on: str | None = None

SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PAGE = 1000

INDEXES = {
    "ix_students_held": ("students", ["student_id"], sa.text("hold_keys <> '[]'")),
    "ix_enrollments_update_time_course_id": ("enrollments", ["update_time", "course_id"], None),
    "ix_events_type_revision": ("events", ["type", "revision"], None),
    "ix_events_time_revision": ("events", ["time", "revision"], None),
    "ix_events_actor_revision": ("events", ["actor", "revision"], sa.text("actor <> ''")),
}


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    # The column is there already if an earlier run on PostgreSQL was interrupted. SQLite repeats a whole run.
    op.add_column("students", sa.Column("sort_name", SORTED, nullable=True), if_not_exists=on_postgresql or None)
    with op.get_context().autocommit_block() if on_postgresql else nullcontext():
        _fill_sort_names()
        for name in INDEXES:
            _create_index(name, concurrently=on_postgresql)


def downgrade() -> None:
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
    with op.batch_alter_table("students") as students:
        students.drop_column("sort_name")


def _create_index(name: str, *, concurrently: bool) -> None:
    table, columns, partial = INDEXES[name]
    if concurrently:
        # An interrupted build leaves an invalid index.
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
    op.create_index(
        name,
        table,
        columns,
        postgresql_where=partial,
        sqlite_where=partial,
        postgresql_concurrently=concurrently,
    )


def _fill_sort_names() -> None:
    """Give every student a sort name, page by page in the order of ids, which is the order in which servers lock."""
    connection = op.get_bind()
    students = sa.table(
        "students", *map(sa.column, ("student_id", "version", "family_name", "given_name", "sort_name"))
    )
    fill = (
        sa.update(students)
        .where(students.c.student_id == sa.bindparam("given_id"), students.c.version == sa.bindparam("given_version"))
        .values(sort_name=sa.bindparam("name", type_=sa.Text()))
    )
    after = ""
    while rows := connection.execute(
        sa.select(students.c.student_id, students.c.version, students.c.family_name, students.c.given_name)
        .where(students.c.student_id > after, students.c.sort_name.is_(None))
        .order_by(students.c.student_id)
        .limit(PAGE)
    ).all():
        values = [{"given_id": row[0], "given_version": row[1], "name": _sort_name(row[2], row[3])} for row in rows]
        connection.execute(fill, values)
        after = rows[-1][0]


def _sort_name(family_name: str, given_name: str) -> str:
    return "  ".join(" ".join(_without_accents(name).split()) for name in (family_name, given_name))[:100]


def _without_accents(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", _folded(text))
    bare = "".join(mark for mark in decomposed if unicodedata.combining(mark) < 10)
    dotless = "\N{LATIN SMALL LETTER DOTLESS I}"
    letters = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", dotless: "i"})
    return unicodedata.normalize("NFKC", bare).translate(letters)


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    visible = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", visible.casefold())
