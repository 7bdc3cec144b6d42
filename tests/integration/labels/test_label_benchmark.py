from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks/labels.py"


def test_the_benchmark_runs_and_writes_its_rows(tmp_path: Path) -> None:
    arguments = ["--engines", "sqlite", "--sizes", "1e4", "--repeats", "1", "--seconds", "0.05"]

    subprocess.run(
        [sys.executable, BENCHMARK, *arguments, "--json", tmp_path / "rows.json"],
        check=True,
        timeout=200,
        stdout=subprocess.DEVNULL,
    )

    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {tuple(row) for row in rows} == {("name", "value", "unit", "goal", "holds")}
    assert [row["holds"] for row in rows if row["goal"]] != []
    assert {row["holds"] for row in rows if not row["goal"]} == {None}
