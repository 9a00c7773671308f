"""Backup and restore, carried out as ``docs/operations.md`` writes them down."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registrar_server import migrate
from tests.support import postgres
from tests.support.databases import execute
from tests.support.postgres import Cluster
from tests.support.servers import Registrar, registrar_on
from tests.support.subprocess_environment import environment_without

ROOT = Path(__file__).parents[2]
STUDENTS = "SELECT student_id FROM students ORDER BY student_id"
VERIFIED = re.compile(r"^\d+ events, .* agree\.$", re.MULTILINE)


def commands(heading: str) -> list[str]:
    """Return the shell scripts below a heading of the document, in order."""
    document = (ROOT / "docs" / "operations.md").read_text()
    section = document.partition(f"\n### {heading}\n")[2]
    return re.findall(
        r"^```sh\n(.*?)^```$", re.split(r"^##+ ", section, flags=re.MULTILINE)[0], re.DOTALL | re.MULTILINE
    )


def run(script: str, folder: Path, *paths: Path, variables: dict[str, str] | None = None, **options: Any) -> str:
    """Run a script as a person would, and return its output; it ends at the first command that fails."""
    inherited = environment_without("REGISTRAR_", "PG")
    found = os.pathsep.join([*map(str, paths), str(Path(sys.executable).parent), inherited["PATH"]])
    done: subprocess.CompletedProcess[str] = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env={**inherited, **(variables or {}), "PATH": found, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    return done.stdout


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="the sqlite3 command is not installed")
async def test_sqlite_is_backed_up_while_serving_and_restored(sqlite_url: str, tmp_path: Path) -> None:
    back_up, with_python, restore = commands("SQLite")
    async with registrar_on(sqlite_url) as registrar:
        await fill(registrar)
        assert VERIFIED.search(run(back_up, tmp_path))
        run(with_python, tmp_path)
        await registrar.add_student("too-late")
    assert VERIFIED.search(run(restore, tmp_path))
    assert execute(sqlite_url, STUDENTS) == [("s-1",), ("s-2",)]
    assert execute(f"sqlite:///{tmp_path}/backup-2.db", STUDENTS) == [("s-1",), ("s-2",)]
    async with registrar_on(sqlite_url) as registrar:
        await registrar.enroll("s-2", "CS-101")


async def fill(registrar: Registrar) -> None:
    await registrar.add_student("s-1")
    await registrar.add_student("s-2")
    await registrar.add_course("CS-101")
    await registrar.enroll("s-1", "CS-101")


async def test_postgresql_is_dumped_while_serving_and_restored(cluster: Cluster, tmp_path: Path) -> None:
    dump_and_restore, verify = commands("PostgreSQL: dump")
    url = cluster.create_database("registrar")
    migrate.upgrade(url)
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGUSER": "postgres"}
    try:
        async with registrar_on(url) as registrar:
            await fill(registrar)
            run(dump_and_restore, tmp_path, cluster.binaries, variables=login)
            await registrar.add_student("too-late")
        assert VERIFIED.search(run(verify, tmp_path, variables=login))
        assert execute(cluster.url("restored"), STUDENTS) == [("s-1",), ("s-2",)]
        async with registrar_on(cluster.url("restored")) as registrar:
            await registrar.enroll("s-2", "CS-101")
    finally:
        cluster.drop_database("registrar")
        cluster.drop_database("restored")


class OwnCluster:
    """A PostgreSQL cluster whose folder a person handles with the tools of PostgreSQL."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._account = postgres.account()
        self.login = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.free_port()), "PGUSER": "postgres"}
        self.url = f"postgresql://postgres@127.0.0.1:{self.login['PGPORT']}/registrar"

    def run(self, script: str) -> str:
        """Run a script of the document as PostgreSQL's account, with the paths of this cluster."""
        script = script.replace("/var/lib/postgresql", f"{self._folder}/clusters")
        script = script.replace("/var/backups/registrar", f"{self._folder}/backups")
        # The server would keep the pipe of the output open.
        script = script.replace("pg_ctl start", "pg_ctl start --wait --log log").replace(
            "pg_ctl restart", "pg_ctl restart --wait --log log"
        )
        options: dict[str, Any] = {}
        if self._account:
            options = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return run(script, self._folder, self._binaries, variables={**self.login, "PGDATABASE": "postgres"}, **options)


@pytest.fixture
def own_cluster(cluster: Cluster) -> Iterator[OwnCluster]:
    """A running cluster with an empty database named ``registrar``."""
    account = postgres.account()
    # If root has a TMPDIR, `nobody` may not be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="registrar-pitr-", dir="/tmp" if account else None))
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    own = OwnCluster(folder, cluster.binaries)
    settings = f"port = {own.login['PGPORT']}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
    try:
        own.run("initdb --pgdata /var/lib/postgresql/main --username postgres --auth trust --encoding UTF8 --no-sync")
        own.run(f"cat >> /var/lib/postgresql/main/postgresql.conf <<'END'\n{settings}END")
        own.run("pg_ctl start --pgdata /var/lib/postgresql/main")
        own.run("createdb registrar")
        yield own
    finally:
        with contextlib.suppress(AssertionError):
            own.run("pg_ctl stop --mode immediate --pgdata /var/lib/postgresql/main")
        shutil.rmtree(folder)


async def test_postgresql_is_restored_to_a_point_in_time(own_cluster: OwnCluster, tmp_path: Path) -> None:
    archive, restore, verify = commands("PostgreSQL: any point in time")
    own_cluster.run(archive)
    migrate.upgrade(own_cluster.url)
    async with registrar_on(own_cluster.url) as registrar:
        await fill(registrar)
        ((moment,),) = execute(own_cluster.url, "SELECT now()::text")
        await registrar.add_student("too-late")
    assert "2026-09-01 08:59:00+00" in restore
    own_cluster.run(restore.replace("2026-09-01 08:59:00+00", moment))
    assert VERIFIED.search(run(verify, tmp_path, variables=own_cluster.login))
    assert execute(own_cluster.url, STUDENTS) == [("s-1",), ("s-2",)]
    async with registrar_on(own_cluster.url) as registrar:
        await registrar.enroll("s-2", "CS-101")
