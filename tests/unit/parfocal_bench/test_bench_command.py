from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from parfocal.cli._app import app


def test_results_that_cannot_be_written_are_one_line(small_packs: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.touch()
    words = ["cifar10-probe", "--data-packs", str(small_packs), "--out", str(notes)]

    done = CliRunner().invoke(app, ["bench", "selection", *words, "--workers", "0"])

    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"error: {notes}/")
    assert "Traceback" not in done.stderr
