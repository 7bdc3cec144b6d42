"""`report.html`: one file that needs nothing else, not even a network."""

from __future__ import annotations

import json
from importlib import resources

import jinja2
from markupsafe import Markup

from parfocal_bench.findings import Findings
from parfocal_bench.report import wording
from parfocal_bench.report.charts import curves_svg, differences_svg
from parfocal_bench.report.tables import HEADINGS, summary
from parfocal_demo.report.wording import number, spread


def render_page(findings: Findings) -> str:
    """Return the report as one HTML page with the charts inside."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(number=number, spread=spread, unmarked=lambda text: text.strip("*"))
    template = resources.files("parfocal_bench.report").joinpath("report.html.j2")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        findings=findings,
        metric=wording.metric(findings),
        sentences=wording.sentences(findings),
        headings=HEADINGS,
        lines=[(arm.name, summary(arm, len(findings.seeds))) for arm in findings.arms],
        curves=Markup(curves_svg(findings)),
        differences=Markup(differences_svg(findings)),
        settings=json.dumps(findings.settings, indent=2),
    )
