"""A small model of the labels in which every kind of knowledge gets the weight that it earns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from parfocal_suggestion.covariance import CONSTANT, Matrix, Strengths, between, own
from parfocal_suggestion.gaussian_process import Posterior, fit, predict
from parfocal_suggestion.knowledge import Knowledge
from parfocal_suggestion.pool import Ids, Mask, Rows

EXPECTED: Mapping[str, float] = MappingProxyType({"geometry": 0.3, "bodies": 3.0})
"""Strengths before any label: confidence, size and shape matter, and what holds for one section of
a body holds for the others."""
EXPECTED_OF_OTHERS = 0.3
LEVELS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Strengths that are tried for each part."""
_FAINT = 0.03
MOST_COMPARED = 256
"""Labels that strengths are chosen by; more only cost time."""
MOST_FITTED = 3000
"""Labels that are fitted; the time grows with their cube."""
_SWEEPS = 2
_AT_ONCE = 4096


@dataclass(frozen=True)
class Learned:
    """A fitted model.

    Attributes:
        known: What it knows of every candidate.
        strengths: How much each part may say, by name.
        rows: (L,) the labelled candidates.
        posterior: What the labels say.
    """

    known: Knowledge
    strengths: dict[str, float]
    rows: Rows | Ids
    posterior: Posterior

    def probabilities(self, rows: Rows | Ids) -> Matrix:
        """(m,) probability of True of candidates."""
        found = [np.empty(0)]
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            across = between(self.known.parts, self.strengths, some, self.rows)
            variance = own(self.known.parts, self.strengths, some)
            found.append(predict(self.posterior, across, variance, self.known.leaning[some]))
        return np.concatenate(found)


def learn(known: Knowledge, rows: Rows | Ids, verdicts: Mask) -> Learned:
    """Choose the strengths and fit the labels.

    Of more than `MOST_FITTED` labels, evenly spread ones are fitted.

    Args:
        known: What is known of every candidate.
        rows: (L,) labelled candidates, ascending, L > 0.
        verdicts: (L,) their labels.
    """
    compared, fitted = _spread(len(rows), MOST_COMPARED), _spread(len(rows), MOST_FITTED)
    strengths = choose_strengths(known, rows[compared], verdicts[compared])
    kernel = between(known.parts, strengths, rows[fitted], rows[fitted])
    posterior = fit(kernel, verdicts[fitted], known.leaning[rows[fitted]])
    return Learned(known, strengths, rows[fitted], posterior)


def choose_strengths(known: Knowledge, rows: Rows | Ids, verdicts: Mask) -> dict[str, float]:
    """Weigh the parts by the evidence of the labels, one after another.

    The evidence is the probability of the labels averaged over all functions that the parts allow,
    so that a part that does not help costs. The prior of each strength is log-normal around what
    is expected, a factor e being one standard deviation: few labels change little.

    Args:
        known: What is known of every candidate.
        rows: (L,) labelled candidates.
        verdicts: (L,) their labels.
    """
    kernels = {name: part.between(rows, rows) for name, part in known.parts.items()}
    leaning = known.leaning[rows]
    strengths = {name: _expected(name) for name in known.parts}
    best = _score(kernels, strengths, verdicts, leaning)
    for _ in range(_SWEEPS):
        before = best
        for name in known.parts:
            for level in LEVELS:
                tried = {**strengths, name: level}
                score = _score(kernels, tried, verdicts, leaning)
                if score > best:
                    strengths, best = tried, score
        if best == before:
            break
    return strengths


def _score(
    kernels: Mapping[str, Matrix], strengths: Strengths, verdicts: Mask, leaning: Matrix
) -> float:
    kernel = np.full((len(verdicts), len(verdicts)), CONSTANT)
    for name, strength in strengths.items():
        kernel += strength * kernels[name]
    unlikely = sum(
        np.log((strength + _FAINT) / (_expected(name) + _FAINT)) ** 2 / 2
        for name, strength in strengths.items()
    )
    return float(fit(kernel, verdicts, leaning).log_evidence - unlikely)


def _expected(name: str) -> float:
    return EXPECTED.get(name, EXPECTED_OF_OTHERS)


def _spread(count: int, most: int) -> Rows:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
