"""Certificates for tests, generated in each run, so that the repository contains no keys."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import trustme


class Certificates(NamedTuple):
    """PEM files: an authority, and the certificates that it signed for a local server and for a client."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make(folder: Path) -> Certificates:
    """Write an authority, and its certificates for ``localhost`` and for a client, to ``folder``."""
    authority = trustme.CA()
    made = Certificates(*(folder / f"{name}.pem" for name in Certificates._fields))
    authority.cert_pem.write_to_path(str(made.authority))
    for issued, certificate, key in (
        (authority.issue_cert("localhost", "127.0.0.1"), made.server, made.server_key),
        (authority.issue_cert("client@example.edu"), made.client, made.client_key),
    ):
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
    return made
