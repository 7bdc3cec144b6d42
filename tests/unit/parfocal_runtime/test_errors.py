from __future__ import annotations

import copy
import pickle

import pytest

from parfocal_runtime.errors import DomainError, Exhausted, Unavailable, Violation


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_passes_from_one_process_to_another(again: object) -> None:
    assert callable(again)
    faults = [Violation("answers[3]", "ERROR_REASON_INVALID_FIELD", "it has no answer")]
    error = Exhausted("ERROR_REASON_QUEUE_FULL", "too many", faults, limit=7).retry_after(2.5)

    found = again(error)

    assert type(found) is Exhausted
    assert (found.reason, found.message, str(found)) == (error.reason, "too many", "too many")
    assert (found.violations, found.metadata) == (tuple(faults), {"limit": "7"})
    assert found.retry_seconds == 2.5


def test_an_error_without_particulars_passes_too() -> None:
    found = pickle.loads(pickle.dumps(Unavailable("ERROR_REASON_INTERNAL", "away")))

    assert isinstance(found, DomainError)
    assert found.retry_seconds is None
