from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from parfocal_labels.annotators import Annotator, AnnotatorChange
from parfocal_labels.answers import FALSE, TRUE, UNSURE, Answer
from parfocal_labels.consensus import ConsensusRule, TieRule
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import ProjectChange, Purpose, QuerySpec, Role
from parfocal_runtime.errors import PermissionDenied

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)
# Seven judge twenty queries: three nearly agree, four guess, and all of these err on the first.
VOTES = {
    "ada": "TTTTTTTTTTFFFFFFFFFF",
    "bob": "TTTTTTTTTFFFFFFFFFFF",
    "cyd": "TTTTTTTTTTTFFFFFFFFF",
    "dan": "FFTFTFTFTFTFTFTFTFTF",
    "eve": "FTFFTTFFTTFFTTFFTTFF",
    "fay": "FTTFFTTFFTTFFTTFFTTF",
    "gus": "FTFTFTFTFTFTFTFTFTFT",
}


def vote_all(lab: Lab, votes: dict[str, str]) -> None:
    """Let everybody answer all queries by rank, with the letters of TRUE and FALSE."""
    for name, letters in votes.items():
        ids = sorted(lab.lease(name, len(letters)))
        for wanted, letter in ((TRUE, "T"), (FALSE, "F"), (UNSURE, "U")):
            chosen = [query for query, each in zip(ids, letters, strict=True) if each == letter]
            if chosen:
                lab.submit(name, chosen, wanted)


def modelled(lab: Lab, votes: dict[str, str], **rules: Any) -> Lab:
    lab.create(votes=len(votes), rule=ConsensusRule.DAWID_SKENE, **rules)
    lab.add(len(next(iter(votes.values()))))
    vote_all(lab, votes)
    return lab


def letters(lab: Lab) -> str:
    return "".join(
        {TRUE: "T", FALSE: "F", UNSURE: "U"}[each.answer or UNSURE]
        for _, each in sorted(lab.consensus().items())
    )


def test_a_model_of_the_annotators_outdoes_those_who_guess(lab: Lab) -> None:
    modelled(lab, VOTES)
    by_model = letters(lab)
    lab.run(
        lab.store.update_project(lab.project, ProjectChange(consensus_rule=ConsensusRule.MAJORITY))
    )

    assert by_model == VOTES["ada"]
    assert letters(lab) == "F" + by_model[1:]


def test_a_model_gives_each_answer_a_probability(lab: Lab) -> None:
    modelled(lab, VOTES)

    each = lab.consensus().values()

    assert all(0.5 < outcome.probability <= 1 for outcome in each)
    assert all(outcome.votes == 7 for outcome in each)


def test_votes_that_tell_nothing_of_annotators_leave_the_majority(lab: Lab) -> None:
    modelled(lab, {"ada": "TFTF"})

    assert letters(lab) == "TFTF"
    assert all(math.isnan(each.probability) for each in lab.consensus().values())


@pytest.mark.parametrize(("tie", "wanted"), [(TieRule.UNSURE, "U"), (TieRule.EARLIEST, "T")])
def test_answers_that_are_equally_probable_are_a_tie(lab: Lab, tie: TieRule, wanted: str) -> None:
    modelled(lab, {"ada": "TF", "bob": "FT"}, tie_rule=tie)

    assert letters(lab)[0] == wanted


def test_a_curator_overrides_the_model(lab: Lab) -> None:
    modelled(lab, VOTES)
    query = min(lab.states())

    lab.adjudicate(query, FALSE)

    outcome = lab.consensus()[query]
    assert (outcome.answer, outcome.adjudicated, outcome.agreeing) == (FALSE, True, 4)
    assert math.isnan(outcome.probability)


def test_another_vote_changes_the_model(lab: Lab) -> None:
    modelled(lab, VOTES)
    before = lab.consensus()
    [label] = [
        each
        for each in lab.run(lab.store.list_labels(lab.project, ALL)).items
        if each.annotator == "ada" and each.query.id == min(before)
    ]

    lab.revise(label.sequence, FALSE)

    assert lab.consensus()[min(before)].probability < before[min(before)].probability


def test_a_round_is_modelled_from_its_own_votes(lab: Lab) -> None:
    modelled(lab, VOTES)
    lab.add(4, round_="r2", first=100)
    vote_all(lab, {name: votes[:4] for name, votes in VOTES.items()})

    alone = lab.consensus(round_="r2")

    whole = lab.consensus()
    assert alone.keys() < whole.keys()
    assert any(alone[query].probability != whole[query].probability for query in alone)


def test_a_snapshot_has_the_answers_of_the_model_and_of_curators(lab: Lab) -> None:
    modelled(lab, VOTES)
    lab.adjudicate(max(lab.states()), TRUE)

    snapshot = lab.run(lab.store.create_snapshot(lab.project))

    table = pq.read_table(BytesIO(lab.objects.read(snapshot.path))).to_pydict()
    assert table["verdict"] == [*(letter == "T" for letter in VOTES["ada"][:-1]), True]
    assert table["adjudicated"] == [False] * 19 + [True]


def gold_and_repeats(lab: Lab) -> None:
    """Two of four queries handed to ada are gold, and later two of four are repeats."""
    lab.create(gold_share=0.5).add(2)
    gold = [
        QuerySpec("gold", "set", 50 + number, rank=0, role=Role.GOLD, gold=answer)
        for number, answer in enumerate((TRUE, FALSE))
    ]
    lab.run(lab.store.add_queries(lab.project, gold, caller="cur"))
    lab.submit("ada", lab.lease("ada", 4), TRUE)
    lab.run(lab.store.update_project(lab.project, ProjectChange(gold_share=0.0, repeat_share=0.25)))
    lab.add(6, first=2)
    for leased in (lab.lease("ada", 4), lab.lease("ada", 4)):
        lab.submit("ada", leased[:2], TRUE)
        lab.submit("ada", leased[2:], FALSE)


def described(lab: Lab) -> dict[str, Annotator]:
    page = lab.run(lab.store.reviews.list_annotators(lab.project, ALL))
    return {each.name: each for each in page.items}


def test_gold_and_repeats_tell_how_good_an_annotator_is(lab: Lab) -> None:
    gold_and_repeats(lab)
    labels = lab.run(lab.store.list_labels(lab.project, ALL)).items
    kinds = [label.purpose for label in labels]
    firsts = {label.query.id: label.answer for label in labels if label.purpose is Purpose.VOTE}
    same = [
        label.answer == firsts[label.query.id]
        for label in labels
        if label.purpose is Purpose.REPEAT
    ]

    ada = described(lab)["ada"]

    assert same
    assert (ada.gold_answered, ada.gold_right) == (2, 1)
    assert (ada.repeats_answered, ada.repeats_same) == (len(same), sum(same))
    assert ada.labels == kinds.count(Purpose.VOTE)


def test_gold_repeats_and_decisions_are_no_votes(lab: Lab) -> None:
    gold_and_repeats(lab)
    lab.adjudicate(min(lab.states()), FALSE)

    figures = lab.run(lab.store.agreement(lab.project))
    consensus = lab.consensus()

    assert figures.queries == 0
    assert {each.votes for each in consensus.values()} <= {0, 1}
    assert len(consensus) == 8


def test_a_round_is_complete_whatever_becomes_of_its_gold(lab: Lab) -> None:
    lab.create().add(2)
    gold = QuerySpec("r1", "set", 50, rank=9, role=Role.GOLD, gold=TRUE)
    lab.run(lab.store.add_queries(lab.project, [gold], caller="cur"))
    lab.vote("ada", 2)

    progress = lab.run(lab.store.progress(lab.project, round_="r1"))

    assert (progress.queries, progress.decided) == (2, 2)


def test_a_repeat_that_is_taken_back_is_no_vote_less(lab: Lab) -> None:
    gold_and_repeats(lab)
    labels = lab.run(lab.store.list_labels(lab.project, ALL)).items
    repeat = next(label for label in labels if label.purpose is Purpose.REPEAT)
    before = lab.states(), lab.consensus()

    lab.retract(repeat)

    assert (lab.states(), lab.consensus()) == before


def test_agreement_of_a_project_and_of_a_round(lab: Lab) -> None:
    lab.create(votes=2).add(10)
    vote_all(lab, {"ada": "TTTTTFFFFF", "bob": "TTTTTFFFFT"})
    lab.add(10, round_="r2", first=10)
    vote_all(lab, {"ada": "TTTTTFFFFF", "bob": "FFFFFTTTTT"})

    whole = lab.run(lab.store.agreement(lab.project))
    first = lab.run(lab.store.agreement(lab.project, round_="r1"))

    assert (whole.queries, first.queries) == (20, 10)
    assert (whole.pairwise, first.pairwise) == (0.45, 0.9)
    assert first.krippendorff_alpha == pytest.approx(0.81, abs=0.01)
    low, high = first.krippendorff_alpha_interval.low, first.krippendorff_alpha_interval.high
    assert low < first.krippendorff_alpha <= high
    assert [each.answer for each in first.answers] == [FALSE, TRUE]
    assert [each.annotator for each in first.annotators] == ["ada", "bob"]


def test_votes_taken_back_do_not_count_in_agreement(lab: Lab) -> None:
    lab.create(votes=2).add(3)
    vote_all(lab, {"ada": "TTF", "bob": "TFF"})
    labels = lab.run(lab.store.list_labels(lab.project, ALL)).items

    lab.revise(labels[0].sequence, FALSE)
    lab.retract(labels[1])

    figures = lab.run(lab.store.agreement(lab.project))
    assert (figures.queries, figures.pairwise) == (2, 0.5)


def test_an_annotator_is_given_skills(lab: Lab) -> None:
    lab.create()
    reviews = lab.store.reviews

    lab.run(reviews.update_annotator(lab.project, AnnotatorChange("ada", ("glia", "axon"), False)))
    changed = lab.run(reviews.update_annotator(lab.project, AnnotatorChange("ada", suspended=True)))

    assert changed == Annotator("ada", skills=("glia", "axon"), suspended=True)
    assert described(lab) == {"ada": changed}


def test_a_suspended_annotator_is_handed_nothing(lab: Lab) -> None:
    lab.create().add(2)
    held = lab.lease("ada", 1)
    change = AnnotatorChange("ada", suspended=True)
    lab.run(lab.store.reviews.update_annotator(lab.project, change))

    with pytest.raises(PermissionDenied) as caught:
        lab.lease("ada", 1)

    assert caught.value.reason == "ERROR_REASON_ANNOTATOR_SUSPENDED"
    assert caught.value.metadata == {"project": "vnc", "annotator": "ada"}
    assert lab.submit("ada", held)[0].annotator == "ada"


def test_all_who_labelled_are_listed_page_by_page(lab: Lab) -> None:
    lab.create(votes=9).add(2)
    names = ["ada", "Bob", "cyd dan", "über", "zoë@lab"]
    for name in names:
        lab.vote(name, 2)
    lab.run(lab.store.reviews.update_annotator(lab.project, AnnotatorChange("kim")))
    lab.create(project="other")

    found, page = [], PageRequest(2)
    while True:
        listed = lab.run(lab.store.reviews.list_annotators("vnc", page))
        found += listed.items
        if not listed.next_key:
            break
        page = PageRequest(2, listed.next_key)

    counts = {each.name: each.labels for each in found}
    assert counts == {**dict.fromkeys(names, 2), "kim": 0}
    assert len(found) == 6
    assert described(lab) == {}


def test_labels_that_were_taken_back_are_not_counted(lab: Lab) -> None:
    lab.create().add(2)
    first, second = lab.vote("ada", 2)

    lab.retract(first)
    lab.revise(second.sequence, FALSE)

    assert described(lab)["ada"].labels == 1


def test_classes_are_modelled_too(lab: Lab) -> None:
    lab.create(votes=3, rule=ConsensusRule.DAWID_SKENE, classes=("axon", "glia", "soma")).add(6)
    for name in ("ada", "bob", "cyd"):
        for number, query in enumerate(sorted(lab.lease(name, 6))):
            given = "soma" if name == "cyd" and number == 0 else ("axon", "glia")[number % 2]
            lab.submit(name, [query], Answer(class_name=given))

    answers = [each.answer for _, each in sorted(lab.consensus().items())]

    assert answers == [Answer(class_name="axon"), Answer(class_name="glia")] * 3


def test_leases_run_on_while_a_model_is_fitted(lab: Lab) -> None:
    modelled(lab, VOTES)

    async def both() -> list[object]:
        listing = lab.store.list_consensus(lab.project, ALL)
        leasing = lab.store.lease_queries(lab.project, "new", count=1, ttl=timedelta(seconds=9))
        return list(await asyncio.gather(listing, leasing))

    listed, leased = lab.run(both())

    assert len(listed.items) == 20
    assert leased == []
