from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parfocal._exchange.matching import Overlap, Thing, match


def test_the_candidate_that_is_most_alike_is_the_thing() -> None:
    things = [Thing("a", True)]

    found = match(things, [Overlap(0, 5, 0.6), Overlap(0, 6, 0.7)])

    assert [(each.candidate, each.thing, each.iou) for each in found.matches] == [(6, "a", 0.7)]
    assert found.unmatched == ()


def test_what_has_less_in_common_is_told() -> None:
    found = match([Thing("a", True), Thing("b", True)], [Overlap(0, 5, 0.49)])

    assert found.matches == ()
    first, second = found.unmatched
    assert (first.thing, first.candidate, first.iou) == ("a", 5, 0.49)
    assert (second.thing, second.candidate) == ("b", None)


def test_of_two_things_one_is_the_candidate() -> None:
    things = [Thing("a", True), Thing("b", False)]

    found = match(things, [Overlap(0, 5, 0.5), Overlap(1, 5, 0.5)])

    assert [each.thing for each in found.matches] == ["a"]
    assert [each.thing for each in found.unmatched] == ["b"]


def test_on_several_sections_things_are_one_candidate() -> None:
    things = [Thing("a", "glia", "0/1"), Thing("b", "glia", "0/2")]

    found = match(things, [Overlap(0, 5, 0.6), Overlap(1, 5, 0.9)])

    assert [(each.candidate, each.iou) for each in found.matches] == [(5, 0.9)]
    assert found.unmatched == ()


def test_things_that_contradict_each_other_count_for_nothing() -> None:
    things = [Thing("a", "glia", "0/1"), Thing("b", "axon", "0/2")]

    found = match(things, [Overlap(0, 5, 0.6), Overlap(1, 5, 0.9)])

    assert found.matches == ()
    assert {each.thing for each in found.unmatched} == {"a", "b"}
    assert {each.candidate for each in found.unmatched} == {5}


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.7, 1.0])),
        unique_by=lambda each: each[:2],
    ),
    st.integers(1, 3),
)
def test_nothing_is_lost_and_nothing_counts_twice(
    pairs: list[tuple[int, int, float]], groups: int
) -> None:
    things = [Thing(str(number), True, str(number % groups)) for number in range(8)]
    overlaps = [Overlap(*pair) for pair in pairs]

    found = match(things, overlaps)
    again = match(things, overlaps[::-1])

    assert found == again
    candidates = [each.candidate for each in found.matches]
    assert sorted(set(candidates)) == candidates
    assert all(each.iou >= 0.5 for each in found.matches)
    told = {each.thing for each in found.matches} | {each.thing for each in found.unmatched}
    if groups == 1:
        assert told == {str(number) for number in range(8)}
