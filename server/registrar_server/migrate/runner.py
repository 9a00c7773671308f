"""The four actions of ``registrar-server migrate``: upgrade, downgrade, current and check."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import URL

from registrar_server.migrate import data_steps, schema
from registrar_server.migrate.lock import DEFAULT_WAIT_S, migration_lock
from registrar_server.migrate.migration_errors import MigrationError, translate_errors
from registrar_server.migrate.obstacles import require_alone, require_no_rows
from registrar_server.migrate.pooling import require_sessions
from registrar_server.migrate.revisions import KnownMigrations

_log = structlog.get_logger()


@dataclass(frozen=True)
class AppliedMigrations:
    """The schema revision of a database (``None`` before the first), and its applied data steps."""

    revision: str | None
    data_steps: tuple[str, ...]


class MigrationState(enum.Enum):
    """How a database compares with the migrations of this version."""

    EMPTY = "empty"
    BEHIND = "behind"
    UP_TO_DATE = "up to date"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class MigrationReport:
    """The result of ``check``; ``pending`` lists revisions and data steps in the order of execution."""

    state: MigrationState
    applied: AppliedMigrations
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = f"The database is at schema revision {self.applied.revision}"
        match self.state:
            case MigrationState.EMPTY:
                return "The database is empty. Run `registrar-server migrate upgrade`."
            case MigrationState.BEHIND:
                pending = ", ".join(self.pending)
                return f"{at} and lacks: {pending}. Run `registrar-server migrate upgrade`."
            case MigrationState.UP_TO_DATE:
                return f"{at}, which is the newest."
            case MigrationState.UNKNOWN:
                return (
                    f"{at} and has migrations that this version of Registrar does not know: "
                    f"{', '.join(self.unknown)}. A newer version made them: run that one."
                )


def current(url: str) -> AppliedMigrations:
    """Return what is applied to a database, without creating a missing SQLite file.

    Raises:
        MigrationError: if the URL names no database that can be migrated, or the database cannot be read.
    """
    return _current(schema.parse_url(url))


def check(url: str) -> MigrationReport:
    """Compare a database with the migrations of this version, without changing it.

    Raises:
        MigrationError: as for ``current``, and behind a connection pooler that lends sessions for single transactions.
    """
    report = checker(url)()
    require_sessions(schema.parse_url(url))
    return report


def checker(url: str) -> Callable[[], MigrationReport]:
    """Return a function that does as ``check`` but for the pooler, each time with the migrations of this moment."""
    known = KnownMigrations.read()
    return lambda: _check(known, current(url))


def upgrade(url: str, revision: str = "head", *, wait: float = DEFAULT_WAIT_S) -> None:
    """Upgrade a database to a revision and its data steps: ``head``, a revision, or ``+N``.

    A database at that revision or a later one is not changed. Waits while another process migrates, at most ``wait``
    seconds.

    Raises:
        MigrationError: if there is no such revision, the database has migrations that this version does not know, the
            wait ends, or a migration fails; the migrations before it stay applied, and the next upgrade continues from
            there.
    """
    database, known = schema.parse_url(url), KnownMigrations.read()
    with _locked(database, wait):
        applied = _require_known(known, database)
        for index in range(known.target_ordinal(revision, applied.revision)):
            _upgrade_one(database, known, index, applied)


def downgrade(
    url: str, revision: str, *, wait: float = DEFAULT_WAIT_S, keep_rows: bool = False, alone: bool = False
) -> None:
    """Downgrade a database to a revision: ``base``, a revision, or ``-N``. Data that only later schemas hold is lost.

    ``keep_rows`` refuses if there are any rows, and ``alone`` if other processes of Registrar are connected.

    Raises:
        MigrationError: as for ``upgrade``, for a revision above the current one, and for such rows or processes.
    """
    database, known = schema.parse_url(url), KnownMigrations.read()
    with _locked(database, wait):
        applied = _require_known(known, database)
        current_ordinal = known.ordinal(applied.revision)
        target = known.target_ordinal(revision, applied.revision)
        if target > current_ordinal:
            raise MigrationError(f"{revision} is above the revision in force, {applied.revision}.")
        if target < current_ordinal and alone:
            require_alone(database)
        if target < current_ordinal and keep_rows:
            require_no_rows(database)
        for index in reversed(range(target, current_ordinal)):
            _downgrade_one(database, known, index, applied)


@contextmanager
def _locked(database: URL, wait: float) -> Iterator[None]:
    # A pooler would keep the lock of the session after this process has ended.
    require_sessions(database)
    with translate_errors("The database cannot be migrated"), migration_lock(database, wait):
        yield


def _current(url: URL) -> AppliedMigrations:
    if url.get_backend_name() == "sqlite" and not schema.resolved_file(url).exists():
        return AppliedMigrations(None, ())
    with translate_errors("The database cannot be read"), schema.connect_autocommit(url) as connection:
        return AppliedMigrations(schema.revision_of(connection), data_steps.applied(connection))


def _check(known: KnownMigrations, applied: AppliedMigrations) -> MigrationReport:
    names = {*known.revisions, *known.step_names, None}
    if unknown := [name for name in (applied.revision, *applied.data_steps) if name not in names]:
        return MigrationReport(MigrationState.UNKNOWN, applied, unknown=tuple(str(name) for name in unknown))
    pending = _pending(known, applied)
    if not pending:
        return MigrationReport(MigrationState.UP_TO_DATE, applied)
    return MigrationReport(MigrationState.BEHIND if applied.revision else MigrationState.EMPTY, applied, pending)


def _pending(known: KnownMigrations, applied: AppliedMigrations) -> tuple[str, ...]:
    current_ordinal = known.ordinal(applied.revision)
    pending: list[str] = []
    for index, revision in enumerate(known.revisions):
        if index >= current_ordinal:
            pending.append(revision)
        pending += [step.name for step in known.data_steps[revision] if step.name not in applied.data_steps]
    return tuple(pending)


def _require_known(known: KnownMigrations, url: URL) -> AppliedMigrations:
    report = _check(known, _current(url))
    if report.state is MigrationState.UNKNOWN:
        raise MigrationError(str(report))
    return report.applied


def _upgrade_one(url: URL, known: KnownMigrations, index: int, applied: AppliedMigrations) -> None:
    revision = known.revisions[index]
    if index >= known.ordinal(applied.revision):
        with translate_errors(f"Schema revision {revision} failed and was rolled back"):
            schema.upgrade_one(url, revision)
        _log.info("migration_applied", revision=revision)
    for step in known.data_steps[revision]:
        if step.name not in applied.data_steps:
            data_steps.apply(url, step)
            _log.info("data_step_applied", data_step=step.name, revision=revision)


def _downgrade_one(url: URL, known: KnownMigrations, index: int, applied: AppliedMigrations) -> None:
    revision = known.revisions[index]
    for step in reversed(known.data_steps[revision]):
        if step.name in applied.data_steps:
            data_steps.revert(url, step)
            _log.info("data_step_reverted", data_step=step.name, revision=revision)
    with translate_errors(f"Taking back schema revision {revision} failed and was rolled back"):
        schema.downgrade_one(url, revision)
    _log.info("migration_reverted", revision=revision)
