"""The report of a campaign: `report.json`, `report.html` and `learning_curve.png`."""

from __future__ import annotations

from pathlib import Path

from parfocal_demo.report.charts import save_learning_curve
from parfocal_demo.report.findings import Findings
from parfocal_demo.report.page import render_page
from parfocal_demo.report.pictures import Pictures
from parfocal_demo.report.record import to_json

__all__ = ["write_report"]


def write_report(findings: Findings, pictures: Pictures, folder: Path) -> Path:
    """Write the three files of the report into `folder` and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(to_json(findings), encoding="utf-8")
    save_learning_curve(findings, folder / "learning_curve.png")
    page = folder / "report.html"
    page.write_text(render_page(findings, pictures), encoding="utf-8")
    return page
