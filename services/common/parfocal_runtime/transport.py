"""How a server speaks: TLS, limits, keep-alive."""

from __future__ import annotations

from pathlib import Path

import grpc

from parfocal_runtime.config import ConfigError, ServerConfig


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Return the TLS credentials of a server, None for plain text.

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
    chain, key = (read_file(file) for file in files)
    authorities = read_file(config.tls_client_ca_file) if config.tls_client_ca_file else None
    return grpc.ssl_server_credentials(
        [(key, chain)],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )


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
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
    if config.max_connection_age_seconds:
        age = 1000 * config.max_connection_age_seconds
        options.append(("grpc.max_connection_age_ms", age))
        options.append(("grpc.max_connection_age_grace_ms", int(1000 * config.grace_seconds)))
    return options


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
