from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.errors import WrongState
from parfocal_training.triplet import draw_triplets, split_labels

VERDICTS = st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda v: 0 < sum(v) < len(v))


@pytest.mark.parametrize("verdicts", [[True] * 5, [False] * 5, [True]])
def test_one_class_alone_is_refused_and_said(verdicts: list[bool]) -> None:
    with pytest.raises(WrongState) as caught:
        split_labels(np.array(verdicts), share=0.25, rng=np.random.default_rng(0))

    assert caught.value.reason == "ERROR_REASON_TOO_FEW_LABELS"
    assert "stays as it is" in caught.value.message


@given(VERDICTS, st.floats(0, 0.9), st.integers(0, 2**32))
def test_held_out_labels_are_not_learned_from(
    verdicts: list[bool], share: float, seed: int
) -> None:
    array = np.array(verdicts)

    split = split_labels(array, share=share, rng=np.random.default_rng(seed))

    rows = np.concatenate([*split.learn, *split.held_out])
    assert sorted(rows) == list(range(len(array)))
    for value, learn, held in zip((True, False), split.learn, split.held_out, strict=True):
        assert (array[learn] == value).all()
        assert (array[held] == value).all()
        assert len(learn) >= min(2, (array == value).sum())


@given(VERDICTS, st.integers(0, 2**32))
def test_a_triplet_has_a_friend_and_a_stranger(verdicts: list[bool], seed: int) -> None:
    array = np.array(verdicts)
    classes = (np.flatnonzero(array), np.flatnonzero(~array))

    anchors, positives, negatives = draw_triplets(classes, 20, np.random.default_rng(seed))

    assert (array[anchors] == array[positives]).all()
    assert (array[anchors] != array[negatives]).all()
    assert array[anchors].sum() == 10
    lonely = np.isin(anchors, [rows[0] for rows in classes if len(rows) == 1])
    assert ((anchors != positives) | lonely).all()


def test_few_labels_are_all_learned_from() -> None:
    split = split_labels(np.array([True, False]), share=0.5, rng=np.random.default_rng(0))

    assert not split.can_be_checked
