"""The public keys of an OpenID Connect issuer, fetched when they are needed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import Unavailable
from parfocal_runtime.logs import get_logger

_log = get_logger(__name__)
_DISCOVERY = "/.well-known/openid-configuration"
_TIMEOUT = urllib3.Timeout(connect=3.0, read=5.0)
_LONGEST_WAIT = 12.0
_LARGEST_DOCUMENT = 1 << 20

PublicKey = RSAKey | ECKey | OKPKey


class IssuerKeys:
    """The keys that an issuer signs with, by their ids.

    They are fetched when a token first needs them, again when a token names a key that is not
    among them, and in the background when they are old. Meanwhile, and while the issuer does
    not answer, those that are known go on to count.

    Args:
        issuer: URL of the issuer; only `https`.
        ca_file: PEM authorities of the issuer's certificate; empty takes the system's.
        pause_seconds: Least time between two fetches.
        old_seconds: Age at which keys are fetched anew.
        clock: Seconds of a clock that only goes forward.

    Raises:
        ConfigError: If the issuer has no `https` URL or the file cannot be used.
    """

    def __init__(
        self,
        issuer: str,
        *,
        ca_file: str = "",
        pause_seconds: float = 10.0,
        old_seconds: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not issuer.startswith("https://"):
            raise ConfigError(f"PARFOCAL_OIDC_ISSUER must begin with https://, got {issuer!r}")
        self._issuer = issuer
        self._web = _web(ca_file)
        self._pause, self._old, self._clock = pause_seconds, old_seconds, clock
        self._tried = self._fetched = float("-inf")
        self._failed = False
        self._keys: Mapping[str, PublicKey] = {}
        self._fetching: asyncio.Task[None] | None = None
        # Threads that do the service's own work may be busy for minutes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parfocal-oidc")
        self.generation = 0

    async def find(self, key_id: str) -> PublicKey | None:
        """Return the key of this id, None if the issuer has none; empty is the only one.

        Raises:
            Unavailable: If the issuer does not answer (`ERROR_REASON_DEPENDENCY_UNAVAILABLE`).
        """
        key = self._known(key_id)
        if key is not None:
            self.keep_fresh()
            return key
        if self._fetching is None and self._clock() - self._tried >= self._pause:
            self._begin()
        if self._fetching is not None:
            # The fetch goes on if this caller goes away: others wait for it too.
            await asyncio.wait((self._fetching,), timeout=_LONGEST_WAIT)
        key = self._known(key_id)
        if key is None and (self._failed or self._fetching is not None):
            raise Unavailable(
                "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
                "the issuer of tokens does not answer",
                service="oidc",
            )
        return key

    def keep_fresh(self) -> None:
        """Begin to fetch the keys anew if they are old."""
        now = self._clock()
        if now - self._fetched < self._old or now - self._tried < self._pause:
            return
        if self._fetching is None:
            self._begin()

    def close(self) -> None:
        """Fetch no more; whoever waits is told that the keys cannot be had."""
        self._failed = True
        if self._fetching is not None:
            self._fetching.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._web.clear()

    def _known(self, key_id: str) -> PublicKey | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _begin(self) -> None:
        self._tried = self._clock()
        self._fetching = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            keys = await loop.run_in_executor(self._thread, self._downloaded)
        # Whatever an issuer answers, those who do not need it must not notice.
        except Exception as error:
            self._failed = True
            _log.warning("keys of the issuer not fetched", issuer=self._issuer, problem=str(error))
        else:
            self._failed = False
            self._fetched = self._clock()
            if _thumbprints(keys) != _thumbprints(self._keys):
                self._keys = keys
                self.generation += 1
                _log.info("keys of the issuer fetched", issuer=self._issuer, keys=sorted(keys))
        finally:
            self._fetching = None

    def _downloaded(self) -> dict[str, PublicKey]:
        about = self._document(self._issuer.rstrip("/") + _DISCOVERY)
        if about.get("issuer") != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        place = about.get("jwks_uri")
        if not isinstance(place, str) or not place.startswith("https://"):
            raise ValueError("the discovery document names no https place of keys")
        entries = self._document(place).get("keys")
        if not isinstance(entries, list):
            raise ValueError("the document of keys has none")
        return _public_keys(entries)

    def _document(self, url: str) -> dict[str, Any]:
        # A redirect could lead to where the issuer's certificate says nothing.
        answer = self._web.request(
            "GET",
            url,
            redirect=False,
            preload_content=False,
            headers={"Accept": "application/json"},
        )
        try:
            if answer.status != 200:
                raise ValueError(f"{url} answered {answer.status}")
            body = answer.read(_LARGEST_DOCUMENT + 1)
        finally:
            answer.release_conn()
        if len(body) > _LARGEST_DOCUMENT:
            raise ValueError(f"{url} answered with more than {_LARGEST_DOCUMENT} bytes")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError(f"{url} answered with no JSON object")
        return document


def _web(ca_file: str) -> urllib3.PoolManager:
    if ca_file:
        try:
            with open(ca_file, "rb"):
                pass
        except OSError as error:
            raise ConfigError(f"cannot read {ca_file}: {error.strerror}") from error
    return urllib3.PoolManager(
        ca_certs=ca_file or None, cert_reqs="CERT_REQUIRED", timeout=_TIMEOUT, retries=False
    )


def _public_keys(entries: list[Any]) -> dict[str, PublicKey]:
    """Return the keys that signatures can be checked with; what is unknown is passed over."""
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        # A symmetric key in a public document is no secret, and must never check anything.
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = import_key(entry)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, PublicKey):
            key.ensure_kid()
            keys[str(key.kid)] = key
    return keys


def _thumbprints(keys: Mapping[str, PublicKey]) -> dict[str, str]:
    return {key_id: key.thumbprint() for key_id, key in keys.items()}
