"""Where the server is, and how one call goes there: token, limits, retries, errors."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import grpc

from parfocal._errors import AccessError, InvalidRequestError, UnavailableError
from parfocal._local import LocalData, local_data
from parfocal._status import error_from_call, retry_seconds

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message taken and sent; the server's own limit is the same."""

# Scheme of an address -> whether it means TLS.
_SCHEMES = {"grpc": False, "grpcs": True, "http": False, "https": True}
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True)
class Endpoint:
    """A server and how to be let in.

    Attributes:
        address: gRPC target, such as `127.0.0.1:50051`.
        token: Bearer token; empty sends none.
        tls: Whether to speak TLS.
        ca_file: PEM authorities of the server's certificate; empty takes the system's.
        certificate_file: PEM chain that is shown to the server; empty shows none.
        key_file: PEM key of that certificate.
        found: Where the address came from, for messages.
    """

    address: str
    token: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = field(default="", repr=False)
    found: str = "the address given"


def endpoint(
    address: str | None = None,
    *,
    token: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    ca_file: str | None = None,
    certificate_file: str | None = None,
    key_file: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Endpoint:
    """Find the server and the token.

    The address is the given one, `PARFOCAL_SERVER`, or that of the `parfocal up` of the data
    folder (`PARFOCAL_DATA_DIR`, `~/.parfocal`). The token is the given one, the one in the
    address (the link that `parfocal up` prints), `PARFOCAL_TOKEN`, or the data folder's, which
    goes to that folder's own server only. An address that begins with `https://`, or an
    authorities' file (`PARFOCAL_CA_FILE`), means TLS; so does a certificate to show to the server
    (`PARFOCAL_CLIENT_CERTIFICATE_FILE`, `PARFOCAL_CLIENT_KEY_FILE`).

    Raises:
        UnavailableError: If no server is known.
    """
    variables = os.environ if environment is None else environment
    local = local_data(data_dir, environment=variables)
    given, found = _address(address, data_dir is not None, local, variables)
    authorities = _given(ca_file, "PARFOCAL_CA_FILE", variables)
    certificate = _given(certificate_file, "PARFOCAL_CLIENT_CERTIFICATE_FILE", variables)
    target, secure, carried = _target(given)
    return Endpoint(
        address=target,
        token=token or carried or variables.get("PARFOCAL_TOKEN") or _local_token(local, target),
        tls=secure or bool(authorities) or bool(certificate),
        ca_file=authorities,
        certificate_file=certificate,
        key_file=_given(key_file, "PARFOCAL_CLIENT_KEY_FILE", variables),
        found=found,
    )


class Connection:
    """One channel to a server; safe to use from many threads.

    Args:
        endpoint: The server.
        timeout_seconds: How long one call may take.
        retry_seconds: How long a call that finds no server is tried again.
    """

    def __init__(
        self, endpoint: Endpoint, *, timeout_seconds: float = 60.0, retry_seconds: float = 10.0
    ) -> None:
        self.endpoint = endpoint
        self.channel = _channel(endpoint)
        self._timeout = timeout_seconds
        self._retry = retry_seconds
        token = endpoint.token
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_seconds: float | None = None,
    ) -> Response:
        """Call a method and return its answer; what may work later is tried again for a while.

        That is UNAVAILABLE, and a call over the limit of calls per second, which says when to
        come again.

        Raises:
            ParfocalError: If it failed.
        """
        timeout = self._timeout if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + timeout
        patience = time.monotonic() + min(self._retry, timeout)
        for pause in _pauses():
            try:
                left = max(deadline - time.monotonic(), 0.001)
                return method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                wait = pause if _is_unavailable(error) else retry_seconds(error)
                if wait is None or time.monotonic() + wait > patience:
                    raise self._named(error) from error
            time.sleep(wait)
        raise AssertionError("pauses never end")

    def stream(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        next_request: Callable[[], Request],
        *,
        timeout_seconds: float | None = None,
    ) -> Iterator[Response]:
        """Yield the answers of a stream; one that breaks is taken up again.

        Args:
            method: Method of a stub.
            next_request: Makes the request that goes on where the answers so far ended.
            timeout_seconds: How long the stream may take in all; None is for ever.

        Raises:
            ParfocalError: If it failed, or could not be taken up again.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        broken_since: float | None = None
        pauses = _pauses()
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            answers = method(next_request(), timeout=left, metadata=self._metadata)
            try:
                for answer in answers:
                    broken_since, pauses = None, _pauses()
                    yield answer
                return
            except grpc.RpcError as error:
                now, pause = time.monotonic(), next(pauses)
                broken_since = broken_since or now
                if not _is_unavailable(error) or now + pause > broken_since + self._retry:
                    raise self._named(error) from error
            finally:
                # A caller that stops reading ends the call.
                answers.cancel()
            time.sleep(pause)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def _named(self, error: grpc.RpcError) -> Exception:
        named = error_from_call(error)
        if isinstance(named, UnavailableError) and named.code == "UNAVAILABLE" and not named.reason:
            named.args = (
                f"no server answers at {self.endpoint.address} ({self.endpoint.found}): "
                f"{named.message}",
            )
        if isinstance(named, AccessError) and not self.endpoint.token:
            named.args = (f"{named.message}; no token was found: set PARFOCAL_TOKEN",)
        named.message = str(named.args[0])
        return named


def _address(
    address: str | None, data_dir_given: bool, local: LocalData, variables: Mapping[str, str]
) -> tuple[str, str]:
    if address:
        return address, "the address given"
    if not data_dir_given and variables.get("PARFOCAL_SERVER"):
        return variables["PARFOCAL_SERVER"], "PARFOCAL_SERVER"
    running = local.address()
    if running is None:
        raise UnavailableError(
            f"no server is running on {local.folder}; start one with `parfocal up`, or name one "
            "by PARFOCAL_SERVER"
        )
    return running, str(local.server_file)


def _given(value: str | None, variable: str, variables: Mapping[str, str]) -> str:
    return value if value is not None else variables.get(variable, "")


def _target(address: str) -> tuple[str, bool, str]:
    """Return the gRPC target of an address, whether it asks for TLS, and the token in it."""
    parts = urlsplit(address)
    token = parse_qs(parts.query).get("token", [""])[0]
    if parts.scheme not in _SCHEMES or not parts.netloc:
        # gRPC's own names, such as `dns:///labels:50051` or `unix:/run/parfocal`, and a link
        # without its `grpc://`, whose token must not become part of a name in messages.
        bare, query, _ = address.partition("?")
        return bare.rstrip("/") if query else bare, False, token
    return parts.netloc, _SCHEMES[parts.scheme], token


def _local_token(local: LocalData, target: str) -> str:
    return (local.token() or "") if local.address() == target else ""


def _channel(endpoint: Endpoint) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Retries are made here, where their deadline is known.
        ("grpc.enable_retries", 0),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A new connection does not wait for what an older one waits for.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not endpoint.tls:
        return grpc.insecure_channel(endpoint.address, options=options)
    shown = endpoint.certificate_file
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_content(endpoint.ca_file) if endpoint.ca_file else None,
        private_key=_content(endpoint.key_file) if shown else None,
        certificate_chain=_content(shown) if shown else None,
    )
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"cannot read {file or 'no file'}: {error.strerror}") from error


def _is_unavailable(error: grpc.RpcError) -> bool:
    call: Any = error
    return bool(call.code() is grpc.StatusCode.UNAVAILABLE)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        # Many clients that lost one server must not come back all at once.
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, _LONGEST_PAUSE)
