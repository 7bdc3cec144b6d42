"""Which labels an encoder is tuned on, which are held out to check it, and triplets of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parfocal_runtime.errors import WrongState

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelSplit:
    """Rows of labels, parted by class: for learning, and held out to check.

    Attributes:
        learn: Rows of the positives and of the negatives.
        held_out: The same; empty where there are too few labels to spare any.
    """

    learn: tuple[Rows, Rows]
    held_out: tuple[Rows, Rows]

    @property
    def all(self) -> tuple[Rows, Rows]:
        """All rows of the positives and of the negatives."""
        positives, negatives = (
            np.sort(np.concatenate(parts)) for parts in zip(self.learn, self.held_out, strict=True)
        )
        return positives, negatives

    @property
    def can_be_checked(self) -> bool:
        """Whether the held-out labels make at least one triplet."""
        return all(len(rows) > 0 for rows in self.held_out)


def split_labels(
    verdicts: npt.NDArray[np.bool_], *, share: float, rng: np.random.Generator
) -> LabelSplit:
    """Hold out `share` of each class, but leave at least two of each to learn from.

    Args:
        verdicts: One per label.
        share: Share to hold out.
        rng: Chooses them.

    Raises:
        WrongState: If a class has no label (`ERROR_REASON_TOO_FEW_LABELS`); the caller keeps
            the encoder that it has.
    """
    require_both_classes(verdicts)
    learn, held_out = [], []
    for value in (True, False):
        rows = rng.permutation(np.flatnonzero(verdicts == value)).astype(np.int64)
        spare = max(0, min(round(share * len(rows)), len(rows) - 2))
        held_out.append(np.sort(rows[:spare]))
        learn.append(np.sort(rows[spare:]))
    return LabelSplit((learn[0], learn[1]), (held_out[0], held_out[1]))


def require_both_classes(verdicts: npt.NDArray[np.bool_]) -> None:
    """Return if there is a True and a False label.

    Raises:
        WrongState: If not (`ERROR_REASON_TOO_FEW_LABELS`).
    """
    if verdicts.any() and not verdicts.all():
        return
    raise WrongState(
        "ERROR_REASON_TOO_FEW_LABELS",
        f"tuning needs a True and a False label, got {int(verdicts.sum())} True and "
        f"{int((~verdicts).sum())} False; the encoder stays as it is",
        cause="one class only",
    )


def draw_triplets(
    classes: tuple[Rows, Rows],
    count: int,
    rng: np.random.Generator,
    *,
    others: tuple[Rows, Rows] | None = None,
) -> tuple[Rows, Rows, Rows]:
    """Return rows of `count` anchors, positives and negatives; half the anchors of each class.

    Args:
        classes: Rows of the positives and of the negatives that anchors come from.
        count: Number of triplets.
        rng: Draws them.
        others: Where positives and negatives come from; `classes` where None. An anchor is its
            own positive only where its class has no other row.
    """
    pools = classes if others is None else others
    anchors, positives, negatives = [], [], []
    for index in range(count):
        same, other = index % 2, 1 - index % 2
        anchor = int(rng.choice(classes[same]))
        friends = pools[same][pools[same] != anchor]
        anchors.append(anchor)
        positives.append(int(rng.choice(friends)) if len(friends) else anchor)
        negatives.append(int(rng.choice(pools[other])))
    a, p, n = (np.asarray(rows, dtype=np.int64) for rows in (anchors, positives, negatives))
    return a, p, n
