"""Add the component of courses, and the keys by which texts are compared and found.

Revision: 20261126_1601, after 20261124_2345.

Neither database can fold case and accents as Python does, so this revision fills the keys itself, in pages of bounded
size. On PostgreSQL each page is a transaction of its own, so that servers of the previous version go on working. If the
revision is interrupted, it continues where it stopped. Rows that such servers write later have no keys, or those of an
older ``version``; the servers of this version complete them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261126_1601"
down_revision: str | None = "20261124_2345"
branch_labels: str | None = None
depends_on: str | None = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
KEYLESS = sa.text("keys_version IS NULL OR keys_version <> version")
PAGE = 1000

INDEXES = {
    "ix_courses_code_key_course_id": ("courses", ["code_key", "course_id"]),
    "ix_courses_term_key_course_id": ("courses", ["term_key", "course_id"]),
    "ix_courses_keyless": ("courses", ["course_id"]),
    "ix_students_keyless": ("students", ["student_id"]),
}


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for table, column in _new_columns():
        # The columns are there already if an earlier run on PostgreSQL was interrupted. SQLite repeats a whole run.
        op.add_column(table, column, if_not_exists=on_postgresql or None)
    with op.get_context().autocommit_block() if on_postgresql else nullcontext():
        _fill("students", "student_id", ["given_name", "family_name", "email", "holds"], _student_keys)
        _fill("courses", "course_id", ["code", "title", "term", "component"], _course_keys)
        for name in INDEXES:
            _create_index(name, concurrently=on_postgresql)


def downgrade() -> None:
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
    with op.batch_alter_table("courses") as courses:
        for name in ("keys_version", "component_key", "term_key", "code_key", "component"):
            courses.drop_column(name)
    with op.batch_alter_table("students") as students:
        for name in ("keys_version", "hold_keys"):
            students.drop_column(name)


def _new_columns() -> list[tuple[str, sa.Column[Any]]]:
    return [
        ("students", sa.Column("hold_keys", DOCUMENT, nullable=True)),
        ("students", sa.Column("keys_version", sa.BigInteger(), nullable=True)),
        # Servers of the previous version insert no component, so the default stays.
        ("courses", sa.Column("component", sa.Text(), nullable=False, server_default="")),
        ("courses", sa.Column("code_key", sa.Text(), nullable=True)),
        ("courses", sa.Column("term_key", sa.Text(), nullable=True)),
        ("courses", sa.Column("component_key", sa.Text(), nullable=True)),
        ("courses", sa.Column("keys_version", sa.BigInteger(), nullable=True)),
    ]


def _create_index(name: str, *, concurrently: bool) -> None:
    table, columns = INDEXES[name]
    if concurrently:
        # An interrupted build leaves an invalid index.
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
    partial = KEYLESS if name.endswith("_keyless") else None
    op.create_index(
        name,
        table,
        columns,
        postgresql_where=partial,
        sqlite_where=partial,
        postgresql_concurrently=concurrently,
    )


def _fill(table: str, key: str, texts: list[str], keys_of: Callable[..., dict[str, Any]]) -> None:
    """Give every row its keys, page by page in the order of ids, which is the order in which servers lock."""
    connection = op.get_bind()
    given = sa.table(table, *map(sa.column, (key, "version", "keys_version", *texts)))
    shown = [sa.cast(given.c[name], sa.Text) if name == "holds" else given.c[name] for name in texts]
    after = ""
    while rows := connection.execute(
        sa.select(given.c[key], given.c.version, *shown)
        .where(given.c[key] > after, given.c.keys_version.is_(None))
        .order_by(given.c[key])
        .limit(PAGE)
    ).all():
        values = [{"given_id": row[0], "given_version": row[1], **keys_of(row[0], *row[2:])} for row in rows]
        connection.execute(_update(table, key, list(values[0])[2:]), values)
        after = rows[-1][0]


def _update(table: str, key: str, names: list[str]) -> sa.Update:
    """Return the statement that sets keys, unless a server has changed the row since it was read."""
    given = sa.table(table, *map(sa.column, (key, "version", "keys_version", *names)))
    values = {name: sa.bindparam(name, type_=DOCUMENT if name == "hold_keys" else sa.Text()) for name in names}
    return (
        sa.update(given)
        .where(given.c[key] == sa.bindparam("given_id"), given.c.version == sa.bindparam("given_version"))
        .values(keys_version=sa.bindparam("given_version"), **values)
    )


def _student_keys(student_id: str, given_name: str, family_name: str, email: str, holds: str) -> dict[str, Any]:
    return {
        "hold_keys": [_text_key(code) for code, *_ in json.loads(holds)],
        "search_text": _search_text(student_id, given_name, family_name, email),
    }


def _course_keys(course_id: str, code: str, title: str, term: str, component: str) -> dict[str, Any]:
    return {
        "code_key": _code_key(code),
        "term_key": _text_key(term),
        "component_key": _text_key(component),
        "search_text": _search_text(course_id, code, title, code=code),
    }


def _text_key(text: str) -> str:
    return " ".join(_folded(text).split())


def _code_key(text: str) -> str:
    return unicodedata.normalize("NFC", _text_key(text).replace(" ", ""))


def _search_text(*parts: str, code: str = "") -> str:
    plain = " ".join(filter(None, parts)).casefold()
    bare = _without_accents(plain)
    return " ".join(filter(None, (_code_key(code), plain, bare if bare != plain else "")))


def _folded(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    visible = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", visible.casefold())


def _without_accents(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", _folded(text))
    bare = "".join(mark for mark in decomposed if unicodedata.combining(mark) < 10)
    dotless = "\N{LATIN SMALL LETTER DOTLESS I}"
    letters = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", dotless: "i"})
    return unicodedata.normalize("NFKC", bare).translate(letters)
