from __future__ import annotations

import time

import pytest

from parfocal_inference.busy import Busy


def test_what_happens_side_by_side_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    busy = Busy()

    with busy:
        now += 1
        with busy:
            now += 2
        now += 4
        assert busy.seconds == 0
    now += 8
    with busy:
        now += 16

    assert busy.seconds == 1 + 2 + 4 + 16


def test_what_fails_is_over() -> None:
    busy = Busy()

    with pytest.raises(LookupError), busy:
        raise LookupError
    before = busy.seconds
    with busy:
        time.sleep(0.001)

    assert busy.seconds > before
