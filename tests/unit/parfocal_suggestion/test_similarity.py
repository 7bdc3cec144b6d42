from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_suggestion import similarity
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.similarity import greatest_cosine, inverse_norms, most_similar, unit
from parfocal_suggestion.strategies.similarity_search import SimilaritySearch


@pytest.mark.parametrize("rows_at_once", [4, 8192])
@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    columns=st.integers(1, 6),
    queries=st.integers(1, 5),
    k=st.integers(1, 12),
    on_a_grid=st.booleans(),
)
def test_the_most_alike_are_those_of_all_cosines(
    rows_at_once: int, seed: int, rows: int, columns: int, queries: int, k: int, on_a_grid: bool
) -> None:
    rng = np.random.default_rng(seed)
    made = (
        rng.integers(-1, 2, (rows + queries, columns))
        if on_a_grid
        else rng.normal(size=(rows + queries, columns))
    )
    points, asked = np.split(made.astype(np.float32), [rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_ROWS", rows_at_once)

        found, cosines = most_similar(points, asked, k)

    directions, wanted = unit(points), unit(asked)
    for query, ids, values in zip(wanted, found, cosines, strict=True):
        every = np.einsum("nd,nd->n", directions, np.broadcast_to(query, directions.shape))
        assert ids.tolist() == np.lexsort((np.arange(rows), -every))[:k].tolist()
        np.testing.assert_array_equal(values, every[ids])


def test_a_point_without_length_is_alike_to_nothing() -> None:
    points = np.array([[0, 0], [3, 4]], np.float32)

    assert unit(points)[0].tolist() == [0, 0]
    np.testing.assert_allclose(unit(points)[1], [0.6, 0.8], rtol=1e-6)
    cosines = greatest_cosine(points, inverse_norms(points), points[1:])
    np.testing.assert_allclose(cosines, [0, 1], atol=1e-6)


def test_dense_candidates_that_look_like_an_example_come_first() -> None:
    points = np.array([[1, 0], [0.9, 0.1], [0.9, -0.1], [0, 1], [0.1, 1], [0.5, 0.5]], np.float32)
    pool = Pool.of(range(6), streams={"a": points}, labelled=[3, 0], verdicts=[True, False])

    selection = SimilaritySearch(density_strength=0).select(pool, 2, seed=0)
    dense = SimilaritySearch(density_strength=50).select(pool, 1, seed=0)

    assert selection.candidates.tolist() == [4, 5]
    assert dense.candidates.tolist() == [5]
    assert selection.parts["likeness"][0] > 0.99


def test_without_an_example_the_densest_come_first() -> None:
    points = np.array([[1, 0], [1, 0.1], [1, -0.1], [-1, 0]], np.float32)
    pool = Pool.of(range(4), streams={"a": points}, labelled=[3], verdicts=[False])

    assert SimilaritySearch().select(pool, 3, seed=0).candidates.tolist() == [0, 1, 2]
