from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parfocal.cli._app import app
from parfocal_runtime.auth import Account, Role, TokenFile


def add(file: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["token", "add", str(file), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_the_token_that_is_printed_is_known_with_its_roles(tmp_path: Path) -> None:
    file = tmp_path / "tokens"

    token = add(file, "ann", "--role", "viewer", "--project", "vnc=curator", "--project", "b=admin")
    loop = json.loads(add(file, "loop", "--role", "curator", "--unlimited", "--json"))["token"]

    known = TokenFile(file)
    assert asyncio.run(known.authenticate(token)) == Account(
        "ann", Role.VIEWER, {"vnc": Role.CURATOR, "b": Role.ADMIN}
    )
    assert asyncio.run(known.authenticate(loop)) == Account("loop", Role.CURATOR, limited=False)
    assert token not in file.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["ann"],
        ["ann", "--role", "owner"],
        ["ann", "--project", "vnc"],
        ["ann", "--project", "vnc=owner"],
        ["ann", "--project", "V N C=viewer"],
    ],
)
def test_what_gives_no_role_is_refused_and_leaves_the_file_alone(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = CliRunner().invoke(app, ["token", "add", str(tmp_path / "tokens"), *arguments])

    assert done.exit_code == 2
    assert not (tmp_path / "tokens").exists()


def test_a_file_that_is_none_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("oops")

    done = CliRunner().invoke(app, ["token", "add", str(file), "ann", "--role", "viewer"])

    assert done.exit_code == 2
    assert "entry 1" in done.output
    assert file.read_text() == "oops"
