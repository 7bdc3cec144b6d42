from __future__ import annotations

import numpy as np
import pytest

from parfocal_demo.oracle import Oracle

TRUTH = np.array([True, False] * 1000)


def oracle(*, error_rate: float = 0.0, seed: int = 0) -> Oracle:
    # The verdict needs no server, so there is none.
    client: object = None
    return Oracle(client, "demo", lambda name: TRUTH, error_rate=error_rate, seed=seed)  # type: ignore[arg-type]


def test_an_oracle_without_errors_tells_the_truth() -> None:
    said = [oracle().verdict("first", candidate) for candidate in range(20)]

    assert said == TRUTH[:20].tolist()


def test_errors_have_the_rate_that_was_asked_for() -> None:
    wrong = [oracle(error_rate=0.1).verdict("first", n) != TRUTH[n] for n in range(2000)]

    assert np.mean(wrong) == pytest.approx(0.1, abs=0.03)


def test_the_same_candidate_gets_the_same_answer_again() -> None:
    answers = [[oracle(error_rate=0.5).verdict("first", n) for n in range(50)] for _ in range(2)]

    assert answers[0] == answers[1]


def test_another_seed_errs_elsewhere() -> None:
    answers = [
        [oracle(error_rate=0.5, seed=seed).verdict("first", n) for n in range(50)]
        for seed in (0, 1)
    ]

    assert answers[0] != answers[1]
