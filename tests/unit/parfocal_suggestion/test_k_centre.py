"""The lazy k-centre picks what the plain method picks, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parfocal_suggestion import k_centre
from parfocal_suggestion.distances import lower, squared_norms
from parfocal_suggestion.k_centre import farthest_first, k_centre_greedy

Points = NDArray[np.float32]


def plain_k_centre(points: Points, centres: Points, count: int) -> tuple[list[int], list[float]]:
    """Lower every distance after every pick."""
    squared = np.full(len(points), np.inf, np.float32)
    for centre in centres:
        squared = np.minimum(squared, squared_norms(points - centre))
    rows, radii = [], []
    for _ in range(count):
        row = int(np.argmax(squared))
        rows.append(row)
        radii.append(float(np.sqrt(squared[row])))
        squared = np.minimum(squared, squared_norms(points - points[row]))
        squared[row] = -1
    return rows, radii


@st.composite
def problems(draw: st.DrawFn) -> tuple[Points, int]:
    """Points, many at equal distances or in one place, and how many are centres."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(2, 60)), draw(st.sampled_from([1, 2, 5, 40]))
    if draw(st.booleans()):
        sides = draw(st.integers(2, 4))
        points = rng.integers(0, sides, (rows, columns)).astype(np.float64)
    else:
        scale, offset = draw(st.sampled_from([(1, 0), (1e-3, 0), (0.02, 1e6), (1e14, 0)]))
        points = rng.normal(size=(rows, columns)) * scale + offset
    return points.astype(np.float32), draw(st.integers(1, rows - 1))


@pytest.mark.parametrize("block", [1, 3, 16, 1024])
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_picks_and_radii_are_those_of_the_plain_method(
    block: int, problem: tuple[Points, int]
) -> None:
    points, known = problem
    centres, others = points[:known], points[known:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_centre, "_BLOCK", block)

        rows, radii = k_centre_greedy(others, centres, len(others))

    assert (rows.tolist(), radii.tolist()) == plain_k_centre(others, centres, len(others))


@settings(max_examples=40, deadline=None)
@given(problem=problems(), split=st.integers(0, 60))
def test_centres_may_come_in_parts(problem: tuple[Points, int], split: int) -> None:
    points, known = problem
    centres, others = points[:known], points[known:]
    whole, parts = np.full((2, len(others)), np.inf, np.float32)

    lower(whole, others, centres, origin=points[0])
    lower(parts, others, centres[split:], origin=points[-1])
    lower(parts, others, centres[:split], origin=np.zeros_like(points[0]))

    assert parts.tobytes() == whole.tobytes()


@settings(max_examples=40, deadline=None)
@given(problem=problems(), behind=st.integers(0, 60))
def test_distances_may_lack_the_last_centres(problem: tuple[Points, int], behind: int) -> None:
    points, known = problem
    centres, others = points[:known], points[known:]
    first = max(1, known - behind)
    squared = np.full(len(others), np.inf, np.float32)
    lower(squared, others, centres[:first], origin=points[0])

    rows, radii = farthest_first(others, squared, len(others), lacking=centres[first:])

    assert (rows.tolist(), radii.tolist()) == plain_k_centre(others, centres, len(others))


def test_most_points_are_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    clumps = rng.normal(scale=5, size=(40, 8))
    points = (clumps[rng.integers(0, 40, 20_000)] + rng.normal(size=(20_000, 8))).astype("f4")
    squared = np.full(len(points), np.inf, np.float32)
    lower(squared, points, points[:200], origin=points[0])
    looked_at = []

    def counted(squared: Points, points: Points, centres: Points, *, origin: Points) -> None:
        looked_at.append(len(points) * len(centres))
        lower(squared, points, centres, origin=origin)

    monkeypatch.setattr(k_centre, "lower", counted)
    farthest_first(points, squared, 50)

    assert sum(looked_at) < 0.15 * 50 * len(points)
