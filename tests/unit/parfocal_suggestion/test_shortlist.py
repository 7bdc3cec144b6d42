from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parfocal_suggestion.shortlist import best

KEYS = st.sampled_from([-np.inf, -2.0, -1e-30, -0.0, 0.0, 1e-30, 2.0, np.inf])


@given(
    lists=st.lists(st.lists(KEYS, min_size=3, max_size=9), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_best_are_those_of_a_sort_by_key_and_id(lists: list[list[float]], seed: int) -> None:
    owners = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    keys = np.concatenate(lists).astype(np.float32)
    ids = np.random.default_rng(seed).permutation(len(keys))

    found, values = best(owners, ids, keys, 3)

    for owner in range(len(lists)):
        own = np.flatnonzero(owners == owner)
        order = own[np.lexsort((ids[own], keys[own]))][:3]
        assert found[owner].tolist() == ids[order].tolist()
        assert values[owner].tolist() == keys[order].tolist()
