from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import LogisticRegression

from parfocal_suggestion.covariance import Linear, Part, Shared, Smooth, between, own
from parfocal_suggestion.gaussian_process import fit, predict


def data(count: int = 60) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    places = rng.normal(size=(count, 3))
    return places, places @ [1.5, -1.0, 0.0] + rng.normal(size=count) > 0


def test_it_agrees_with_another_implementation() -> None:
    places, verdicts = data()
    peer = GaussianProcessClassifier(ConstantKernel(2.0) * RBF(1.3), optimizer=None)
    peer.fit(places[:40], verdicts[:40])
    part = Smooth(places, scale=1.3**2)
    seen, new = np.arange(40), np.arange(40, 60)

    posterior = fit(2 * part.between(seen, seen), verdicts[:40], np.zeros(40))
    chance = predict(posterior, 2 * part.between(new, seen), np.full(20, 2.0), np.zeros(20))

    assert posterior.log_evidence == pytest.approx(
        peer.log_marginal_likelihood(peer.kernel_.theta), abs=1e-4
    )
    # They average the logistic function by different approximations.
    assert np.abs(chance - peer.predict_proba(places[40:])[:, 1]).max() < 0.02


def test_a_linear_part_alone_is_a_penalised_logistic_regression() -> None:
    places, verdicts = data()
    ridge = LogisticRegression(C=0.7, fit_intercept=False, tol=1e-10).fit(places, verdicts)
    rows = np.arange(60)
    kernel = 0.7 * Linear(places).between(rows, rows)

    mode = kernel @ fit(kernel, verdicts, np.zeros(60)).gradient

    assert np.allclose(mode, ridge.decision_function(places), atol=1e-3)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 4.0), (1.5, 0.1), (-2.0, 9.0)])
def test_the_average_over_what_is_open_is_close(mean: float, variance: float) -> None:
    exact = quad(
        lambda x: expit(x) * norm.pdf(x, mean, np.sqrt(variance)), mean - 40, mean + 40, points=[0]
    )[0]
    approximate = expit(mean / np.sqrt(1 + np.pi * variance / 8))

    assert approximate == pytest.approx(exact, abs=0.02)


def test_labels_of_one_class_lean_there_without_certainty() -> None:
    rows = np.arange(5)
    kernel = np.full((5, 5), 4.0)

    chance = predict(
        fit(kernel, np.full(5, True), np.zeros(5)), kernel, np.full(5, 4.0), np.zeros(5)
    )

    assert np.all((chance > 0.75) & (chance < 0.99))
    assert np.ptp(chance[rows]) == 0


def test_a_very_confident_prior_converges() -> None:
    places, verdicts = data()
    rows = np.arange(60)

    posterior = fit(1e4 * Linear(places).between(rows, rows), verdicts, np.zeros(60))

    assert np.isfinite(posterior.log_evidence)


def test_what_is_expected_stands_where_labels_say_nothing() -> None:
    apart = np.zeros((2, 1))
    posterior = fit(np.array([[1.0]]), np.array([True]), np.array([-3.0]))

    chance = predict(posterior, apart, np.zeros(2), np.array([-1.0, 2.0]))

    assert np.allclose(chance, expit([-1.0, 2.0]))


def test_a_constant_that_is_expected_is_one_of_the_labels_scale() -> None:
    places, verdicts = data()
    rows = np.arange(60)
    kernel = Linear(places).between(rows, rows)
    wide = np.full((60, 60), 1e4)

    free, shifted = (fit(kernel + wide, verdicts, np.full(60, by)) for by in (0.0, 1.5))

    # A constant that is all but free takes up whatever was expected.
    assert np.allclose(free.gradient, shifted.gradient, atol=1e-3)


def test_parts_add_by_their_strengths() -> None:
    places, _ = data(6)
    parts: dict[str, Part] = {"line": Linear(places), "group": Shared(np.array([0, 0, 1, 1, 2, 2]))}
    rows = np.arange(6)

    whole = between(parts, {"line": 0.5, "group": 2.0}, rows, rows)

    assert np.allclose(whole - 4, 0.5 * places @ places.T + 2 * np.kron(np.eye(3), np.ones((2, 2))))
    assert np.allclose(np.diag(whole), own(parts, {"line": 0.5, "group": 2.0}, rows))


def test_a_smooth_part_without_spread_is_constant() -> None:
    rows = np.arange(3)

    assert Smooth.over(np.ones((3, 2))).between(rows, rows).tolist() == [[1.0] * 3] * 3
