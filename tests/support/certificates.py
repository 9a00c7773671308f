"""Certificates for tests, generated in each run, so that the repository contains no keys."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


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


class Pair(NamedTuple):
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Write both to files."""
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)


class Authority:
    """An authority that signs certificates for any subject alternative names, such as ``URI:spiffe://campus/sis``."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name("Authority of tests")
        self._own = (
            self._certificate(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = _pem(self._own)
        """The certificate of the authority."""

    def issue(self, *names: str, common_name: str = "test", ended: bool = False) -> Pair:
        """Return a certificate for these names; ``ended`` makes it one that is no longer valid."""
        key = ec.generate_private_key(ec.SECP256R1())
        days = (-2, -1) if ended else (-1, 1)
        certificate = self._certificate(_common_name(common_name), key.public_key(), days)
        if names:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(map(_general, names)), critical=False)
        return Pair(_pem(certificate.sign(self._key, hashes.SHA256())), _pem_of_key(key))

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: tuple[int, int] = (-3, 3)
    ) -> x509.CertificateBuilder:
        begins, ends = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=count) for count in days)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    def as_client(self, pair: Pair | None = None) -> grpc.ChannelCredentials:
        """Return how a client trusts the authority, and which certificate it presents."""
        return grpc.ssl_channel_credentials(self.pem, pair.key if pair else None, pair.certificate if pair else None)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "IP":
        return x509.IPAddress(ip_address(value))
    if kind == "email":
        return x509.RFC822Name(value)
    return x509.DNSName(value) if kind == "DNS" else x509.UniformResourceIdentifier(value)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
