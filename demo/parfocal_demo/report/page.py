"""`report.html`: one file that needs nothing else, not even a network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import jinja2
from markupsafe import Markup

from parfocal_demo.report import wording
from parfocal_demo.report.charts import learning_curve_svg, propagation_svg
from parfocal_demo.report.findings import Findings
from parfocal_demo.report.pictures import Pictures


@dataclass(frozen=True)
class _Share:
    name: str
    seconds: str
    times: int
    percent: float


def render_page(findings: Findings, pictures: Pictures) -> str:
    """Return the report as one HTML page with all pictures inside."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        number=wording.number, spread=wording.spread, duration=wording.duration
    )
    template = resources.files("parfocal_demo.report").joinpath("report.html.j2")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        findings=findings,
        pictures=pictures,
        created=datetime.fromisoformat(findings.created).strftime("%-d %B %Y, %H:%M UTC"),
        two=findings.arm("two-stream"),
        random=findings.arm("random"),
        titles=wording.TITLES,
        details=wording.DETAILS,
        headline=wording.headline(findings),
        gains=[wording.gain_sentence(arm) for arm in findings.arms],
        lift_words=wording.lift_sentence(findings.arm("two-stream")),
        propagation_words=wording.propagation_sentence(findings),
        learning_curve=Markup(learning_curve_svg(findings)),
        propagation_chart=Markup(propagation_svg(findings)),
        gallery=list(zip(findings.suggestions, pictures.gallery, strict=True)),
        stages=_shares(findings),
    )


def _shares(findings: Findings) -> list[_Share]:
    longest = max((stage.seconds for stage in findings.stages), default=1.0)
    return [
        _Share(
            stage.name,
            wording.duration(stage.seconds),
            stage.times,
            100 * stage.seconds / max(longest, 1e-9),
        )
        for stage in findings.stages
    ]
