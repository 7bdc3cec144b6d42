from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parfocal_demo.intervals import Measure
from parfocal_demo.report import write_report
from parfocal_demo.report.findings import Findings
from parfocal_demo.report.page import render_page
from parfocal_demo.report.pictures import Pictures, crop_around, outline
from parfocal_demo.report.record import key_paths, to_json
from parfocal_demo.report.wording import (
    duration,
    headline,
    lift_sentence,
    number,
    propagation_sentence,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "demo-report.md"

FindingsOf = Callable[..., Findings]


class Balance(HTMLParser):
    """Collects elements left open and addresses of anything that is not inside the page."""

    VOID = frozenset({"meta", "img", "path", "br", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            inside = value is None or value.startswith(("data:", "#"))
            if name in {"src", "href", "xlink:href"} and not inside:
                self.outside.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_every_key_that_is_written_is_documented_and_the_other_way_round(
    findings_of: FindingsOf,
) -> None:
    written = set(key_paths(json.loads(to_json(findings_of()))))
    documented = set(re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE))
    free = {path for path in written if path.startswith(("parameters.", "versions."))}
    free |= {path for path in written if path.startswith("own_label_accuracy.")}

    assert written - free == documented


def test_undefined_numbers_are_null_with_their_reason(findings_of: FindingsOf) -> None:
    record = json.loads(to_json(findings_of()))
    estimate = record["arms"][0]["rounds"][0]["estimated_share"]

    assert estimate == {"value": None, "low": None, "high": None, "reason": "no answers yet"}


def test_the_three_files_are_written(
    findings_of: FindingsOf, pictures: Pictures, tmp_path: Path
) -> None:
    page = write_report(findings_of(), pictures, tmp_path / "run")

    assert page == tmp_path / "run" / "report.html"
    assert json.loads((tmp_path / "run" / "report.json").read_text())["format"] == 1
    with Image.open(tmp_path / "run" / "learning_curve.png") as curve:
        assert curve.size == (1600, 720)


def test_the_page_is_whole_and_needs_nothing_from_outside(
    findings_of: FindingsOf, pictures: Pictures
) -> None:
    page = render_page(findings_of(), pictures)
    balance = Balance()
    balance.feed(page)

    assert balance.open == []
    assert balance.outside == []
    assert "url(http" not in page
    assert page.count('<figcaption><span class="answer">') == 12


def test_charts_follow_the_colours_of_the_page(findings_of: FindingsOf, pictures: Pictures) -> None:
    page = render_page(findings_of(), pictures)

    assert "var(--two-stream)" in page.split("</style>", 1)[1]
    assert "DejaVu Sans'" not in page.split("</style>", 1)[1]


def test_text_from_outside_is_escaped(findings_of: FindingsOf, pictures: Pictures) -> None:
    findings = dataclasses.replace(findings_of(), notes=("<script>alert(1)</script>",))

    assert "<script>" not in render_page(findings, pictures)


def test_an_interval_around_zero_makes_no_claim(findings_of: FindingsOf) -> None:
    said = headline(findings_of(difference=Measure(0.012, -0.008, 0.031)))

    assert "includes zero: no claim" in said
    assert "better" not in said


@pytest.mark.parametrize(
    ("difference", "word"),
    [(Measure(0.05, 0.02, 0.08), "better"), (Measure(-0.05, -0.08, -0.02), "worse")],
)
def test_an_interval_off_zero_says_which_way(
    findings_of: FindingsOf, difference: Measure, word: str
) -> None:
    said = headline(findings_of(difference=difference))

    assert f"the model of two-stream is {word} than that of random" in said
    assert "cannot say whether the method is" in said


def test_an_undefined_difference_says_why(findings_of: FindingsOf) -> None:
    said = headline(findings_of(difference=Measure.undefined("the part holds no positive pixel")))

    assert "undefined: the part holds no positive pixel" in said


def test_a_better_control_is_said_out_loud(findings_of: FindingsOf) -> None:
    said = propagation_sentence(findings_of())

    assert "control does better still on every seed, .860 against .770" in said


def test_lift_is_claimed_where_its_interval_leaves_zero_out(findings_of: FindingsOf) -> None:
    arm = findings_of().arm("two-stream")
    last = arm.rounds[-1]

    def said(difference: Measure) -> str:
        errors = dataclasses.replace(last.errors, difference=difference)
        turn = dataclasses.replace(last, errors=errors)
        return lift_sentence(dataclasses.replace(arm, rounds=(*arm.rounds[:-1], turn)))

    assert "found more errors than one to a random question, by +.500" in lift_sentence(arm)
    assert "found fewer errors" in said(Measure(-0.3, -0.5, -0.1))
    assert "includes zero: no claim" in said(Measure(0.1, -0.2, 0.4))
    assert "cannot be said of round 2: no answers yet" in said(Measure.undefined("no answers yet"))


def test_the_page_shows_lift_and_advice(findings_of: FindingsOf, pictures: Pictures) -> None:
    page = render_page(findings_of(), pictures)

    assert "Was it better than random?" in page
    assert "the random share found no error" in page
    assert "after round 2: Too early to say" in page


@pytest.mark.parametrize(
    ("value", "text"), [(0.8742, ".874"), (-0.0141, "−.014"), (1.0, "1.000"), (0.0, ".000")]
)
def test_shares_have_three_decimals(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12 ms"), (3.21, "3.2 s"), (48, "48 s"), (432, "7 min 12 s")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_outline_of_a_pixel_is_its_four_edges() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True

    assert outline(mask) == "M1 1h1M1 2h1M1 1v1M2 1v1"


def test_a_crop_at_the_corner_stays_inside_and_grows_with_its_proposal() -> None:
    section = np.zeros((200, 200), np.uint8)
    mask = np.zeros((200, 200), bool)
    mask[:120, :40] = True
    corner = crop_around(section, mask, (0, 0, 120, 40), side=64, style="proposal")

    assert (corner.width, corner.height) == (136, 136)
