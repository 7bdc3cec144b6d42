"""A standalone server for the tests of the client and of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from parfocal import Client
from parfocal.cli._app import app
from parfocal_standalone import Standalone

Parfocal = Callable[..., Any]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Everything in one process, shared; tests use projects of their own."""
    quick = {"PARFOCAL_LOOP_POLL_SECONDS": "0.05", "PARFOCAL_GRACE_SECONDS": "0"}
    with Standalone(tmp_path_factory.mktemp("data"), settings=quick) as standalone:
        yield standalone


@pytest.fixture
def client(server: Standalone) -> Iterator[Client]:
    """A client of the server, as an admin."""
    with Client(server.address, token=server.token) as connected:
        yield connected


@pytest.fixture
def parfocal(server: Standalone) -> Parfocal:
    """Runs the command line beside the server."""
    environment = {"PARFOCAL_DATA_DIR": str(server.data_dir), "COLUMNS": "200"}

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words], env=environment)

    return run
