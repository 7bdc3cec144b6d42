"""Scores a model version on the test part: predicts it, proposes there, compares with the truth."""

from __future__ import annotations

from dataclasses import dataclass

from parfocal_demo.artifacts import PROJECT, CandidateSet
from parfocal_demo.evaluation import (
    SegmentationScore,
    average_precision_gain,
    score_segmentation,
)
from parfocal_demo.following import Follower
from parfocal_demo.report.findings import Scores
from parfocal_demo.specs import Specs

PROFILE_PIXELS = 30
"""Ground-truth profiles below this area are not counted."""


@dataclass(frozen=True)
class Scored:
    """A model version on the test part.

    Attributes:
        score: What it reaches.
        candidates: What it proposes there.
    """

    score: SegmentationScore
    candidates: CandidateSet

    def over(self, base: Scored) -> Scores:
        """Return the scores with the gain over the base model."""
        return Scores(
            roc_auc=self.score.roc_auc,
            average_precision=self.score.average_precision,
            coverage=self.score.coverage,
            average_precision_gain=average_precision_gain(
                base.score.histograms, self.score.histograms
            ),
        )


def score_model(specs: Specs, follower: Follower, model: str, *, title: str) -> Scored:
    """Score `name/version` on the test part."""
    name = model.replace("/", "-")
    follower.job(
        f"segment-test-{name}",
        specs.segment(model, specs.test),
        stage="Segment",
        title=f"Segment the test part, {title}",
    )
    folder = f"projects/{PROJECT}/candidates/test-{name}"
    follower.job(
        f"propose-test-{name}",
        specs.propose(folder, model, specs.test),
        stage="Propose candidates",
        title=f"Propose in the test part, {title}",
    )
    with follower.local("Score"):
        candidates = specs.artifacts.candidates(folder)
        part = specs.test.slices
        score = score_segmentation(
            specs.artifacts.prediction(model)[part],
            specs.artifacts.truth[part],
            proposals=candidates.objects[part] > 0,
            min_pixels=PROFILE_PIXELS,
        )
    return Scored(score, candidates)
