"""The report of a campaign: a page, pictures, a table, and every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parfocal_bench.cells import Finished, write_whole
from parfocal_bench.findings import Findings
from parfocal_bench.report.charts import save_curves, save_differences
from parfocal_bench.report.page import render_page
from parfocal_bench.report.tables import rows_csv, table_markdown
from parfocal_demo.report.record import to_json

__all__ = ["write_report"]


def write_report(findings: Findings, finished: Sequence[Finished], folder: Path) -> Path:
    """Write the report into a folder and return the path of its page."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "rows.csv": rows_csv(finished),
        "report.json": to_json(findings),
        "report.md": table_markdown(findings),
        "report.html": render_page(findings),
    }
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    save_curves(findings, folder / "curves.png")
    save_differences(findings, folder / "differences.png")
    return folder / "report.html"
