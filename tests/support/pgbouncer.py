"""A throw-away PgBouncer in front of a test's PostgreSQL, with the machine's binary."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url, text

from tests.support.postgres import account, free_port

CLIENTS = 4


def find_binary() -> str | None:
    """Return the path of ``pgbouncer``, which Debian installs where only root looks; None if it is not installed."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


@contextlib.contextmanager
def pooled(postgresql_url: str, pool_mode: str) -> Iterator[str]:
    """Run PgBouncer with its defaults in a pool mode, and return the URL of the database behind it."""
    binary = find_binary()
    assert binary
    target = make_url(postgresql_url)
    # If root has a TMPDIR, `nobody` may not be able to enter it.
    with tempfile.TemporaryDirectory(prefix="registrar-pgbouncer-", dir="/tmp" if account() else None) as folder:
        port = free_port()
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={target.host} port={target.port} user={target.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {pool_mode}\n"
        )
        Path(folder).chmod(0o755)
        with _running([binary, str(config)]):
            yield target.set(port=port).render_as_string(hide_password=False)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[None]:
    # Like PostgreSQL, PgBouncer refuses to run as root.
    user = account()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    try:
        assert process.stderr
        log: list[str] = []
        for line in process.stderr:
            log.append(line)
            if "process up" in line:
                break
        else:
            raise RuntimeError("PgBouncer did not start:\n" + "".join(log))
        yield
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def busy(url: str) -> Iterator[None]:
    """Run short transactions in several connections within the ``with`` block."""
    ends = threading.Event()
    begun = threading.Barrier(CLIENTS + 1)

    def work() -> None:
        engine = create_engine(url, poolclass=NullPool, connect_args={"prepare_threshold": None})
        with engine.connect() as connection:
            begun.wait()
            while not ends.is_set():
                connection.execute(text("SELECT pg_sleep(0.001)"))
                connection.commit()

    with ThreadPoolExecutor(CLIENTS) as threads:
        workers = [threads.submit(work) for _ in range(CLIENTS)]
        begun.wait()
        try:
            yield
        finally:
            ends.set()
    for worker in workers:
        worker.result()
