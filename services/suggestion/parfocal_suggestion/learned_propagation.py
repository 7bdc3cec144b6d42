"""Labels carried to all candidates by a learned model, and how far that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.errors_left import ErrorsLeft, errors_left
from parfocal_suggestion.held_out import folds_of, held_out
from parfocal_suggestion.knowledge import Knowledge
from parfocal_suggestion.learned import MOST_FITTED, learn
from parfocal_suggestion.pool import Ids, Mask, Rows
from parfocal_suggestion.propagation import (
    Decided,
    Default,
    Propagated,
    Trust,
    keep_default,
)
from parfocal_suggestion.reliability import reliability, unknown
from parfocal_suggestion.seeds import derived_seed
from parfocal_suggestion.single_thread import single_thread
from parfocal_suggestion.unseen import Decision, decide

FOLDS = 10


@dataclass(frozen=True)
class Labels:
    """What people said.

    Attributes:
        rows: (L,) labelled candidates, ascending.
        verdicts: (L,) their labels.
        drawn: (L,) True for the random share: labels of candidates that were drawn uniformly.
        drawn_from: (N,) True for the candidates that these were drawn from; None for all.
    """

    rows: Rows | Ids
    verdicts: Mask
    drawn: Mask
    drawn_from: Mask | None = None

    def only(self, mask: Mask) -> Labels:
        """Return some of the labels."""
        return Labels(self.rows[mask], self.verdicts[mask], self.drawn[mask], self.drawn_from)

    def spoken_for(self, count: int) -> Rows:
        """Return the candidates of `count` without a label that the random share speaks for."""
        left = np.ones(count, np.bool_) if self.drawn_from is None else self.drawn_from.copy()
        left[self.rows] = False
        return np.flatnonzero(left)


def by_learned_model(
    known: Knowledge, labels: Labels, *, error_rate: float, seed: int, default: Default
) -> Propagated:
    """Decide every candidate by a model fitted to the labels.

    The reliability is that of labels whose whole group was held out. The errors left are counted
    on the random share, held out one by one as the pool is from the labels. Decisions come from a
    model of their own, which never saw the labels that they are calibrated on; so near one half a
    decision may differ from the verdict.

    Args:
        known: What is known of the N candidates.
        labels: What people said.
        error_rate: Wrong share to allow among those accepted and among those rejected, or 0 for
            no decisions.
        seed: Seed of folds and of the draw of the calibration labels.
        default: What candidates get without labels.
    """
    count = len(known.groups)
    start = keep_default(count, labels.verdicts, default=default)
    every = np.arange(count)
    if not len(labels.rows):
        reason = "there are no labels to fit"
        trust = Trust(unknown(reason), pool_errors(known, labels, seed=seed), {})
        decisions = np.full(count, Decision.LOOK, np.uint8) if error_rate else None
        notes = [f"{reason}: every candidate keeps the default"]
        return Propagated(
            start.verdicts, start.decided_by, start.probabilities, notes, decisions, trust
        )
    with single_thread():
        model = learn(known, labels.rows, labels.verdicts)
        probabilities = model.probabilities(every)
        by_group = folds_of(known.groups[labels.rows], FOLDS, seed=derived_seed(seed, "folds"))
        told = held_out(known, labels.rows, labels.verdicts, by_group)
        left = pool_errors(known, labels, seed=seed)
        decisions = unseen_decisions(known, labels, error_rate, seed=seed) if error_rate else None
    return Propagated(
        verdicts=probabilities >= 0.5,
        decided_by=np.full(count, Decided.MODEL, np.uint8),
        probabilities=probabilities.astype(np.float32),
        notes=_notes(labels, error_rate),
        decisions=decisions,
        trust=Trust(reliability(told, labels.verdicts), left, model.strengths),
    )


def calibration_share(labels: Labels, *, seed: int) -> Mask:
    """(L,) True for the labels of the random share that calibrate and are not fitted.

    All of the random share calibrates, but never more than half of the labels: then those that are
    spared for fitting are drawn.

    Args:
        labels: What people said.
        seed: Seed of the draw.
    """
    drawn = np.flatnonzero(labels.drawn)
    most = (len(labels.rows) + 1) // 2
    rng = np.random.default_rng(derived_seed(seed, "calibration"))
    kept = rng.permutation(drawn)[:most]
    mask = np.zeros(len(labels.rows), np.bool_)
    mask[kept] = True
    return mask


def unseen_decisions(
    known: Knowledge, labels: Labels, error_rate: float, *, seed: int
) -> NDArray[np.uint8]:
    """Say what can be accepted or rejected unseen: (N,) of `Decision`.

    Labelled candidates are decided by their label; those that the random share was not drawn from
    are to be looked at. See `unseen.decide` for what holds.

    Args:
        known: What is known of the N candidates.
        labels: What people said.
        error_rate: Wrong share to allow on each side, above 0 and below 1.
        seed: Seed of the draw of the calibration labels.
    """
    decisions = np.full(len(known.groups), Decision.LOOK, np.uint8)
    decisions[labels.rows] = np.where(labels.verdicts, Decision.ACCEPT, Decision.REJECT)
    calibrates = calibration_share(labels, seed=seed)
    fitted, calibration = labels.only(~calibrates), labels.only(calibrates)
    if not len(fitted.rows) or not len(calibration.rows):
        return decisions
    model = learn(known, fitted.rows, fitted.verdicts)
    rest = labels.spoken_for(len(known.groups))
    decisions[rest] = decide(
        model.probabilities(rest),
        model.probabilities(calibration.rows),
        calibration.verdicts,
        error_rate=error_rate,
    )
    return decisions


def pool_errors(known: Knowledge, labels: Labels, *, seed: int) -> ErrorsLeft:
    """Estimate how many verdicts of a model of all labels are wrong where there is no label.

    Only candidates that the random share was drawn from are counted. It is held out in ten folds,
    whatever the groups: the pool, too, has candidates of groups with labels. Models of nine tenths
    of the labels are a little worse than that of all.

    Args:
        known: What is known of the N candidates.
        labels: What people said.
        seed: Seed of the folds.
    """
    one_by_one = folds_of(np.arange(len(labels.rows)), FOLDS, seed=derived_seed(seed, "left"))
    folds = np.where(labels.drawn, one_by_one, -1)
    told = held_out(known, labels.rows, labels.verdicts, folds)
    checked = np.isfinite(told)
    wrong = (told[checked] >= 0.5) != labels.verdicts[checked]
    return errors_left(
        candidates=len(labels.spoken_for(len(known.groups))),
        checked=int(checked.sum()),
        wrong=int(wrong.sum()),
    )


def _notes(labels: Labels, error_rate: float) -> list[str]:
    notes = []
    if len(labels.rows) > MOST_FITTED:
        notes.append(f"{MOST_FITTED} of {len(labels.rows)} labels were fitted, evenly spread")
    if error_rate and not np.any(labels.drawn):
        notes.append(
            "no label is of a random share: nothing can be accepted or rejected unseen, and the "
            "errors left are not known"
        )
    return notes
