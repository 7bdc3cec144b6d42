"""A throw-away PostgreSQL 15: prints its address, and ends when standard input closes.

Arguments are settings, such as `shared_buffers=1GB`. What is acknowledged is on disk, as in
production.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from daemons import daemon, free_port, scratch, serve, wait_for

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SETTINGS = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
}


def start(stack: ExitStack) -> str:
    """Start a server and return its address."""
    # The server refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    folder = stack.enter_context(scratch(owner=user))
    port = free_port()
    data, log = folder / "data", folder / "log"
    subprocess.run(
        [
            str(PROGRAMS / "initdb"),
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
    )
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    settings = {**SETTINGS, **given, "port": str(port), "unix_socket_directories": str(folder)}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    server = stack.enter_context(
        daemon(
            [str(PROGRAMS / "postgres"), "-D", str(data), *flags],
            log=log,
            end=signal.SIGQUIT,
            user=user,
        )
    )
    probe = [str(PROGRAMS / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
    wait_for(lambda: subprocess.run(probe, check=False).returncode == 0, server, log)
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


if __name__ == "__main__":
    serve(start)
