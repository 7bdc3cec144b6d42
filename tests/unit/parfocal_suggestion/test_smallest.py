from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parfocal_suggestion.smallest import smallest


@given(
    keys=st.lists(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])),
    count=st.integers(-1, 40),
)
def test_it_is_the_head_of_a_stable_sort(keys: list[float], count: int) -> None:
    array = np.array(keys)

    rows = smallest(array, count)

    assert rows.tolist() == np.argsort(array, kind="stable")[: max(count, 0)].tolist()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 40))
def test_raw_numbers_of_a_generator_keep_all_their_bits(keys: list[int], count: int) -> None:
    array = np.array(keys, np.uint64)

    rows = smallest(array, count)

    assert rows.tolist() == np.argsort(array, kind="stable")[:count].tolist()
