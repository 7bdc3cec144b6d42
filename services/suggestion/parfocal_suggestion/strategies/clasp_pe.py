"""ClaSP PE: class-stratified, scheduled power predictive entropy.

C. T. Lueth, J. Traub, K.-C. Kahl, T. J. Bungert, L. Klein, L. Kraemer, P. F. Jaeger,
K. Maier-Hein, F. Isensee, Finally Outshining the Random Baseline: A Simple and Effective Solution
for Active Learning in 3D Biomedical Imaging, TMLR 2026.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.limits import SLACK
from parfocal_suggestion.pool import Floats, Mask, Pool, Rows
from parfocal_suggestion.ranking import chosen
from parfocal_suggestion.selection import Checkpoint, Selection, no_checkpoint
from parfocal_suggestion.uncertainty import entropy
from parfocal_suggestion.weighted_draw import power_order, uniforms


@dataclass(frozen=True)
class ClaspPe:
    """Draw a share of the picks evenly for each class, by entropy and with chance that fades.

    The published method scores every place of every 3D patch; here a candidate is what is scored.
    With H the entropy of a candidate's mean prediction and p_k its probability of class k:

    1. floor(class_share budget) picks are divided evenly over the classes but the first, which
       is the background; what does not divide goes to classes drawn at random.
    2. The classes take their picks in a random order, each scoring H p_k; the rest of the budget,
       and what a class could not take, goes by H alone.
    3. Picks are drawn without replacement with chances in proportion to score^strength, which is
       the largest log(score) with Gumbel noise of scale 1 / strength.
    4. The strength rises from `first_strength` at step 0 to `last_strength` at the last step by
       the same factor each step, so that the noise fades on a logarithmic scale.

    The share and the order of things are the published ones; the two strengths and the number of
    steps are choices of this implementation.

    Attributes:
        class_share: Share of the picks that is divided over the classes, 0 to 1.
        step: Which step of the campaign this is, from 0.
        steps: Steps of the campaign.
        first_strength: Strength at the first step, above 0.
        last_strength: Strength at the last step, above 0.
    """

    class_share: float = 0.66
    step: int = 0
    steps: int = 5
    first_strength: float = 1.0
    last_strength: float = 100.0

    name: ClassVar[str] = "clasp-pe"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "drawn by entropy, a share evenly for each class, with fading chance"
    reference: ClassVar[str] = "Lueth et al., TMLR 2026"
    score: ClassVar[str] = "entropy in nats, times the probability of the class it was drawn for"
    needs_features: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = True
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Return the strategy itself; there is nothing to derive."""
        return self

    def space(self, pool: Pool) -> Floats | None:
        """Judge no likeness."""
        return None

    @property
    def strength(self) -> float:
        """The power of this step."""
        done = min(1.0, self.step / max(1, self.steps - 1))
        return float(self.first_strength ** (1 - done) * self.last_strength**done)

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Draw `min(budget, available)` candidates, class by class, then without class.

        Raises:
            InvalidInput: If the pool has no probabilities (`ERROR_REASON_MISSING_FIELD`), or a
                parameter is out of range.
        """
        probabilities = pool.class_probabilities()
        if not (0 <= self.class_share <= 1 and min(self.first_strength, self.last_strength) > 0):
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"clasp-pe needs a class_share of 0 to 1, got {self.class_share}, and strengths "
                f"above 0",
                field="strategy.clasp_pe",
                value=self.class_share,
            )
        doubt = entropy(probabilities)
        left = pool.available
        picks = min(budget, int(np.count_nonzero(left)))
        by_class = math.floor(self.class_share * picks + SLACK)
        shares = class_shares(by_class, probabilities.shape[1], seed=seed)
        scores, classes = doubt.copy(), np.full(len(pool), -1, np.float32)
        rows = [np.empty(0, np.intp)]
        for index, (of_class, share) in enumerate(shares):
            weighed = (doubt * probabilities[:, of_class]).astype(np.float32)
            drawn = self._draw(weighed, left, share, seed=seed, index=index + 1)
            scores[drawn], classes[drawn], left[drawn] = weighed[drawn], of_class, False
            rows.append(drawn)
        rest = picks - sum(map(len, rows))
        rows.append(self._draw(doubt, left, rest, seed=seed, index=0))
        parts = {"entropy": doubt, "drawn_for_class": np.where(classes < 0, np.nan, classes)}
        return chosen(pool, np.concatenate(rows), scores, parts)

    def _draw(self, scores: Floats, left: Mask, count: int, *, seed: int, index: int) -> Rows:
        free = np.flatnonzero(left)
        chances = uniforms(len(free), seed=seed, stream=self.name, index=index)
        return free[power_order(scores[free], self.strength, chances)[:count]]


def class_shares(picks: int, classes: int, *, seed: int) -> list[tuple[int, int]]:
    """Divide picks over the classes but the first: `(class, picks)` in a random order."""
    order = np.argsort(uniforms(classes - 1, seed=seed, stream="classes"), kind="stable") + 1
    share, more = divmod(picks, max(1, classes - 1))
    return [(int(each), share + (place < more)) for place, each in enumerate(order)]
