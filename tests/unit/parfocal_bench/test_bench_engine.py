from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from parfocal_bench.cells import Finished, cells_of, read_cell, write_cell
from parfocal_bench.engine import run_cells
from parfocal_bench.protocol import Protocol, Row
from toy_campaign import ToyProtocol

ARMS = ["random", "good"]


def quiet(done: int, total: int, found: Finished | None) -> None:
    del done, total, found


def run(protocol: Protocol, folder: Path, seeds: int = 2) -> list[Finished]:
    return run_cells(protocol, arms=ARMS, seeds=range(seeds), folder=folder, workers=0, tell=quiet)


def test_a_finished_cell_is_never_run_again(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran")

    first = run(toy, tmp_path)
    second = run(toy, tmp_path, seeds=3)

    assert toy.runs() == [f"{arm}-{seed}" for arm in sorted(ARMS) for seed in range(3)]
    assert second[:4] == first


def test_other_settings_are_other_cells(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran")

    run(toy, tmp_path, seeds=1)
    run(replace(toy, gain=0.1), tmp_path, seeds=1)
    run(replace(toy, ran=tmp_path / "ran", seconds=0.001), tmp_path, seeds=1)

    assert toy.runs() == ["good-0", "good-0", "random-0", "random-0"]


def test_progress_counts_what_was_there(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran")
    run(toy, tmp_path, seeds=1)
    heard = []

    run_cells(
        toy,
        arms=ARMS,
        seeds=range(2),
        folder=tmp_path,
        workers=0,
        tell=lambda done, total, found: heard.append((done, total, found and found.cell.seed)),
    )

    assert heard == [(2, 4, None), (3, 4, 1), (4, 4, 1)]


def test_a_cell_keeps_undefined_values_and_every_digit(tmp_path: Path) -> None:
    cell = cells_of(ToyProtocol(tmp_path), ["good"], [7])[0]
    rows = [Row(10, {"auc": 0.1 + 0.2, "full": float("nan")})]

    write_cell(tmp_path, Finished(cell, rows, 1.5))
    found = read_cell(tmp_path, cell)

    assert found is not None
    assert found.rows[0].values["auc"] == 0.1 + 0.2
    assert found.rows[0].values["full"] != found.rows[0].values["full"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_what_a_cell_raises_reaches_the_caller_and_the_others_are_kept(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran", fails="good")

    with pytest.raises(RuntimeError, match="good cannot run"):
        run(toy, tmp_path)

    run(replace(toy, fails=""), tmp_path)
    assert toy.runs().count("random-0") == 1


def test_a_campaign_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran", seconds=0.2)
    code = f"""
from pathlib import Path
from toy_campaign import ToyProtocol
from parfocal_bench.engine import run_cells
if __name__ == "__main__":
    run_cells(ToyProtocol(Path({str(toy.ran)!r}), seconds=0.2), arms={ARMS}, seeds=range(50),
              folder=Path({str(tmp_path)!r}), workers=1, tell=lambda *_: None)
"""
    script = tmp_path / "campaign.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as process:
        deadline = time.monotonic() + 200
        while len(list(tmp_path.glob("cells/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    kept = [path.name.rsplit("-", 1)[0] for path in tmp_path.glob("cells/*.json")]

    run_cells(toy, arms=ARMS, seeds=range(2), folder=tmp_path, workers=0, tell=quiet)

    assert len(kept) >= 2
    assert all(toy.runs().count(cell) == 1 for cell in kept)
