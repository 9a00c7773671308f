"""Loads the students, courses and enrollments of a term from CSV files, and continues a load that was interrupted.

Run it as ``python examples/load_term.py FOLDER``, with ``--operation-id`` to continue. ``REGISTRAR_TARGET`` names the
server. The folder has the files ``students.csv``, ``courses.csv`` and ``enrollments.csv``. Their columns are named
after the arguments of ``students.update``, ``courses.update`` and ``enroll``, and an empty cell gives no argument.

The program writes the refused rows to ``refused.csv`` in the same folder. Correct them where they are, and run the
program again with the same operation id: it makes only what was not made before.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import shlex
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from registrar_client import BulkReport, BulkStopped, Meeting, RegistrarClient, RegistrarError, Weekday, writes

FILES: dict[str, Callable[..., writes.Write[Any]]] = {
    "students.csv": partial(writes.students.update, allow_missing=True),
    "courses.csv": partial(writes.courses.update, allow_missing=True),
    "enrollments.csv": partial(writes.enroll, allow_existing=True),
}
"""The files in the order in which they are loaded, with the change that a row asks for."""


def meetings(cell: str) -> list[Meeting]:
    """Read meetings, such as ``MONDAY FRIDAY 09:00-10:30; TUESDAY 13:00-14:00``."""
    found = []
    for each in cell.split(";"):
        *days, times = each.split()
        start, end = map(dt.time.fromisoformat, times.split("-"))
        found.append(Meeting(weekdays=list(map(Weekday, days)), start_time=start, end_time=end))
    return found


COLUMNS: dict[str, Callable[[str], Any]] = {"capacity": int, "waitlist_capacity": int, "meetings": meetings}
"""How columns are read that are no text. Add those that your files have."""

TIMEOUT = 120
"""How many seconds the load waits for the server, so that a restart of the server does not end it."""


class Term:
    """The rows of a term as changes, in order, and the file of those that were refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: deque[tuple[str, int]] = deque()
        """The file and the line of each row that is not answered yet."""
        self._refused = (folder / "refused.csv").open("w", encoding="utf-8", newline="")
        self._refused_rows = csv.writer(self._refused)
        self._refused_rows.writerow(["file", "line", "reason", "message"])

    def changes(self) -> Iterator[writes.Write[Any]]:
        """Yield the change of each row. Raises ValueError if a row cannot be read."""
        for name, change in FILES.items():
            with (self._folder / name).open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file)
                try:
                    for row in rows:
                        made = change(**{key: COLUMNS.get(key, str)(cell) for key, cell in row.items() if cell})
                        self._places.append((name, rows.line_num))
                        yield made
                except (UnicodeDecodeError, csv.Error) as error:
                    raise ValueError(f"{name}, after line {rows.line_num}: {error}") from error
                except (RegistrarError, TypeError, ValueError) as error:
                    raise ValueError(f"{name}, line {rows.line_num}: {error}") from error

    def note(self, _index: int, _change: writes.Write[Any], outcome: object) -> None:
        """Note the answer to the next row, which is its result or its error."""
        place = self._places.popleft()
        if isinstance(outcome, RegistrarError):
            self._refused_rows.writerow([*place, outcome.reason, outcome])

    def close(self) -> None:
        """Close the file of refused rows."""
        self._refused.close()


def show(done: int, refused: int, _total: int | None) -> None:
    """Show how far the load is."""
    print(f"{done:,} rows done, {refused:,} refused", file=sys.stderr)


def load(folder: Path, operation_id: uuid.UUID) -> BulkReport:
    """Load a term. Raises BulkStopped if the load ends before the last row."""
    term = Term(folder)
    try:
        with RegistrarClient.from_env() as registrar:
            return registrar.bulk(
                term.changes(), operation_id=operation_id, on_progress=show, on_result=term.note, timeout=TIMEOUT
            )
    finally:
        term.close()


def main() -> None:
    """Load a term; if the load is interrupted, say how to continue."""
    parser = argparse.ArgumentParser(description="Load the students, courses and enrollments of a term.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--operation-id", type=uuid.UUID, default=uuid.uuid4(), help="continue this load")
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    again = f"python examples/load_term.py {shlex.quote(str(given.folder))} --operation-id {given.operation_id}"
    try:
        report = load(given.folder, given.operation_id)
    except KeyboardInterrupt:
        print(f"To continue: {again}", file=sys.stderr)
        sys.exit(130)
    except BulkStopped as error:
        sys.exit(f"{error}\nTo continue: {again}")
    print(f"{report.done:,} rows done in {report.seconds:.1f} s")
    for reason, count in report.refused.items():
        print(f"{count:,} refused: {reason}")
    if report.refused:
        print(f"When the rows in refused.csv are corrected: {again}")


if __name__ == "__main__":
    main()
