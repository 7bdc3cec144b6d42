"""`parfocal up`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from parfocal._local import local_data
from parfocal.cli import _local_services
from parfocal.cli._options import DataDirOption
from parfocal.cli._output import working


def up(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 50051,
    data_dir: DataDirOption = None,
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="Open no browser. None is opened by this version; scripts may say so already.",
        ),
    ] = False,
) -> None:
    """Serve everything on one port of this machine, until Ctrl-C or SIGTERM.

    Labels and rounds are kept in SQLite, images and models in a local object store, all below
    the data folder. Only this machine can call, with a token that is new at every start; the
    command line and the SDK find it by themselves.
    """
    with ExitStack() as waiting:
        waiting.enter_context(working("Starting"))

        def tell(announcement: Any) -> None:
            waiting.close()
            _tell(announcement)

        _local_services.serve(local_data(data_dir).folder, port=port, tell=tell)


def _tell(announcement: Any) -> None:
    typer.echo(
        f"Parfocal is ready at {announcement.address}, data in {announcement.folder}\n\n"
        f"    {announcement.link}\n\n"
        "The link is address and token in one: Client(link), or PARFOCAL_SERVER=link. "
        "Ctrl-C stops."
    )
