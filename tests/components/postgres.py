"""A throw-away PostgreSQL 15: prints its address, and ends when standard input closes.

Arguments are settings, such as `shared_buffers=1GB`. What is acknowledged is on disk, as in
production. The line `kill` on standard input kills it, and it answers again when `done` comes back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from daemons import daemon, end_killed, free_port, scratch, serve, wait_for

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SETTINGS = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
}


class Server:
    """One server with its data, which outlive a kill."""

    def start(self, stack: ExitStack) -> str:
        """Make the data, start the server and return its address."""
        self._stack = stack
        # The server refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        self._folder = stack.enter_context(scratch(owner=self._user))
        self._port = free_port()
        self._initialise()
        self._launch()
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def told(self, line: str) -> None:
        """Do what a line says: `kill` is SIGKILL of all its processes, then a new start."""
        if line != "kill":
            raise ValueError(f"the only word is kill, not {line!r}")
        end_killed(self._process)
        self._launch()

    def _initialise(self) -> None:
        subprocess.run(
            [
                str(PROGRAMS / "initdb"),
                f"--pgdata={self._folder / 'data'}",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd="/",
        )

    def _launch(self) -> None:
        given = dict(argument.split("=", 1) for argument in sys.argv[1:])
        own = {"port": str(self._port), "unix_socket_directories": str(self._folder)}
        flags = [f"--{name}={value}" for name, value in {**SETTINGS, **given, **own}.items()]
        log = self._folder / "log"
        self._process = self._stack.enter_context(
            daemon(
                [str(PROGRAMS / "postgres"), "-D", str(self._folder / "data"), *flags],
                log=log,
                end=signal.SIGQUIT,
                user=self._user,
            )
        )
        where = ["--host=127.0.0.1", f"--port={self._port}"]
        probe = [str(PROGRAMS / "pg_isready"), "--quiet", *where]
        wait_for(lambda: subprocess.run(probe, check=False).returncode == 0, self._process, log)


if __name__ == "__main__":
    server = Server()
    serve(server.start, told=server.told)
