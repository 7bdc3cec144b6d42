"""S3 services that refuse, stay silent, or come back."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def environment() -> dict[str, str]:
    """Return the environment for a process that is to decide itself how long it is patient."""
    return {key: os.environ[key] for key in os.environ if not key.startswith("TENSORSTORE_")}


@contextmanager
def refusing() -> Iterator[str]:
    """Host and port that are taken, but where nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """Host and port that take connections and say nothing."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


@contextmanager
def coming_back(seconds: float) -> Iterator[str]:
    """Host and port of a service that refuses for a while; then it is empty and takes all."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty, bind_and_activate=False)
    server.server_bind()

    def serve() -> None:
        server.server_activate()
        server.serve_forever(poll_interval=0.05)

    timer = threading.Timer(seconds, serve)
    timer.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        timer.cancel()
        server.shutdown()
        timer.join()
        server.server_close()


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(404)

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", "0")
        self.end_headers()
