"""A standalone server inside a program: for tests and the demo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.server import serving_in_thread
from parfocal_standalone.composition import HOST, compose
from parfocal_standalone.data_folder import DataFolder
from parfocal_standalone.ports import chosen_port


class Standalone:
    """Serves everything inside the block, from a thread of its own.

    Args:
        data_dir: Folder that keeps everything; what is in it is taken up again.
        port: Port to listen on; 0 takes a free one.
        settings: Variables `PARFOCAL_...` that differ from the defaults; the environment does
            not count.

    Attributes:
        address: Host and port, as `parfocal.Client` takes it.
        token: Bearer token of an admin.
        data_dir: The data folder.
        store_uri: Root of the object store.

    Example:
        >>> with Standalone("data") as server:  # doctest: +SKIP
        ...     client = Client(server.address, token=server.token)
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.address = ""
        self.token = ""
        self._port = port
        self._settings = dict(settings or {})
        self._data = DataFolder(self.data_dir)
        self._running = ExitStack()

    @property
    def store_uri(self) -> str:
        """Root of the object store."""
        return self._settings.get("PARFOCAL_STORE_URI", self._data.store_uri)

    def add_caller(self, name: str, *, role: str = "annotator") -> str:
        """Let somebody else in and return their token.

        Args:
            name: Stands on their labels.
            role: `viewer`, `annotator`, `curator` or `admin`.
        """
        return write_token(self._data.tokens_file, name=name, role=Role.parse(role))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._data.locked())
            self.token = self._data.fresh_tokens()
            port = chosen_port(self._port, host=HOST)
            composed = compose(self._data, port=port, settings=self._settings)
            server = stack.enter_context(serving_in_thread(composed.services, composed.config))
            self.address = server.address
            self._data.announce(self.address, store_uri=self.store_uri)
            stack.callback(self._data.withdraw)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()
