"""The command line: ``registrar-server serve | migrate | verify | keys``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import structlog
import uvloop

from registrar_server import key_commands, logs, migrate, settings, verify, version
from registrar_server.app import Server, StartError, start
from registrar_server.database_settings import has_password
from registrar_server.first_calls import try_next
from registrar_server.log_level import watched_log_level
from registrar_server.migrate.migration_errors import translate_errors
from registrar_server.stop_signals import StopSignals
from registrar_server.storage.database import Database

log = structlog.get_logger()

MIGRATE_WORDS = """
actions:
  upgrade [REVISION]    apply the revisions and data steps that are missing, up to this revision (default: head)
  downgrade REVISION    undo the revisions after this one; what only they can hold is lost
  current               print the revision and the data steps that are applied
  check                 exit with 1 if something is missing, or if a newer version has migrated the database

revisions:
  head                  the newest one
  base                  the empty database, before the first one
  20261123_1600         the one of this name, as `current` prints it
  +1, -1                so many after or before the current one
"""

PASSWORD_IN_FLAG = (
    "a flag must not contain a password, because other users of the machine can read it: set the database URL as"
    f" {settings.PREFIX}DATABASE_URL in the environment or in {settings.ENV_FILE}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 for success, 1 for a failure, 2 for invalid arguments."""
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    if any(map(has_password, _values(given))):
        parser.error(PASSWORD_IN_FLAG)
    options = parser.parse_args(given)
    try:
        config = settings.load(**_flags(options))
        logs.configure(config.log_format, config.log_level)
        for name in settings.unknown_names(settings.environment()):
            log.warning("setting_unknown", name=name, nearest=settings.nearest_name(name))
        status: int = options.run(config, options)
        return status
    except (settings.SettingsError, migrate.MigrationError, StartError) as error:
        print(f"registrar-server: {error}", file=sys.stderr)
        return 1


def _values(arguments: Sequence[str]) -> Iterator[str]:
    """Return the values among arguments, whatever flag they are for: argparse would show one that it cannot place."""
    for argument in arguments:
        yield argument.partition("=")[2] if argument.startswith("--") else argument


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are flags; None where a flag is not given."""
    names = ("listen", "http_listen", "database_url", "insecure", "log_format", "log_level", "migration_wait")
    return {name: getattr(options, name, None) for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="registrar-server",
        description="Course enrollment over gRPC and HTTP. Each setting has an environment variable: see .env.example.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--database-url", help="REGISTRAR_DATABASE_URL, without a password")
    common.add_argument("--log-format", help="REGISTRAR_LOG_FORMAT: auto, console or json")
    common.add_argument("--log-level", help="REGISTRAR_LOG_LEVEL: debug, info, warning or error")
    parser.add_argument("--version", action="version", version=f"registrar-server {version()}")
    commands = parser.add_subparsers(required=True, metavar="serve | migrate | verify | keys")

    serve = commands.add_parser("serve", parents=[common], help="serve until SIGTERM or SIGINT")
    serve.add_argument("--migrate", action="store_true", help="upgrade the database first")
    serve.add_argument("--listen", help="REGISTRAR_LISTEN, host:port")
    serve.add_argument("--http-listen", help="REGISTRAR_HTTP_LISTEN, host:port; empty turns HTTP off")
    serve.add_argument("--insecure", action="store_true", default=None, help="serve without TLS on any address")
    serve.set_defaults(run=_serve)

    migrating = commands.add_parser(
        "migrate",
        parents=[common],
        help="upgrade, downgrade or inspect the database",
        description="Upgrade the database, unless another action is given.",
        epilog=MIGRATE_WORDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = ("upgrade", "downgrade", "current", "check")
    migrating.add_argument("action", nargs="?", default="upgrade", choices=actions, metavar="ACTION", help="see below")
    migrating.add_argument("revision", nargs="?", metavar="REVISION", help="see below")
    migrating.add_argument("--yes", action="store_true", help="downgrade although tables have rows, which may be lost")
    migrating.add_argument("--force", action="store_true", help="downgrade although other processes are connected")
    migrating.add_argument("--wait", dest="migration_wait", metavar="TIME", help="REGISTRAR_MIGRATION_WAIT, such as 5m")
    migrating.set_defaults(run=_migrate)

    verifying = commands.add_parser("verify", parents=[common], help="check that the stored data is consistent")
    verifying.set_defaults(run=_verify)

    key_commands.add_to(commands, common)
    return parser


def _serve(config: settings.Settings, options: argparse.Namespace) -> int:
    if options.migrate:
        migrate.upgrade(config.database_url.get_secret_value(), wait=config.migration_wait)
    uvloop.run(_serve_until_signalled(config, partial(settings.load, **_flags(options))))
    return 0


async def _serve_until_signalled(config: settings.Settings, load: Callable[[], settings.Settings]) -> None:
    _tune_garbage_collection()
    stop, reload = asyncio.Event(), asyncio.Event()
    StopSignals(stop.set, _exit_immediately, reload.set).listen(asyncio.get_running_loop())
    log_level = watched_log_level(config, load)
    server = await start(config)
    server.watch(log_level)
    reloading = asyncio.create_task(_reload_when_asked(server, reload))
    # The log goes to standard error, so standard output is free for people. JSON means that a program is reading.
    if config.log_format != "json" and config.tls_cert_file is None:
        logs.write_out()  # On a terminal, the first lines of the log come before the examples.
        print(try_next(server.address, server.http_address, identified=server.identifies_callers), flush=True)
    await stop.wait()
    reloading.cancel()
    if not await server.stop():
        _exit_immediately()


async def _reload_when_asked(server: Server, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await server.reload()


def _exit_immediately() -> None:
    """Exit without waiting for threads that the database blocks; every acknowledged change is committed."""
    log.error("server_left_at_once")
    logs.write_out()
    os._exit(1)


def _tune_garbage_collection() -> None:
    """Exclude start-up objects from garbage collection, and collect seldom.

    Without ``freeze``, a full collection takes 70 ms. Four batches of 256 writes keep some 25,000 objects until they
    end, which each collection would visit in vain. A collection takes up to 20 ms if all of its objects are still in
    use, which happens only if thousands of calls wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(40_000, 10, 10)


def _migrate(config: settings.Settings, options: argparse.Namespace) -> int:
    url = config.database_url.get_secret_value()
    match options.action:
        case "upgrade":
            migrate.upgrade(url, options.revision or "head", wait=config.migration_wait)
        case "downgrade":
            if options.revision is None:
                print("registrar-server: downgrade to what? base, a revision, or -1", file=sys.stderr)
                return 2
            keep_rows, alone = not options.yes, not options.force
            migrate.downgrade(url, options.revision, wait=config.migration_wait, keep_rows=keep_rows, alone=alone)
        case "current":
            applied = migrate.current(url)
            print(f"schema: {applied.revision or 'none'}")
            print(f"data: {', '.join(applied.data_steps) or 'none'}")
        case "check":
            report = migrate.check(url)
            print(report)
            return 0 if report.state is migrate.MigrationState.UP_TO_DATE else 1
    return 0


def _verify(config: settings.Settings, _options: argparse.Namespace) -> int:
    url = config.database_url.get_secret_value()
    report = migrate.check(url)
    if report.state is not migrate.MigrationState.UP_TO_DATE:
        raise migrate.MigrationError(str(report))
    count = 0
    with (
        translate_errors("The database cannot be read"),
        closing(Database(url)) as database,
        verify.open_snapshot(database.autocommit) as connection,
    ):
        for disagreement in verify.disagreements(connection):
            print(disagreement)
            count += 1
        counts = verify.row_counts(connection)
    print(f"{verify.pluralize(count, 'disagreement')} in {counts}." if count else f"{counts} agree.")
    return 1 if count else 0
