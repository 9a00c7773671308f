"""Classifies database errors for the batch, and converts them to refusals for the caller."""

from __future__ import annotations

import sqlite3
from enum import Enum

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from registrar_server.errors import contention, database_unavailable


class Failure(Enum):
    """What a database error means for the batch that received it."""

    CONFLICT = "the transaction conflicted with another and was rolled back; run it again"
    TAKEN = "another transaction wrote the same key first; run it again"
    CONTENTION = "locks were held for too long"
    DATA = "one of the values cannot be stored"
    UNAVAILABLE = "the database cannot be reached or cannot work"
    UNKNOWN = "none of these"


_BY_SQLSTATE = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "23505": Failure.TAKEN,
    "23503": Failure.TAKEN,
    "25P03": Failure.UNAVAILABLE,
    "55P03": Failure.CONTENTION,
    "25006": Failure.UNAVAILABLE,
}
_BY_SQLSTATE_CLASS = {
    "08": Failure.UNAVAILABLE,
    "22": Failure.DATA,
    "23": Failure.DATA,
    "53": Failure.UNAVAILABLE,
    "57": Failure.UNAVAILABLE,
    "58": Failure.UNAVAILABLE,
}
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: Failure.CONTENTION,
    sqlite3.SQLITE_LOCKED: Failure.CONTENTION,
    sqlite3.SQLITE_FULL: Failure.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Failure.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: Failure.UNAVAILABLE,
    sqlite3.SQLITE_READONLY: Failure.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: Failure.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: Failure.UNAVAILABLE,
}


def classify(error: BaseException) -> Failure:
    """Return what an error of a driver or of SQLAlchemy means."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, PoolTimeout | DatabaseReplaced):
        return Failure.UNAVAILABLE
    if isinstance(error, psycopg.Error):
        return _classify_postgresql(error)
    if isinstance(error, sqlite3.Error | OverflowError):
        return _classify_sqlite(error)
    return Failure.UNKNOWN


def _classify_postgresql(error: psycopg.Error) -> Failure:
    if error.sqlstate is None:
        return Failure.UNAVAILABLE if isinstance(error, psycopg.OperationalError) else Failure.DATA
    by_class = _BY_SQLSTATE_CLASS.get(error.sqlstate[:2], Failure.UNKNOWN)
    return _BY_SQLSTATE.get(error.sqlstate, by_class)


def _classify_sqlite(error: sqlite3.Error | OverflowError) -> Failure:
    if isinstance(error, sqlite3.IntegrityError):
        keyed = "UNIQUE" in str(error) or "FOREIGN KEY" in str(error)
        return Failure.TAKEN if keyed else Failure.DATA
    if isinstance(error, sqlite3.DataError | OverflowError):
        return Failure.DATA
    return _BY_SQLITE_CODE.get(_sqlite_code(error), Failure.UNKNOWN)


def _sqlite_code(error: sqlite3.Error | OverflowError) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # The low byte is the primary result code.


def is_read_only(error: BaseException) -> bool:
    """Return whether a write failed because the database, or the connection to it, is read-only."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, psycopg.Error):
        return error.sqlstate == "25006"
    return isinstance(error, sqlite3.Error) and _sqlite_code(error) == sqlite3.SQLITE_READONLY


def refusal_of(error: Exception) -> Exception:
    """Return the error that a caller gets for a failed read: a refusal if a retry may help, else the error itself."""
    match classify(error):
        case Failure.UNAVAILABLE:
            return database_unavailable()
        case Failure.CONTENTION | Failure.CONFLICT:
            return contention()
    return error


def error_of_commit(error: Exception) -> Exception:
    """Return ``CommitUncertain`` if an error of a commit leaves its result open, else the error itself.

    Any other error is the database's report on a statement: nothing was committed.
    """
    if classify(error) is Failure.UNAVAILABLE and not is_read_only(error):
        uncertain = CommitUncertain()
        uncertain.__cause__ = error
        return uncertain
    return error


class DatabaseReplaced(Exception):
    """The database's file is not the file that the server started with."""


class CommitUncertain(Exception):
    """The connection broke during the commit: the changes may or may not have been made."""
