"""How a server speaks: TLS, limits, keep-alive."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import grpc

from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.logs import get_logger

_log = get_logger(__name__)


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Return the TLS credentials of a server, None for plain text.

    Whoever connects after a file has changed is shown what it then holds; files that do not go
    together, as while they are being replaced, are passed over.

    Raises:
        ConfigError: If a file is missing or cannot be read.
    """
    files = (config.tls_certificate_file, config.tls_key_file)
    if not any(files):
        if config.tls_client_ca_file:
            raise ConfigError("PARFOCAL_TLS_CLIENT_CA_FILE needs PARFOCAL_TLS_CERTIFICATE_FILE")
        return None
    if not all(files):
        raise ConfigError(
            "PARFOCAL_TLS_CERTIFICATE_FILE and PARFOCAL_TLS_KEY_FILE must be set together"
        )
    certificates = _Certificates(config)
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(),
        certificates.changed,  # type: ignore[arg-type]  # the stub knows no None, which keeps
        require_client_authentication=bool(config.tls_client_ca_file),
    )


class _Certificates:
    """The server's certificate files, read again when they change."""

    def __init__(self, config: ServerConfig) -> None:
        self._chain, self._key = config.tls_certificate_file, config.tls_key_file
        self._authorities = config.tls_client_ca_file
        self._seen = self._stamps()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Return what the files hold.

        Raises:
            ConfigError: If one cannot be read, or the key is not the certificate's.
        """
        chain, key = read_file(self._chain), read_file(self._key)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"{self._chain} and {self._key} are no certificate and its key in PEM"
            ) from error
        return grpc.ssl_server_certificate_configuration(
            [(key, chain)],
            root_certificates=read_file(self._authorities) if self._authorities else None,
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what the files hold if they changed and can be used; called at every handshake."""
        stamps = self._stamps()
        if stamps == self._seen:
            return None
        self._seen = stamps
        try:
            return self.read()
        except ConfigError as error:
            _log.error("certificate not read again", problem=str(error))
            return None

    def _stamps(self) -> list[tuple[int, int, int]]:
        files = (self._chain, self._key, self._authorities)
        return [_stamp(file) for file in files if file]


def server_options(config: ServerConfig) -> list[tuple[str, int]]:
    """Return the channel arguments of a server: limits, keep-alive, age of connections."""
    options = [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        # Two servers on one port would share its calls at random; better fail at the start.
        ("grpc.so_reuseport", 0),
        # Ends the streams of clients that vanished, and lets clients look after theirs.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # gRPC knows it by this name, passes over others, and then hangs up on a caller that has
        # asked three times within minutes whether the server is still there.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if config.max_connection_age_seconds:
        age = 1000 * config.max_connection_age_seconds
        options.append(("grpc.max_connection_age_ms", age))
        options.append(("grpc.max_connection_age_grace_ms", int(1000 * config.grace_seconds)))
    return options


def _stamp(file: str) -> tuple[int, int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def place(host: str, port: int) -> str:
    """Return host and port as gRPC writes them; an IPv6 address goes in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_file(file: str) -> bytes:
    """Return what is in a file that a setting names.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
