"""The commands ``registrar-server keys create | list | revoke``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from registrar_server import migrate
from registrar_server.identity.callers import Permission, Role
from registrar_server.identity.key_format import ROLES, KnownKey, check_key_name, make_key
from registrar_server.identity.key_store import add_key, all_keys, revoke_keys
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.migrate.migration_errors import translate_errors
from registrar_server.settings import Settings, seconds
from registrar_server.storage.database import Database

_ROLES = ", ".join(ROLES)
_COLUMNS = ("NAME", "ID", "ROLE", "PERMISSIONS", "CREATED", "EXPIRES", "LAST USED", "REVOKED")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """Add the commands to those of the command line."""
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    actions = keys.add_subparsers(required=True, metavar="create | list | revoke")

    creating = actions.add_parser(
        "create",
        parents=[common],
        help="make a key and print it, once",
        description="Make a key and print it, alone on standard output. Nobody can read it later.",
    )
    creating.add_argument("--name", required=True, type=_argument(check_key_name), help="who gets it, such as sis-sync")
    creating.add_argument("--role", required=True, type=_argument(_role), metavar="ROLE", help=_ROLES)
    creating.add_argument("--override", action="store_true", help="the caller may set rules aside")
    creating.add_argument("--on-behalf-of", action="store_true", help="the caller may act on behalf of others")
    creating.add_argument("--expires", type=_argument(_lifetime), metavar="TIME", help="such as 90d; default: never")
    creating.set_defaults(run=_create)

    listing = actions.add_parser("list", parents=[common], help="list all keys, also the revoked ones")
    listing.set_defaults(run=_list)

    revoking = actions.add_parser("revoke", parents=[common], help="revoke a key; servers refuse it within 30 s")
    revoking.add_argument("named", metavar="NAME-or-ID", help="an id revokes one key, a name all keys of this name")
    revoking.set_defaults(run=_revoke)


def _argument(check: Callable[[str], object]) -> Callable[[str], object]:
    """Return what checks an argument, so that argparse shows why it is refused."""

    def checked(text: str) -> object:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _role(text: str) -> str:
    if text == Role.STUDENT:
        raise ValueError(f"a student has a token of the identity provider and no key; must be one of {_ROLES}")
    if text not in ROLES:
        raise ValueError(f"must be one of {_ROLES}")
    return text


def _lifetime(text: str) -> int:
    """Return a lifetime in microseconds."""
    found = int(seconds(text) * 1_000_000)
    if not found:
        raise ValueError("must be longer than 0s")
    return found


@contextmanager
def _database(config: Settings) -> Iterator[Database]:
    """Return a database whose schema has the keys."""
    url = config.database_url.get_secret_value()
    report = migrate.check(url)
    if report.state is not migrate.MigrationState.UP_TO_DATE:
        raise migrate.MigrationError(str(report))
    with translate_errors("The API keys cannot be used"), closing(Database(url)) as database:
        yield database


def _create(config: Settings, options: argparse.Namespace) -> int:
    key, presented = make_key()
    now = microseconds_now()
    chosen = {Permission.OVERRIDE: options.override, Permission.ON_BEHALF_OF: options.on_behalf_of}
    known = KnownKey(
        presented.key_id,
        options.name,
        options.role,
        frozenset(permission for permission, is_given in chosen.items() if is_given),
        presented.secret_hash,
        create_time=now,
        expire_time=now + options.expires if options.expires else None,
    )
    with _database(config) as database:
        is_first = not all_keys(database)
        add_key(database, known)
    if problem := _print_key(key):
        with _database(config) as database:
            revoke_keys(database, known.key_id, microseconds_now())
        print(f"registrar-server: the key is revoked, because it cannot be printed ({problem})", file=sys.stderr)
        return 1
    print(f"Keep it safe, it is not shown again. {_described(known)}", file=sys.stderr)
    if is_first and config.identity == "auto":
        print("It is the first key: from now on servers refuse callers without credentials.", file=sys.stderr)
    return 0


def _print_key(key: str) -> str:
    """Print a key, and return why nobody can have read it; empty if it is printed."""
    try:
        print(key, flush=True)
    except OSError as error:
        # At its exit, Python tries to write what is left, and would report the failure once more.
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        return error.strerror or type(error).__name__
    return ""


def _described(key: KnownKey) -> str:
    permissions = f" with {_permissions(key)}" if key.permissions else ""
    expires = f"expires {_time(key.expire_time)} UTC" if key.expire_time else "never expires"
    return f"Key {key.key_id} of {key.name}: {key.role}{permissions}, {expires}."


def _list(config: Settings, _options: argparse.Namespace) -> int:
    with _database(config) as database:
        keys = all_keys(database)
    now = microseconds_now()
    rows = [_COLUMNS, *(_row(key, now) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(key: KnownKey, now: int) -> Sequence[str]:
    expires = f"{_time(key.expire_time)}{' (expired)' if key.is_expired(now) else ''}"
    times = (_time(key.create_time), expires, _time(key.last_use_time), _time(key.revoke_time))
    return (key.name, key.key_id, key.role, _permissions(key) or "-", *times)


def _permissions(key: KnownKey) -> str:
    return ",".join(sorted(key.permissions))


def _time(microseconds: int | None) -> str:
    if microseconds is None:
        return "-"
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")


def _revoke(config: Settings, options: argparse.Namespace) -> int:
    with _database(config) as database:
        count = revoke_keys(database, options.named, microseconds_now())
    if not count:  # The argument may be a whole key, so it is not shown.
        print("registrar-server: no key that is not revoked has this name or id: see keys list", file=sys.stderr)
        return 1
    print("1 key is revoked." if count == 1 else f"{count} keys are revoked.", "Running servers notice it within 30 s.")
    return 0
