"""Stand-in findings, so that the report can be tested without a campaign."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from parfocal_demo.intervals import Measure
from parfocal_demo.report.findings import (
    Arm,
    Crop,
    Findings,
    InitialLabels,
    InputFacts,
    Pool,
    Propagation,
    PropagationMethod,
    RoundErrors,
    Scores,
    Split,
    Stage,
    Suggestion,
    Turn,
)
from parfocal_demo.report.pictures import Outline, Pictures, crop_around, outline, plate, rectangle
from parfocal_demo.volume import VolumeSpec, generate_volume


def around(value: float, reach: float = 0.02) -> Measure:
    return Measure(value, value - reach, value + reach)


def turn(number: int, precision: float, gain: Measure) -> Turn:
    return Turn(
        round=number,
        model=f"base/{number + 1}",
        labels=30 if number else 0,
        labels_total=30 * number,
        answered_true=17 if number else 0,
        candidates=420 + number,
        correct_share=around(0.58),
        estimated_share=around(0.55, 0.2) if number else Measure.undefined("no answers yet"),
        errors=RoundErrors(
            strategy=around(0.5, 0.1),
            random=Measure(0.0, 0.0, 0.3),
            ratio=Measure(math.nan, 1.4, math.inf, reason="the random share found no error"),
            difference=Measure(0.5, 0.15, 0.6),
        )
        if number
        else RoundErrors(*[Measure.undefined("no answers yet")] * 4),
        advice="Too early to say: it takes 3 models." if number else "",
        seconds_per_label=0.04,
        scores=Scores(
            roc_auc=around(0.9 + precision / 10, 0.004),
            average_precision=around(precision),
            coverage=around(0.88),
            average_precision_gain=gain,
        ),
    )


def arm(name: str, precisions: tuple[float, ...]) -> Arm:
    rounds = tuple(
        turn(number, precision, around(precision - precisions[0]))
        for number, precision in enumerate(precisions)
    )
    return Arm(name, 0.2 if name == "two-stream" else 0.0, rounds)


def method(name: str, mean: float, over: Measure) -> PropagationMethod:
    accuracy = tuple(mean + 0.01 * step for step in (-2, -1, 0, 1, 2))
    return PropagationMethod(name, (30,) * 5, accuracy, around(mean), over)


def stand_in_findings(*, difference: Measure | None = None) -> Findings:
    return Findings(
        product="Parfocal 0.1.0",
        created="2025-01-01T00:00:00Z",
        input=InputFacts("generated", "generated", (20, 640, 640), (50.0, 10.0, 10.0), 0, 0.06),
        split=Split((0, 384), (448, 640)),
        initial_labels=InitialLabels((Crop((2, 6), (0, 128), (64, 192), 0.12),) * 4, 65536, 27),
        pool=Pool(421, 244, around(0.58, 0.05), 0.5, 60, 0.17),
        arms=(arm("two-stream", (0.61, 0.66, 0.70)), arm("random", (0.61, 0.65, 0.69))),
        arms_difference=difference or Measure(0.012, -0.008, 0.031),
        propagation=Propagation(
            30,
            (0, 1, 2, 3, 4),
            0.61,
            (
                method("random", 0.61, around(0.0, 0.0)),
                method("two-stream", 0.77, around(0.16, 0.03)),
                method("late-fusion", 0.78, around(0.17, 0.03)),
                method("learned", 0.88, around(0.27, 0.03)),
                method("confidence-and-area", 0.86, around(0.25, 0.03)),
            ),
        ),
        suggestions=tuple(
            Suggestion(
                1 + rank // 6,
                rank,
                rank * 7,
                "random" if rank % 5 == 4 else "strategy",
                "Drawn at random, to estimate accuracy."
                if rank % 5 == 4
                else f"Nearest to the middle of cell {rank} ({30 + rank} candidates).",
                "true" if rank % 3 else "false",
                bool(rank % 3),
            )
            for rank in range(12)
        ),
        stages=(
            Stage("Train the base model", 180.0, 1),
            Stage("Segment", 95.0, 5),
            Stage("Answer", 4.2, 4),
        ),
        total_seconds=432.0,
        own_label_accuracy={"base/1": 0.985, "base-random/1": 0.87},
        parameters={"seed": "0", "budget": "30"},
        versions={"Python": "3.11"},
        commands=("parfocal demo --out runs/demo",),
        notes=("A note.",),
    )


def stand_in_pictures(image: np.ndarray, truth: np.ndarray) -> Pictures:
    """Pictures of a generated section, uint8 and bool (y, x)."""
    overview = plate(
        image,
        (
            Outline(rectangle(0, int(0.6 * image.shape[1]), *image.shape), "part"),
            Outline(rectangle(40, 60, 168, 188), "crop"),
        ),
        title="Section 8.",
        caption="Left the part that trains.",
    )
    corner = (slice(0, 160), slice(0, 160))
    comparison = tuple(
        plate(image[corner], (Outline(outline(truth[corner]), style),), title=title)
        for style, title in [
            ("truth", "Ground truth"),
            ("good", "Base model"),
            ("bad", "Two-stream"),
            ("good", "Random"),
        ]
    )
    gallery = tuple(
        crop_around(image, truth, (20 * n, 20, 20 * n + 30, 50), side=96, style="proposal")
        for n in range(12)
    )
    return Pictures(overview, comparison, gallery)


FindingsOf = Callable[..., Findings]


@pytest.fixture(scope="session")
def findings_of() -> FindingsOf:
    """Makes stand-in findings; `difference` replaces that of the two arms."""
    return stand_in_findings


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """Pictures of a small generated section."""
    volume = generate_volume(VolumeSpec(shape=(1, 256, 288), seed=2))
    return stand_in_pictures(volume.image[0], volume.mitochondria[0] > 0)
