"""A stand-in for curl, so that the examples in the documents run where curl is not installed or is older than 7.82.

It understands the options that the documents use, and writes what curl writes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import ssl
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

_OLDEST = (7, 82)
"""The first version of curl that has ``--json``."""
_FAILED = 22
"""The exit status of curl for a refusal, with ``--fail-with-body``."""


def is_installed() -> bool:
    """Return whether the machine has a curl that can run the examples."""
    if not shutil.which("curl"):
        return False
    shown = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"curl (\d+)\.(\d+)", shown)
    return version is not None and (int(version[1]), int(version[2])) >= _OLDEST


def install(folder: Path) -> None:
    """Write a command ``curl`` to a folder."""
    command = folder / "curl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    command.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Send the request and write the answer."""
    options = _parser().parse_args(arguments)
    address = urlsplit(options.url if "://" in options.url else f"http://{options.url}")
    connection = _connect(address, options)
    try:
        target = f"{address.path or '/'}?{address.query}" if address.query else address.path or "/"
        connection.request(_method(options), target, body=_body(options), headers=_headers(options))
        answer = connection.getresponse()
        if options.include or options.head:
            sys.stdout.write(_head(answer))
        sys.stdout.write(answer.read().decode())
    finally:
        connection.close()
    return _FAILED if options.fail_with_body and answer.status >= 400 else 0


def _connect(address: SplitResult, options: argparse.Namespace) -> HTTPConnection:
    """Return an open connection; ``--retry`` says how often to try if nothing listens there yet."""
    assert address.scheme in ("http", "https")
    left = options.retry
    while True:
        connection = _connection(address, options)
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            if not left:
                raise
        left -= 1
        time.sleep(options.retry_delay)


def _connection(address: SplitResult, options: argparse.Namespace) -> HTTPConnection:
    if address.scheme == "http":
        return HTTPConnection(address.netloc, timeout=60)
    context = ssl.create_default_context(cafile=options.cacert)
    return HTTPSConnection(address.netloc, timeout=60, context=context)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="form")
    parser.add_argument("--json")
    parser.add_argument("-i", dest="include", action="store_true")
    parser.add_argument("-I", dest="head", action="store_true")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-N", "--no-buffer", action="store_true")
    parser.add_argument("--fail-with-body", action="store_true")
    parser.add_argument("--cacert")
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--retry-delay", type=float, default=1.0)
    parser.add_argument("--retry-connrefused", action="store_true")
    return parser


def _method(options: argparse.Namespace) -> str:
    usual = "HEAD" if options.head else "POST" if _body(options) is not None else "GET"
    return str(options.method or usual)


def _body(options: argparse.Namespace) -> bytes | None:
    text = options.json if options.json is not None else options.form
    return None if text is None else str(text).encode()


def _headers(options: argparse.Namespace) -> dict[str, str]:
    found = {"User-Agent": "curl", "Accept": "*/*"}
    if options.json is not None:
        found |= {"Content-Type": "application/json", "Accept": "application/json"}
    elif options.form is not None:
        found["Content-Type"] = "application/x-www-form-urlencoded"
    for given in options.headers:
        header = Path(given[1:]).read_text() if given.startswith("@") else given
        name, _, value = header.partition(":")
        found[name.title()] = value.strip()
    return found


def _head(answer: HTTPResponse) -> str:
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in answer.getheaders())]
    return "".join(f"{line}\r\n" for line in [*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
