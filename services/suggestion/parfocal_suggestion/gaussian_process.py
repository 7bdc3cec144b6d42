"""Gaussian-process classification of two classes by Laplace's approximation.

C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006,
sections 3.4 and 3.5, with the logistic likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit

from parfocal_suggestion.pool import Mask

Matrix = NDArray[np.float64]

_STEPS = 50
_HALVINGS = 10
_CONVERGED = 1e-6


@dataclass(frozen=True)
class Posterior:
    """The latent function at the labels, as a normal distribution around its mode.

    Attributes:
        gradient: (L,) slope of the log likelihood at the mode.
        root_weight: (L,) square root of its negative curvature.
        factor: (L, L) lower Cholesky factor of I + W^1/2 K W^1/2.
        log_evidence: Log probability of the labels under the prior, approximately.
    """

    gradient: Matrix
    root_weight: Matrix
    factor: Matrix
    log_evidence: float


def fit(kernel: Matrix, verdicts: Mask, expected: Matrix) -> Posterior:
    """Find the mode by Newton's method, halving steps that overshoot.

    Args:
        kernel: (L, L) prior covariance of the labels' latent values, positive semi-definite.
        verdicts: (L,) the labels.
        expected: (L,) prior mean of the latent values.
    """
    target = verdicts.astype(np.float64)
    weights, best = np.zeros(len(target)), -math.inf
    latent = expected
    for _ in range(_STEPS):
        chance = expit(latent)
        root, factor = _curvature(kernel, chance)
        right = root * root * (latent - expected) + (target - chance)
        newton = right - root * cho_solve((factor, True), root * (kernel @ right))
        before = best
        for halving in range(_HALVINGS):
            tried = weights + 0.5**halving * (newton - weights)
            value = kernel @ tried
            best = _log_posterior(tried, value, expected, target)
            if best >= before - _CONVERGED:
                break
        weights, latent = tried, value + expected
        if best - before < _CONVERGED:
            break
    chance = expit(latent)
    root, factor = _curvature(kernel, chance)
    evidence = best - float(np.log(np.diag(factor)).sum())
    return Posterior(target - chance, root, factor, evidence)


def predict(posterior: Posterior, across: Matrix, own: Matrix, expected: Matrix) -> Matrix:
    """Return the (m,) probability of True, averaged over what the labels leave open.

    Args:
        posterior: From `fit`.
        across: (m, L) prior covariance of each point with each label.
        own: (m,) prior variance of each point.
        expected: (m,) prior mean of each point.
    """
    mean = expected + across @ posterior.gradient
    explained = solve_triangular(
        posterior.factor, posterior.root_weight[:, None] * across.T, lower=True
    )
    variance = np.maximum(own - np.square(explained).sum(axis=0), 0)
    # The mean of a logistic function under a normal law (MacKay 1992), within 0.02.
    return np.asarray(expit(mean / np.sqrt(1 + math.pi * variance / 8)))


def _curvature(kernel: Matrix, chance: Matrix) -> tuple[Matrix, Matrix]:
    root = np.sqrt(chance * (1 - chance))
    inner = np.eye(len(root)) + root[:, None] * kernel * root
    return root, cholesky(inner, lower=True)


def _log_posterior(weights: Matrix, beyond: Matrix, expected: Matrix, target: Matrix) -> float:
    signs = 2 * target - 1
    likelihood = -np.logaddexp(0, -signs * (beyond + expected)).sum()
    return float(likelihood - 0.5 * weights @ beyond)
