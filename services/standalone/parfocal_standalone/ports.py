"""A free port, where none was asked for."""

from __future__ import annotations

import socket


def chosen_port(port: int, *, host: str) -> int:
    """Return `port`, or one that nobody uses now where it is 0.

    The services must know the port before the server opens it, since they call each other by
    it; should somebody else take it in between, the server refuses to start.
    """
    if port:
        return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
