"""The migrations folder: the schema revisions, in their order, and the data steps between them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from registrar_server.migrate.errors import MigrationError, explained

_PACKAGE = Path(__file__).resolve().parent.parent
_SCHEMA_HEADER = re.compile(r"^--\s*schema:\s*(\S+)\s*$", re.MULTILINE)


def folder() -> Path:
    """Where the migrations are: ``$REGISTRAR_MIGRATIONS_DIR``, else in the package, else in the checkout.

    Raises:
        MigrationError: if none of these is a migrations folder.
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
    """Alembic's configuration for our folder; ``%`` is doubled since Alembic interpolates."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


@dataclass(frozen=True)
class DataStep:
    """One yoyo step: its name and the schema revision that it follows."""

    name: str
    path: Path
    follows: str


@dataclass(frozen=True)
class History:
    """Every migration this version knows: revisions oldest first, and the data steps of each by name."""

    revisions: tuple[str, ...]
    data_steps: Mapping[str, tuple[DataStep, ...]]

    @classmethod
    def read(cls) -> History:
        """Read the folder.

        Raises:
            MigrationError: if it is not there, its revisions branch, or a data step names no known revision.
        """
        with explained("The migrations cannot be read"):
            scripts = ScriptDirectory.from_config(alembic_config())
            newest = scripts.get_current_head() or "base"  # Raises where branches were left unmerged.
            revisions = tuple(script.revision for script in scripts.walk_revisions(head=newest))[::-1]
        steps = [_read_data_step(path) for path in _data_files()]
        if strays := [step.name for step in steps if step.follows not in revisions]:
            raise MigrationError(f"Data steps that follow no known revision: {', '.join(strays)}.")
        return cls(revisions, {r: tuple(s for s in steps if s.follows == r) for r in revisions})

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of all data steps, in the order in which they run."""
        return tuple(step.name for revision in self.revisions for step in self.data_steps[revision])

    def position(self, revision: str | None) -> int:
        """How many revisions are in force at this one: 0 for ``None``.

        Raises:
            MigrationError: if the revision is unknown.
        """
        if revision is None:
            return 0
        if revision not in self.revisions:
            raise MigrationError(f"There is no schema revision {revision!r}.")
        return self.revisions.index(revision) + 1

    def target(self, wanted: str, at: str | None) -> int:
        """The position meant by ``head``, ``base``, a revision, or ``+N`` and ``-N`` from the one in force.

        Raises:
            MigrationError: if there is no such revision.
        """
        if wanted in ("head", "base"):
            return len(self.revisions) if wanted == "head" else 0
        if not re.fullmatch(r"[+-]\d+", wanted):
            return self.position(wanted)
        position = self.position(at) + int(wanted)
        if not 0 <= position <= len(self.revisions):
            raise MigrationError(f"There are not so many schema revisions as {wanted!r} asks for.")
        return position


def _data_files() -> list[Path]:
    files = (folder() / "data").glob("*.sql")
    return sorted(path for path in files if not path.name.endswith(".rollback.sql"))


def _read_data_step(path: Path) -> DataStep:
    header = _SCHEMA_HEADER.search(path.read_text(encoding="utf-8"))
    if header is None:
        raise MigrationError(f"Data step {path.name} lacks its header `-- schema: <revision>`.")
    return DataStep(path.stem, path, header[1])
