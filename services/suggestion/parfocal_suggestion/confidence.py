"""The control that every strategy is shown beside: the base model's confidence and the area.

Whether a proposal is right can often be told from how sure the base model was and how large the
proposal is, without any clustering. A report that hides this sells less than it has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.geometry import standardised
from parfocal_suggestion.pool import Floats, Ids, Mask, Rows
from parfocal_suggestion.propagation import Decided, Default, Propagated, keep_default
from parfocal_suggestion.single_thread import single_thread

INVERSE_REGULARISATION = 1.0
"""C of scikit-learn: the squared length of the weights costs 1 / (2 C), the labels' log loss is
summed, the constant is free. The three predictors are standardised over all candidates."""


def predictors(area: NDArray[np.generic], mean: Floats, greatest: Floats) -> NDArray[np.float64]:
    """Standardised predictors (N, 3): logarithm of the area, mean and greatest probability.

    Args:
        area: (N,) pixels; below one counts as one.
        mean: (N,) mean probability inside the proposal, 0 to 1.
        greatest: (N,) greatest probability inside the proposal, 0 to 1.
    """
    pixels = np.maximum(area.astype(np.float64), 1)
    return standardised(np.stack([np.log(pixels), mean, greatest], axis=1).astype(np.float64))


def by_confidence_and_area(
    features: NDArray[np.float64], labelled: Rows | Ids, verdicts: Mask, *, default: Default
) -> Propagated:
    """Decide every candidate by a logistic regression fitted to the labels.

    Labels of one class give that class to all, no labels give the default; both with a note.

    Args:
        features: (N, 3) from `predictors`.
        labelled: (L,) rows of the labelled candidates.
        verdicts: (L,) their labels.
        default: What candidates get without labels.
    """
    start = keep_default(len(features), verdicts, default=default)
    if not len(verdicts):
        start.notes.append("there are no labels to fit: every candidate keeps the default")
        return start
    if np.all(verdicts == verdicts[0]):
        return _constant(len(features), verdict=bool(verdicts[0]))
    # Takes a second to import, which every start would pay.
    from sklearn.linear_model import LogisticRegression

    # Label order must not change the sums of the fit.
    order = np.argsort(labelled)
    with single_thread():
        model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000)
        model.fit(features[labelled[order]], verdicts[order])
        probabilities = model.predict_proba(features)[:, 1]
    return Propagated(
        verdicts=probabilities >= 0.5,
        decided_by=np.full(len(features), Decided.MODEL, np.uint8),
        probabilities=probabilities.astype(np.float32),
    )


def _constant(count: int, *, verdict: bool) -> Propagated:
    return Propagated(
        verdicts=np.full(count, verdict),
        decided_by=np.full(count, Decided.MODEL, np.uint8),
        probabilities=np.full(count, np.nan, np.float32),
        notes=[f"all labels are {verdict}: a model of one class gives every candidate {verdict}"],
    )
