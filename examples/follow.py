"""Mirrors the rosters of all courses into another system, and goes on where it was after any interruption.

Run it as ``python examples/follow.py mirror.db``, and end it with Ctrl-C. ``REGISTRAR_TARGET`` names the server. The
other system is a SQLite file here. Its table ``roster`` has every enrollment with its present state, and its table
``position`` has the revision that the mirror has reached.

The mirror writes an event and its revision in one transaction. So it can be killed at any point: it then has all events
up to its position and no others, and the next run goes on after them. No event is lost, and none is written twice.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from registrar_client import Checkpoint, Event, EventType, RegistrarClient, RegistrarError, RevisionAhead

TYPES = (
    EventType.STUDENT_ENROLLED,
    EventType.STUDENT_WAITLISTED,
    EventType.STUDENT_PROMOTED,
    EventType.STUDENT_UNENROLLED,
    EventType.ENROLLMENT_COMPLETED,
    EventType.COMPLETION_RECORDED,
    EventType.COMPLETION_VOIDED,
)
"""The events that change an enrollment."""

# A commit does not wait for the disk. If the power fails, the last commits are lost together with their positions.
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS roster (
    enrollment_id TEXT PRIMARY KEY, course_id TEXT NOT NULL, student_id TEXT NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO position VALUES (1, 0);
"""


class Mirror:
    """The rosters in the other system, and the revision up to which they are complete."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(SCHEMA)

    @property
    def position(self) -> int:
        """The revision up to which the mirror has all events."""
        return int(self._database.execute("SELECT revision FROM position").fetchone()[0])

    def apply(self, item: Event | Checkpoint) -> None:
        """Write an event and the new position, in one transaction. A checkpoint has only a position."""
        with self._database:
            if isinstance(item, Event) and item.enrollment:
                one = item.enrollment
                row = (one.enrollment_id, one.course_id, one.student_id, str(one.state))
                self._database.execute("INSERT OR REPLACE INTO roster VALUES (?, ?, ?, ?)", row)
            self._database.execute("UPDATE position SET revision = ?", (item.revision,))


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Mirror]:
    """Open a mirror, or begin a new one."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        yield Mirror(database)


def follow(registrar: RegistrarClient, mirror: Mirror) -> None:
    """Write all events that the mirror does not have, and then each new one as it comes."""
    # With checkpoints, the position also advances while no event changes an enrollment.
    with registrar.history.watch(after_revision=mirror.position, types=TYPES, checkpoints=True) as items:
        for item in items:
            mirror.apply(item)


def main() -> None:
    """Mirror the rosters until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Mirror the rosters of all courses into a SQLite file.")
    parser.add_argument("mirror", type=Path, help="the file, which is created if it does not exist")
    given = parser.parse_args()
    try:
        with opened(given.mirror) as mirror, RegistrarClient.from_env() as registrar:
            follow(registrar, mirror)
    except KeyboardInterrupt:
        pass
    except RevisionAhead as error:
        # The mirror has events that the history lost, and the history gives their revisions to other events. So the
        # mirror must not go on, not even when the history has reached its position again.
        sys.exit(
            f"{error}\nAn older backup of Registrar was restored, or {given.mirror} mirrors another Registrar. "
            f"Delete {given.mirror} to begin a new mirror."
        )
    except RegistrarError as error:
        sys.exit(f"{error}\nRun the program again to go on.")


if __name__ == "__main__":
    main()
