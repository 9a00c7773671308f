"""The certificates of the server and of its clients' authorities, for the listeners of gRPC and of HTTP."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc

from registrar_server.rpc.transport import ListenError
from registrar_server.settings import Settings
from registrar_server.watched_files import Watched


class _NewestContext(ssl.SSLContext):
    """Begins each handshake with the context that was made last."""

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake."""
        return self.newest.wrap_bio(*arguments, **options)


class TlsFiles:
    """The TLS files of the settings. ``read`` reads them again for the next handshakes; connections are not affected.

    Raises ``ListenError`` if a file is invalid.
    """

    def __init__(self, certificate: Path, key: Path, authorities: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._used_by_grpc: grpc.ServerCertificateConfiguration | None = None
        self.http_context = _NewestContext(ssl.PROTOCOL_TLS_SERVER)
        """How the listener of HTTP encrypts, and which clients it accepts."""
        files = [certificate, key, *([authorities] if authorities else [])]
        self.watched = Watched("certificates", files, self.read)
        self.read()

    @classmethod
    def of(cls, settings: Settings) -> TlsFiles | None:
        """Return the files of the settings, or None for a server without TLS. Raises ``ListenError`` as the class."""
        if settings.tls_cert_file is None or settings.tls_key_file is None:
            return None
        return cls(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)

    def read(self) -> None:
        """Read the files. If one is invalid, raise ``ListenError`` and keep those that were read before."""
        contents = self._contents()
        context = self._context()  # gRPC refuses invalid files too, but without naming the cause.
        if self._contents() != contents:
            raise ListenError("the TLS files changed while they were read")
        key, certificate, authorities = contents
        self._for_grpc = grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
        self.http_context.newest = context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return how the listener of gRPC encrypts, and which clients it accepts."""
        self._used_by_grpc = self._for_grpc
        return grpc.dynamic_ssl_server_credentials(
            self._for_grpc,
            self._renewed,  # type: ignore[arg-type]  # The stub does not know that it may return None.
            require_client_authentication=self._authorities is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what the next handshakes of gRPC use, or None if that has not changed. Called by threads of gRPC."""
        newest = self._for_grpc
        if newest is self._used_by_grpc:
            return None
        self._used_by_grpc = newest
        return newest

    def _contents(self) -> tuple[bytes, bytes, bytes | None]:
        try:
            authorities = self._authorities.read_bytes() if self._authorities else None
            return self._key.read_bytes(), self._certificate.read_bytes(), authorities
        except OSError as error:
            raise ListenError(f"a TLS file cannot be read ({error})") from error

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # With an explicit password, OpenSSL does not ask for one on the terminal if the key is encrypted.
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:
            raise ListenError(
                f"REGISTRAR_TLS_CERT_FILE={self._certificate}, REGISTRAR_TLS_KEY_FILE={self._key}: must be a PEM"
                f" certificate chain and its private key, not encrypted ({error})"
            ) from error
        try:
            if self._authorities:
                context.load_verify_locations(self._authorities)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            raise ListenError(
                f"REGISTRAR_TLS_CLIENT_CA_FILE={self._authorities}: must be PEM certificates ({error})"
            ) from error
        return context
