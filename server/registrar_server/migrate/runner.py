"""The four things that can be asked: upgrade, downgrade, current, check."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import structlog
from sqlalchemy import URL

from registrar_server.migrate import data, schema
from registrar_server.migrate.errors import MigrationError, explained
from registrar_server.migrate.lock import exclusive
from registrar_server.migrate.revisions import DataStep, History

_log = structlog.get_logger()


@dataclass(frozen=True)
class Applied:
    """What is in force on a database: its schema revision (``None`` before the first) and its data steps."""

    revision: str | None
    data_steps: tuple[str, ...]


class State(enum.Enum):
    """How a database stands to the migrations that this version knows."""

    EMPTY = "empty"
    BEHIND = "behind"
    UP_TO_DATE = "up to date"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Report:
    """The answer to ``check``; ``pending`` lists revisions and data steps as they would run."""

    state: State
    applied: Applied
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = f"The database is at schema revision {self.applied.revision}"
        match self.state:
            case State.EMPTY:
                return "The database is empty. Run `registrar-server migrate upgrade`."
            case State.BEHIND:
                pending = ", ".join(self.pending)
                return f"{at} and lacks: {pending}. Run `registrar-server migrate upgrade`."
            case State.UP_TO_DATE:
                return f"{at}, which is the newest."
            case State.UNKNOWN:
                return (
                    f"{at} and has migrations that this version of Registrar does not know: "
                    f"{', '.join(self.unknown)}. A newer version made them: run that one."
                )


def current(url: str) -> Applied:
    """What is in force on a database; changes nothing, not even creates a missing SQLite file.

    Raises:
        MigrationError: if the URL names nothing that can be migrated, or the database cannot be read.
    """
    return _current(schema.parse_url(url))


def check(url: str) -> Report:
    """Compare a database with the migrations that this version knows; changes nothing.

    Raises:
        MigrationError: as ``current``.
    """
    return _check(History.read(), current(url))


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision and its data steps: ``head``, a revision, or ``+N``.

    A database that is already there, or further, is left as it is. Waits while another process migrates.

    Raises:
        MigrationError: if there is no such revision, the database has migrations that this version doesn't
            know, or a step fails; the steps before it stay applied, and running again goes on from there.
    """
    database, history = schema.parse_url(url), History.read()
    with explained("The database cannot be migrated"), exclusive(database):
        applied = _known(history, database)
        reached = history.position(applied.revision)
        for position in range(history.target(revision, applied.revision)):
            _step_up(database, history, position, reached, applied)


def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision: ``base``, a revision, or ``-N``. What the steps held is lost.

    Raises:
        MigrationError: as ``upgrade``; also for a revision above the one in force.
    """
    database, history = schema.parse_url(url), History.read()
    with explained("The database cannot be migrated"), exclusive(database):
        applied = _known(history, database)
        reached = history.position(applied.revision)
        target = history.target(revision, applied.revision)
        if target > reached:
            raise MigrationError(f"{revision} is above the revision in force, {applied.revision}.")
        for position in reversed(range(target, reached)):
            _step_down(database, history, position, applied)


def _current(url: URL) -> Applied:
    if url.get_backend_name() == "sqlite" and not schema.sqlite_file(url).exists():
        return Applied(None, ())
    with explained("The database cannot be read"), schema.connect_autocommit(url) as connection:
        return Applied(schema.revision_of(connection), data.applied(connection))


def _check(history: History, applied: Applied) -> Report:
    known = {*history.revisions, *history.step_names, None}
    if unknown := [name for name in (applied.revision, *applied.data_steps) if name not in known]:
        return Report(State.UNKNOWN, applied, unknown=tuple(str(name) for name in unknown))
    pending = _pending(history, applied)
    if not pending:
        return Report(State.UP_TO_DATE, applied)
    return Report(State.BEHIND if applied.revision else State.EMPTY, applied, pending)


def _pending(history: History, applied: Applied) -> tuple[str, ...]:
    reached = history.position(applied.revision)
    pending: list[str] = []
    for position, revision in enumerate(history.revisions):
        if position >= reached:
            pending.append(revision)
        pending += [s.name for s in history.data_steps[revision] if s.name not in applied.data_steps]
    return tuple(pending)


def _known(history: History, url: URL) -> Applied:
    report = _check(history, _current(url))
    if report.state is State.UNKNOWN:
        raise MigrationError(str(report))
    return report.applied


def _step_up(url: URL, history: History, position: int, reached: int, applied: Applied) -> None:
    revision = history.revisions[position]
    if position >= reached:
        with explained(f"Schema revision {revision} failed and was rolled back"):
            schema.upgrade(url, revision)
        _log.info("migration_applied", revision=revision)
    for step in history.data_steps[revision]:
        if step.name not in applied.data_steps:
            data.apply(url, step)
            _log.info("data_step_applied", data_step=step.name, revision=revision)


def _step_down(url: URL, history: History, position: int, applied: Applied) -> None:
    revision = history.revisions[position]
    steps: tuple[DataStep, ...] = history.data_steps[revision]
    for step in reversed(steps):
        if step.name in applied.data_steps:
            data.revert(url, step)
            _log.info("data_step_reverted", data_step=step.name, revision=revision)
    with explained(f"Taking back schema revision {revision} failed and was rolled back"):
        schema.downgrade(url, revision)
    _log.info("migration_reverted", revision=revision)
