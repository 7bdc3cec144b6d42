"""ROI verification with label propagation: few labels decide which proposals are right.

The protocol of Table 2 of Z. Lin et al. (ECCV 2020) with more ways to carry labels. Labels are the
truth; a labelled proposal keeps its own; the accuracy is the share of all proposals whose final
verdict is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from parfocal_bench.proposals import Proposals
from parfocal_bench.protocol import Row
from parfocal_suggestion.confidence import by_confidence_and_area, predictors
from parfocal_suggestion.covariance import Matrix, Part
from parfocal_suggestion.geometry import REQUIRED
from parfocal_suggestion.knowledge import Knowledge, knowledge
from parfocal_suggestion.learned import learn
from parfocal_suggestion.learned_propagation import Labels, by_learned_model
from parfocal_suggestion.metrics import random_baseline, roi_accuracy
from parfocal_suggestion.pool import Ids, Mask, Pool, Rows
from parfocal_suggestion.propagation import (
    Default,
    Propagated,
    by_cell_majority,
    with_own_labels,
)
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.strategies.late_fusion import LateFusion
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.suggest import suggest
from parfocal_suggestion.unseen import Decision

SUBSAMPLE = 0.85
"""Share of the proposals that a seed works on."""
SHARES = (0.05, 0.10, 0.20)
"""Labels bought, as shares of the proposals."""
ERROR_RATE = 0.1
"""Wrong share that decisions may have."""

STRATEGIES: dict[str, Strategy] = {"two-stream": TwoStream(), "late-fusion": LateFusion()}
CONTROL = "confidence-and-area"
FORMULA = "random"
LEARNED = {
    "learned": (True, True, True),
    "learned, no embeddings": (True, True, False),
    "learned, no bodies": (True, False, True),
    "learned, confidence and area only": (False, False, False),
    "learned, confidence, area, embeddings": (False, False, True),
}
"""By method: whether shape and neighbours, bodies, and embeddings are known."""
METHODS = (FORMULA, *STRATEGIES, CONTROL, *LEARNED)


@dataclass(frozen=True)
class Within:
    """A part seen from a subsample.

    Attributes:
        part: What is known of all N candidates.
        rows: (n,) the subsample.
    """

    part: Part
    rows: Rows

    def between(self, first: Rows | Ids, second: Rows | Ids) -> Matrix:
        """Covariance of members of the subsample."""
        return self.part.between(self.rows[first], self.rows[second])

    def own(self, rows: Rows | Ids) -> Matrix:
        """Variance of members of the subsample."""
        return self.part.own(self.rows[rows])


def verify(
    proposals: Proposals, method: str, seed: int, *, shares: Sequence[float] = SHARES
) -> list[Row]:
    """Run one method with one seed.

    A seed works on a random subsample, its pool. What is known of a proposal is that of the whole
    set, as the encoders are.

    Args:
        proposals: The candidates with features and truth.
        method: One of `METHODS`.
        seed: Seed of the subsample, the labels and the clusters.
        shares: Labels to buy, as shares of the subsample.

    Returns:
        A row for each share; `learned` also tells how far its decisions and intervals held.
    """
    count = len(proposals)
    order = np.random.default_rng(seed).permutation(count)[: round(SUBSAMPLE * count)]
    rows = np.sort(order)
    found = []
    for share in shares:
        labels = round(share * len(rows))
        # More labels contain the fewer ones.
        drawn = np.searchsorted(rows, np.sort(order[:labels]))
        found.append(_row(proposals, method, rows, drawn, seed))
    return found


def at_least(proposals: Proposals, pixels: int) -> Proposals:
    """Return the proposals of at least that area."""
    kept = proposals.table["area"] >= pixels
    return replace(
        proposals,
        table={name: column[kept] for name, column in proposals.table.items()},
        streams={name: stream[kept] for name, stream in proposals.streams.items()},
        objects=proposals.objects[kept],
        correct=proposals.correct[kept],
    )


def known_to(proposals: Proposals, method: str) -> Knowledge:
    """Return what one of the `LEARNED` methods knows."""
    shape, bodies, embeddings = LEARNED[method]
    table = proposals.table if shape else {name: proposals.table[name] for name in REQUIRED}
    known = knowledge(table, proposals.streams if embeddings else {})
    parts = {name: part for name, part in known.parts.items() if bodies or name != "bodies"}
    return Knowledge(parts, known.groups, known.leaning)


def _row(proposals: Proposals, method: str, rows: Rows, drawn: Rows, seed: int) -> Row:
    truth = proposals.correct[rows]
    labels = len(drawn)
    if method == FORMULA:
        accuracy = random_baseline(float(truth.mean()), labels, len(rows))
        return Row(labels, {"accuracy": accuracy})
    if method in STRATEGIES:
        return _by_strategy(proposals, method, rows, labels, seed)
    given = Labels(drawn, truth[drawn], np.ones(labels, np.bool_))
    if method == CONTROL:
        area, mean, greatest = (proposals.table[name] for name in REQUIRED)
        features = predictors(area, mean, greatest)[rows]
        found = by_confidence_and_area(features, drawn, given.verdicts, default=Default.TRUE)
        return Row(labels, {"accuracy": _accuracy(found, given, truth)})
    whole = known_to(proposals, method)
    parts: dict[str, Part] = {name: Within(part, rows) for name, part in whole.parts.items()}
    known = Knowledge(parts, whole.groups[rows], whole.leaning[rows])
    if method != "learned":
        likely = learn(known, drawn, given.verdicts).probabilities(np.arange(len(rows))) >= 0.5
        likely[drawn] = given.verdicts
        return Row(labels, {"accuracy": roi_accuracy(likely, truth)})
    found = by_learned_model(known, given, error_rate=ERROR_RATE, seed=seed, default=Default.TRUE)
    trusted = _trusted(found, given, truth)
    return Row(labels, {"accuracy": _accuracy(found, given, truth), **trusted})


def _by_strategy(proposals: Proposals, method: str, rows: Rows, labels: int, seed: int) -> Row:
    pool = Pool.of(
        np.arange(len(rows)),
        streams={name: stream[rows] for name, stream in proposals.streams.items()},
    )
    chosen = suggest(pool, STRATEGIES[method], labels, seed=seed)
    asked = np.sort(chosen.candidates)
    truth = proposals.correct[rows]
    given = Labels(asked, truth[asked], np.zeros(len(asked), np.bool_))
    found = by_cell_majority(chosen.selection.cells, asked, given.verdicts, default=Default.TRUE)
    return Row(len(asked), {"accuracy": _accuracy(found, given, truth)})


def _accuracy(found: Propagated, given: Labels, truth: Mask) -> float:
    return roi_accuracy(with_own_labels(found, given.rows, given.verdicts).verdicts, truth)


def _trusted(found: Propagated, given: Labels, truth: Mask) -> dict[str, float]:
    """How far decisions and the interval of the errors left hold."""
    assert found.decisions is not None
    assert found.trust is not None
    unseen = np.ones(len(truth), np.bool_)
    unseen[given.rows] = False
    accepted, rejected = (
        truth[unseen & (found.decisions == decision)]
        for decision in (Decision.ACCEPT, Decision.REJECT)
    )
    wrong = int(np.sum(found.verdicts[unseen] != truth[unseen]))
    told, left = found.trust.reliability, found.trust.errors_left
    return {
        "decided": (len(accepted) + len(rejected)) / int(unseen.sum()),
        # Nothing accepted is nothing wrong: this is the mean that the error rate bounds.
        "wrong of the accepted": float(np.mean(~accepted)) if len(accepted) else 0.0,
        "wrong of the rejected": float(np.mean(rejected)) if len(rejected) else 0.0,
        "errors left": float(wrong),
        "errors expected": left.expected,
        "interval holds": float(left.lower <= wrong <= left.upper),
        "calibration error": told.calibration_error,
        "brier": told.brier,
        "auc": told.auc,
    }
