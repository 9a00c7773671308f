"""Reads the migrations folder: the schema revisions in order, and the data steps between them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from registrar_server.migrate.migration_errors import MigrationError, translate_errors

_PACKAGE = Path(__file__).resolve().parent.parent
_SCHEMA_HEADER = re.compile(r"^--\s*schema:\s*(\S+)\s*$", re.MULTILINE)


def migrations_folder() -> Path:
    """Return the migrations folder: ``$REGISTRAR_MIGRATIONS_DIR``, else the package's, else the checkout's.

    Raises:
        MigrationError: if there is no migrations folder.
    """
    if chosen := os.environ.get("REGISTRAR_MIGRATIONS_DIR"):
        candidates = [Path(chosen)]
    else:
        candidates = [_PACKAGE / "migrations", _PACKAGE.parent.parent / "migrations"]
    for candidate in candidates:
        if (candidate / "env.py").is_file():
            return candidate.resolve()
    raise MigrationError(f"There are no migrations in {' or '.join(map(str, candidates))}.")


def alembic_config() -> Config:
    """Return Alembic's configuration for the migrations folder."""
    config = Config()
    # Alembic interpolates options, so a literal % is written as %%.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


@dataclass(frozen=True)
class DataStep:
    """A yoyo migration, and the schema revision that it follows."""

    name: str
    path: Path
    follows: str


@dataclass(frozen=True)
class KnownMigrations:
    """All migrations of this version: the revisions, oldest first, and the data steps that follow each."""

    revisions: tuple[str, ...]
    data_steps: Mapping[str, tuple[DataStep, ...]]

    @classmethod
    def read(cls) -> KnownMigrations:
        """Read the migrations folder.

        Raises:
            MigrationError: if it is missing, its revisions branch, or a data step names no known revision.
        """
        with translate_errors("The migrations cannot be read"):
            scripts = ScriptDirectory.from_config(alembic_config())
            newest = scripts.get_current_head() or "base"  # Raises if there are several heads.
            revisions = tuple(script.revision for script in scripts.walk_revisions(head=newest))[::-1]
        data_steps = [_read_data_step(path) for path in _data_files()]
        if unknown := [step.name for step in data_steps if step.follows not in revisions]:
            raise MigrationError(f"Data steps that follow no known revision: {', '.join(unknown)}.")
        return cls(revisions, {r: tuple(step for step in data_steps if step.follows == r) for r in revisions})

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of all data steps, in the order of execution."""
        return tuple(step.name for revision in self.revisions for step in self.data_steps[revision])

    def ordinal(self, revision: str | None) -> int:
        """Return the place of a revision in the order, from 1; 0 for ``None``.

        Raises:
            MigrationError: if the revision is unknown.
        """
        if revision is None:
            return 0
        if revision not in self.revisions:
            raise MigrationError(f"There is no schema revision {revision!r}.")
        return self.revisions.index(revision) + 1

    def target_ordinal(self, wanted: str, current: str | None) -> int:
        """Return the ordinal of ``head``, ``base``, a revision, or ``+N`` and ``-N`` relative to the current one.

        Raises:
            MigrationError: if there is no such revision.
        """
        if wanted in ("head", "base"):
            return len(self.revisions) if wanted == "head" else 0
        if not re.fullmatch(r"[+-]\d+", wanted):
            return self.ordinal(wanted)
        ordinal = self.ordinal(current) + int(wanted)
        if not 0 <= ordinal <= len(self.revisions):
            raise MigrationError(f"There are not so many schema revisions as {wanted!r} asks for.")
        return ordinal


def _data_files() -> list[Path]:
    files = (migrations_folder() / "data").glob("*.sql")
    return sorted(path for path in files if not path.name.endswith(".rollback.sql"))


def _read_data_step(path: Path) -> DataStep:
    header = _SCHEMA_HEADER.search(path.read_text(encoding="utf-8"))
    if header is None:
        raise MigrationError(f"Data step {path.name} lacks its header `-- schema: <revision>`.")
    return DataStep(path.stem, path, header[1])
