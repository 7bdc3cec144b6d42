"""An OpenID Connect issuer of the tests' own: real keys, served over HTTPS on loopback."""

from __future__ import annotations

import json
import ssl
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from certificates import Certificate

Key = RSAKey | ECKey
AUDIENCE = "parfocal"


class TokenIssuer:
    """Serves its discovery document and its keys inside the block, and signs tokens.

    Attributes:
        keys: The keys that it publishes; a token is signed with the last.
        documents: What it answers with instead of its own document, by path.
        silent: While set, requests wait and get no answer.
        requests: Paths that were asked for.
        asked: Set once anything was.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.keys: list[Key] = [_first_key()]
        self.documents: dict[str, tuple[int, bytes]] = {}
        self.requests: list[str] = []
        self.asked = threading.Event()
        self.silent = threading.Event()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def token(self, *, key: Key | None = None, header: Any = None, **claims: Any) -> str:
        """Sign a token that is good, but for what `header` and `claims` change; None takes out."""
        signer = key or self.keys[-1]
        now = int(time.time())
        content = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        head = {"alg": algorithm(signer), "kid": signer.kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in content.items() if value is not None},
            signer,
            algorithms=["RS256", "ES256", "HS256"],
        )

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.keys]}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer no more."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> tuple[int, bytes]:
        if path in self.documents:
            return self.documents[path]
        if path == "/.well-known/openid-configuration":
            about = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            return 200, json.dumps(about).encode()
        if path == "/keys":
            return 200, json.dumps(self.jwks()).encode()
        return 404, b""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                issuer.asked.set()
                if issuer.silent.is_set():
                    issuer._released.wait(30)
                    return
                status, body = issuer._answer(self.path)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{issuer.url}/keys")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@cache
def _first_key() -> RSAKey:
    # Making one takes longer than most tests.
    return rsa_key("first")


def rsa_key(key_id: str) -> RSAKey:
    """A fresh RSA key."""
    return RSAKey.generate_key(2048, {"kid": key_id})


def ec_key(key_id: str) -> ECKey:
    """A fresh key on P-256."""
    return ECKey.generate_key("P-256", {"kid": key_id})


def algorithm(key: Key) -> str:
    """The algorithm that a key signs with."""
    return "RS256" if isinstance(key, RSAKey) else "ES256"
