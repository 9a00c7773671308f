"""Set-based statements: many rows, one statement, the same few shapes on both databases."""

from registrar_server.storage.bulk.postgresql import PostgreSQL
from registrar_server.storage.bulk.shapes import (
    Append,
    Dialect,
    Heads,
    Insert,
    Lock,
    Query,
    Rows,
    Select,
    Statement,
    Update,
    id_rows,
)
from registrar_server.storage.bulk.sqlite import SQLite

__all__ = [
    "Append",
    "Dialect",
    "Heads",
    "Insert",
    "Lock",
    "PostgreSQL",
    "Query",
    "Rows",
    "SQLite",
    "Select",
    "Statement",
    "Update",
    "id_rows",
]
