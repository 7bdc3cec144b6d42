"""`parfocal up`: serve everything until told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parfocal_runtime.allocator import keep_large_buffers
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.server import RunningServer, run
from parfocal_standalone.composition import HOST, compose
from parfocal_standalone.data_folder import DataFolder
from parfocal_standalone.ports import chosen_port


@dataclass(frozen=True)
class Announcement:
    """What a person is told when the server is ready.

    Attributes:
        address: Host and port.
        token: The person's bearer token.
        folder: The data folder.
    """

    address: str
    token: str = field(repr=False)
    folder: Path

    @property
    def link(self) -> str:
        """Address and token in one, as `Client` and `PARFOCAL_SERVER` take it."""
        return f"grpc://{self.address}/?token={self.token}"


def up(
    data_dir: str | os.PathLike[str],
    *,
    port: int,
    tell: Callable[[Announcement], None],
    settings: Mapping[str, str] | None = None,
) -> None:
    """Serve every service on one port of this machine until SIGTERM or SIGINT, then drain.

    Args:
        data_dir: Folder that keeps everything; made if it is missing.
        port: Port to listen on; 0 takes a free one.
        tell: Called once, when everything answers.
        settings: Variables `PARFOCAL_...`; None takes those of the environment.

    Raises:
        DataFolderInUse: If another server serves the folder.
        ConfigError: If a setting or the port cannot be used.
    """
    data = DataFolder(Path(os.path.abspath(data_dir)))
    variables = {"PARFOCAL_LOG_LEVEL": "WARNING", **(os.environ if settings is None else settings)}
    with data.locked():
        token = data.fresh_tokens()
        chosen = chosen_port(port, host=HOST)
        composed = compose(data, port=chosen, settings=variables)
        configure_logs(service="standalone", level=composed.config.log_level)
        keep_large_buffers()

        def announce(server: RunningServer) -> None:
            data.announce(server.address, store_uri=composed.config.store_uri)
            tell(Announcement(server.address, token, data.folder))

        try:
            # Whoever waits for the port may call at once.
            run(composed.services, composed.config, on_ready=announce, listen_last=True)
        finally:
            data.withdraw()
