"""The folder that keeps everything of one standalone server."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from parfocal_runtime.auth import Role, write_secret, write_token

_LOOP = "parfocal-loop"


class DataFolderInUse(Exception):
    """Another process serves this folder; the message says which."""


@dataclass(frozen=True)
class DataFolder:
    """Where things are, as the client's `LocalData` expects them.

    Attributes:
        folder: The folder, absolute.
    """

    folder: Path

    @property
    def store_uri(self) -> str:
        """Root of the object store."""
        return (self.folder / "store").as_uri()

    @property
    def tokens_file(self) -> Path:
        """The callers that the server knows."""
        return self.folder / "tokens.jsonl"

    @property
    def token_file(self) -> Path:
        """The token of the person who started the server."""
        return self.folder / "token"

    @property
    def loop_token_file(self) -> Path:
        """The token with which the loop service calls the others."""
        return self.folder / "loop-token"

    @property
    def server_file(self) -> Path:
        """Where the server answers, while it runs."""
        return self.folder / "server.json"

    def database(self, service: str) -> str:
        """Return the address of a service's database."""
        # A question mark in it would begin what is no part of the path.
        return f"sqlite:///{quote(f'{self.folder / service}.sqlite')}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if it is missing, and keep other servers out inside the block.

        A folder that is made is for its owner only; one that is there stays as it is.

        Raises:
            DataFolderInUse: If another server is inside.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                # The kernel gives the lock back when the process ends, however it ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataFolderInUse(
                    f"{self.folder} is in use by {self._holder(lock.fileno())}; stop it, or choose "
                    "another data folder"
                ) from None
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
            yield

    def fresh_tokens(self) -> str:
        """Forget the tokens of earlier starts, write new ones, and return this person's.

        The person is an admin under the name of the user account; the loop is a curator.
        """
        write_secret(self.tokens_file, "")
        token = write_token(self.tokens_file, name=_user(), role=Role.ADMIN)
        write_secret(self.token_file, token)
        loop_token = write_token(self.tokens_file, name=_LOOP, role=Role.CURATOR, limited=False)
        write_secret(self.loop_token_file, loop_token)
        return token

    def announce(self, address: str, *, store_uri: str) -> None:
        """Let other programs of this user find the server and its object store."""
        about = {"address": address, "pid": os.getpid(), "store": store_uri}
        write_secret(self.server_file, json.dumps(about))

    def withdraw(self) -> None:
        """Take back what `announce` wrote."""
        self.server_file.unlink(missing_ok=True)

    def _holder(self, lock: int) -> str:
        process = os.pread(lock, 32, 0).decode(errors="replace").strip()
        try:
            address = json.loads(self.server_file.read_text())["address"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"process {process}"
        return f"process {process}, which answers at {address}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # An account without a name, as containers have.
        return "owner"
