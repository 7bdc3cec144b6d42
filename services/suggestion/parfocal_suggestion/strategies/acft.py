"""ACFT: the candidates whose views are uncertain, or contradict each other.

Z. Zhou, J. Y. Shin, S. R. Gurudu, M. B. Gotway, J. Liang, Active, Continual Fine Tuning of
Convolutional Neural Networks for Reducing Annotation Efforts, Medical Image Analysis 71 (2021)
101997, sections 3.2 to 3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.objectives import Fixed
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.weighted_draw import Doubles, draw_order, uniforms

Mode = Literal["", "paper", "code", "normalised"]
Scaling = Literal["", "none", "rank", "z_score"]

_ENTRIES = 1 << 21
_TIE = 1e-6
_HEAVIEST = 1e9
_EPSILON = {"paper": 2.0**-52, "code": 2.0**-52, "normalised": 1e-6}


@dataclass(frozen=True)
class Acft:
    """Score the views that agree with the candidate's class, and draw among the best scores.

    Of each candidate, the views surest of its dominant class are kept (the class of the largest
    mean probability; the first of equals), `patch_share` of them, rounded half up, at least one.
    With P the probability of class k in view j or l of the n kept, the entropy is
    e = -sum_jk P_jk log P_jk and the diversity
    d = sum_k sum_jl (P_jk - P_lk) log(P_jk / P_lk), over

    - `code`: all ordered pairs of views, as in the released code, whose numbers are those of the
      paper's table 1;
    - `paper`: e / n, and every pair once, as in equation 1;
    - `normalised`: e / n and d / (n (n - 1)), which do not grow with the number of views.

    The score is entropy_weight e + diversity_weight d. The `extension` times budget best scores
    are then drawn from, each with a chance in proportion to how far it lies above the last of
    them (equation 4). Where those are fewer than the budget with any chance, all of them are
    taken and the rest is drawn uniformly from the others; equal scores are drawn uniformly.

    Attributes:
        entropy_weight: Weight of the entropy (lambda 1).
        diversity_weight: Weight of the diversity (lambda 2).
        patch_share: Share of the views that is kept (alpha), above 0, at most 1; 1 keeps all.
        extension: Best scores to draw from, as a multiple of the budget (omega); 1 takes the best.
        mode: How sums are taken; `code` if empty.
        scaling: What both parts are turned into before they are weighed: `none`, `rank` (0 to 1)
            or `z_score`; `none` if empty.
        epsilon: Added to probabilities inside logarithms; 0 derives it: 2.2e-16 as in the
            released code, where one pair of sure opposites weighs 144, or 1e-6 in `normalised`.
    """

    entropy_weight: float = 1.0
    diversity_weight: float = 0.0
    patch_share: float = 0.25
    extension: int = 5
    mode: Mode = ""
    scaling: Scaling = ""
    epsilon: float = 0.0

    name: ClassVar[str] = "acft"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "drawn among the largest entropy or diversity of the surest views"
    reference: ClassVar[str] = "Zhou et al., Medical Image Analysis 2021"
    score: ClassVar[str] = "weighted entropy and diversity"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = True
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Fill in mode, scaling and epsilon."""
        mode = self.mode or "code"
        return replace(
            self,
            mode=mode,
            scaling=self.scaling or "none",
            epsilon=self.epsilon or _EPSILON.get(mode, 0.0),
        )

    def space(self, pool: Pool) -> Floats | None:
        """Judge no likeness."""
        return None

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Draw `min(budget, available)` candidates, in the order of the draw.

        Raises:
            InvalidInput: If the pool has no predictions (`ERROR_REASON_MISSING_FIELD`), or a
                parameter is out of range.
        """
        views = pool.views()
        strategy = self.resolved(pool, budget)
        strategy._check()
        free = np.flatnonzero(pool.available)
        entropy, diversity = acft_parts(
            views[free],
            patch_share=strategy.patch_share,
            mode=strategy.mode,
            epsilon=strategy.epsilon,
            checkpoint=checkpoint,
        )
        scores = strategy.entropy_weight * _scaled(
            entropy, strategy.scaling
        ) + strategy.diversity_weight * _scaled(diversity, strategy.scaling)
        drawn = randomised(scores, budget, extension=strategy.extension, seed=seed)
        return Selection.without_cells(
            pool,
            pool.candidates[free[drawn]],
            scores[drawn].astype(np.float32),
            {
                "entropy": entropy[drawn].astype(np.float32),
                "diversity": diversity[drawn].astype(np.float32),
            },
        )

    def objective(self, pool: Pool, *, seed: int) -> Fixed:
        """Score as `select` does, without the draw."""
        return Fixed.of_ranking(self, pool, seed=seed)

    def _check(self) -> None:
        known = self.mode in _EPSILON and self.scaling in ("none", "rank", "z_score")
        weights = self.entropy_weight, self.diversity_weight
        if not (known and min(weights) >= 0 and 0 < max(weights) <= _HEAVIEST):
            raise _invalid("acft needs weights of 0 to 1e9, one of them above 0", weights)
        if not (0 < self.patch_share <= 1 and self.extension >= 1 and self.epsilon > 0):
            raise _invalid("acft needs a patch_share above 0 and at most 1", self.patch_share)


def acft_parts(
    views: Floats,
    *,
    patch_share: float,
    mode: str,
    epsilon: float,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[Doubles, Doubles]:
    """Entropy and diversity of each candidate.

    Args:
        views: (N, m, C) class probabilities.
        patch_share: Share of the views that is kept.
        mode: `paper`, `code` or `normalised`.
        epsilon: Added to probabilities inside logarithms.
        checkpoint: Called once per block of candidates.

    Returns:
        Entropy (N,) and diversity (N,), float64, not negative.
    """
    count, patches, classes = views.shape
    kept = max(1, math.floor(patch_share * patches + 0.5))
    entropy, diversity = np.empty(count), np.empty(count)
    step = max(1, _ENTRIES // (patches * classes))
    for start in range(0, count, step):
        checkpoint()
        block = _surest(views[start : start + step].astype(np.float64), kept)
        logs = np.log(block + epsilon)
        entropy[start : start + step] = np.maximum(-np.einsum("njk,njk->n", block, logs), 0)
        # Over all ordered pairs, sum (p - q)(log p - log q) = 2 n sum (p - mean)(log p - mean).
        spread = np.einsum("njk,njk->n", _centred(block), _centred(logs))
        diversity[start : start + step] = 2 * kept * np.maximum(spread, 0)
    if mode == "code":
        return entropy, diversity
    pairs = 2 if mode == "paper" else max(1, kept * (kept - 1))
    return entropy / kept, diversity / pairs


def randomised(scores: Doubles, budget: int, *, extension: int, seed: int) -> NDArray[np.intp]:
    """Draw rows among the best scores, as `Acft` says.

    Args:
        scores: (N,) float64.
        budget: Rows to draw; all are returned, best first, if there are no more.
        extension: Scores to draw from, as a multiple of the budget.
        seed: The seed.

    Returns:
        (min(budget, N),) rows.
    """
    best = np.argsort(-scores, kind="stable")[: extension * budget]
    if len(best) <= budget:
        return best
    chances = sampling_probabilities(scores[best])
    with np.errstate(divide="ignore"):
        weights = np.log(chances)
    order = draw_order(weights, uniforms(len(best), seed=seed, stream=Acft.name))
    return best[order[:budget]]


def sampling_probabilities(scores: Doubles) -> Doubles:
    """Probabilities (r,) of scores in descending order by equation 4; uniform where all equal."""
    above = scores - scores[-1]
    if above[0] <= 0:
        return np.full(len(scores), 1 / len(scores))
    shares = above / above[0]
    return np.asarray(shares / shares.sum(), np.float64)


def _surest(views: Doubles, kept: int) -> Doubles:
    means = views.mean(axis=1)
    # A tie goes to the first class also where float32 could not say that it was one.
    dominant = np.argmax(means >= means.max(axis=1, keepdims=True) - _TIE, axis=1)
    sure = np.take_along_axis(views, dominant[:, None, None], axis=2)[:, :, 0]
    order = np.argsort(-sure, axis=1, kind="stable")[:, :kept]
    return np.take_along_axis(views, order[:, :, None], axis=1)


def _centred(values: Doubles) -> Doubles:
    return np.asarray(values - values.mean(axis=1, keepdims=True), np.float64)


def _scaled(part: Doubles, scaling: str) -> Doubles:
    if scaling == "rank":
        return np.searchsorted(np.sort(part), part, side="left") / max(1, len(part) - 1)
    if scaling == "z_score":
        spread = part.std() if len(part) else 0.0
        return (part - part.mean()) / spread if spread > 0 else np.zeros_like(part)
    return part


def _invalid(fault: str, value: object) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{fault}, got {value}", field="strategy.acft", value=value
    )
