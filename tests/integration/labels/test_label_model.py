"""The store against a model of its rules, under random use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from label_model import Asked, Model
from parfocal_labels.annotators import AnnotatorChange
from parfocal_labels.answers import FALSE, TRUE, UNSURE
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import QuerySpec, QueryState, Skip, Vote
from parfocal_runtime.errors import DomainError
from proofs import ALL as ALL_OF_IT
from proofs import amount, long_running

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

EXAMPLES, STEPS = amount(40, all=400), 30
# To make a failing use short takes minutes.
PHASES = [Phase.generate, Phase.shrink] if ALL_OF_IT else [Phase.generate]
ALL = PageRequest(1000)
ANSWERS = {True: TRUE, False: FALSE}
PRIORITIES = {"r0": 0, "r1": 1}

people = st.sampled_from(("ada", "bob", "cyd"))
rounds = st.sampled_from(tuple(PRIORITIES))
seconds = st.sampled_from((5, 30))
request_ids = st.sampled_from(("", "", "", "a", "b"))
picks = st.lists(st.integers(0, 20), min_size=1, max_size=3)


class Use(RuleBasedStateMachine):
    """What people do with one project, on the store and in the model at the same time."""

    lab: Lab
    numbers: Iterator[int]
    done: Counter[str]

    @initialize(votes=st.integers(1, 3), ranks=st.lists(st.integers(0, 11), min_size=3, max_size=9))
    def create(self, votes: int, ranks: list[int]) -> None:
        self.project = f"p{next(self.numbers)}"
        self.lab.create(votes=votes, project=self.project)
        self.model = Model(votes)
        for candidate, number in enumerate(ranks):
            self.add(candidate, f"r{number % 2}", number // 4, number % 4)

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """What a call comes to, None where it is refused."""
        try:
            return self.lab.run(call)
        except DomainError:
            return None

    def some(self, of: list[int], numbers: list[int]) -> list[int]:
        return list(dict.fromkeys(of[number % len(of)] for number in numbers)) if of else []

    def queries(self, annotator: str, numbers: list[int], *, anything: bool) -> list[int]:
        """Queries that somebody holds, or any."""
        of = list(self.model.queries) if anything else self.model.held(annotator)
        return self.some(of, numbers)

    def request_id(self, given: str) -> str:
        return given or f"call-{next(self.numbers)}"

    @rule(
        candidate=st.integers(0, 9), round_=rounds, rank=st.integers(0, 2), skill=st.integers(0, 3)
    )
    def add(self, candidate: int, round_: str, rank: int, skill: int) -> None:
        priority, needed = PRIORITIES[round_], "" if skill else "axons"
        spec = QuerySpec(round_, "set", candidate, rank=rank, priority=priority, skill=needed)
        self.run(self.lab.store.add_queries(self.project, [spec], caller="loop"))
        for query in self.run(self.lab.store.list_queries(self.project, ALL)).items:
            of = query.spec
            self.model.queries[query.id] = Asked(of.round, of.priority, of.rank, of.skill)

    @rule(who=people, count=st.integers(1, 4), round_=rounds | st.just(""), ttl=seconds)
    def lease(self, who: str, count: int, round_: str, ttl: int) -> None:
        handed = self.run(
            self.lab.store.lease_queries(
                self.project, who, count=count, ttl=timedelta(seconds=ttl), round_=round_
            )
        )

        expected = self.model.lease(who, count, round_, ttl)
        assert [lease.query.id for lease in handed] == expected
        self.done["leases"] += len(handed)

    @rule(who=people, count=st.integers(1, 4), yes=st.booleans())
    def label(self, who: str, count: int, yes: bool) -> None:
        self.lease(who, count, "", 30)
        self.submit(who, list(range(4)), yes, anything=1, id_="")

    @rule(who=people, ttl=seconds)
    def renew(self, who: str, ttl: int) -> None:
        call = self.lab.store.renew_leases(
            self.project, who, list(self.model.queries), ttl=timedelta(seconds=ttl)
        )

        assert self.run(call)[0] == self.model.renew(who, ttl)

    @rule(who=people, numbers=picks)
    def release(self, who: str, numbers: list[int]) -> None:
        queries = self.queries(who, numbers, anything=True)
        self.run(self.lab.store.release_queries(self.project, who, queries))
        self.model.release(who, queries)

    @rule(who=people, numbers=picks, yes=st.booleans(), anything=st.integers(0, 4), id_=request_ids)
    def submit(self, who: str, numbers: list[int], yes: bool, anything: int, id_: str) -> None:
        queries = self.queries(who, numbers, anything=not anything)
        if not queries:
            return
        id_ = self.request_id(id_)
        # The same again, and then something else under the same name.
        for answer in (yes, yes, not yes):
            votes = [Vote(query, ANSWERS[answer]) for query in queries]
            call = self.lab.store.submit_labels(self.project, who, votes, request_id=id_)
            labels = self.run(call)

            submit = partial(self.model.submit, who, dict.fromkeys(queries, answer))
            expected = self.model.once(who, id_, ("submit", queries, answer), submit)
            assert (labels and [label.sequence for label in labels]) == expected
            self.done["submissions" if labels else "refused submissions"] += 1

    @rule(who=people, numbers=picks, anything=st.integers(0, 4), id_=request_ids)
    def skip(self, who: str, numbers: list[int], anything: int, id_: str) -> None:
        self.lease(who, 1, "", 30)
        queries, id_ = self.queries(who, numbers, anything=not anything), self.request_id(id_)
        if not queries:
            return
        skips = [Skip(query, "out of focus") for query in queries]
        call = self.lab.store.skip_queries(self.project, who, skips, request_id=id_)

        expected = self.model.once(
            who, id_, ("skip", queries), lambda: self.model.skip(who, queries)
        )
        assert self.run(call) == expected
        self.done["skips"] += bool(expected)

    @rule(number=st.integers(0, 20), yes=st.booleans(), id_=request_ids)
    def adjudicate(self, number: int, yes: bool, id_: str) -> None:
        id_ = self.request_id(id_)
        if not self.model.queries:
            return
        [query] = self.some(list(self.model.queries), [number])
        call = self.lab.store.reviews.adjudicate_query(
            self.project, Vote(query, ANSWERS[yes]), curator="cur", request_id=id_
        )
        label = self.run(call)

        expected = self.model.once(
            "cur", id_, ("adjudicate", query, yes), lambda: self.model.adjudicate(query, yes)
        )
        assert (label and label.sequence) == expected

    @precondition(lambda self: self.model.sequence)
    @rule(who=people | st.just("cur"), number=st.integers(0, 30), yes=st.booleans())
    def revise(self, who: str, number: int, yes: bool) -> None:
        if self.model.labels and number % 4:
            # One's own.
            [sequence] = self.some(list(self.model.labels), [number])
            who = self.model.labels[sequence].annotator
        else:
            sequence = 1 + number % self.model.sequence
        call = self.lab.store.reviews.revise_label(
            self.project,
            sequence,
            Vote(0, ANSWERS[yes]),
            caller=who,
            request_id=self.request_id(""),
        )
        label = self.run(call)

        assert (label and label.sequence) == self.model.revise(sequence, who, yes)
        self.done["revisions"] += bool(label)

    @rule(number=st.integers(0, 20))
    def retract(self, number: int) -> None:
        for sequence in self.some(list(self.model.labels), [number]):
            call = self.lab.store.retract_label(
                self.project, sequence, caller=self.model.labels[sequence].annotator
            )
            self.run(call)
            self.model.retract(sequence)

    @rule(who=people, yes=st.booleans())
    def learn(self, who: str, yes: bool) -> None:
        change = AnnotatorChange(who, skills=("axons",) if yes else ())
        self.run(self.lab.store.reviews.update_annotator(self.project, change))
        (self.model.skilled.add if yes else self.model.skilled.discard)(who)

    @rule(seconds=st.sampled_from((1, 5, 30)))
    def wait(self, seconds: int) -> None:
        self.lab.clock.advance(seconds)
        self.model.now += seconds

    # Seldom, because it is final.
    @rule(round_=rounds, luck=st.integers(0, 7))
    def withdraw(self, round_: str, luck: int) -> None:
        if luck == 3:
            self.run(self.lab.store.withdraw_queries(self.project, round_))
            self.model.withdraw(round_)
            self.done["withdrawals"] += 1

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        model, store = self.model, self.lab.store
        listed = {one.id: one for one in self.run(store.list_queries(self.project, ALL)).items}
        labels = self.run(store.list_labels(self.project, ALL)).items
        told = self.run(store.progress(self.project))
        consensus = self.run(store.list_consensus(self.project, ALL, decided_only=True)).items

        assert {one.sequence for one in labels if not one.retracted} == set(model.labels)
        for query in model.queries:
            found = listed[query]
            assert found.votes == len(model.votes(query))
            assert found.skips == sum(skipped == query for skipped, _ in model.skips)
            assert (found.state is QueryState.WITHDRAWN) == model.is_withdrawn(query)
        decided = {
            query: last_answer(model, query) for query in model.queries if model.is_decided(query)
        }
        assert {one.query.id: one.consensus.answer for one in consensus} == decided
        assert told.decided == len(decided)
        assert told.leased == sum(end > model.now for end in model.leases.values())
        assert told.labels == sum(not one.is_last_word for one in model.labels.values())
        assert told.last_sequence == model.sequence


def last_answer(model: Model, query: int) -> Any:
    """What a decided query is decided as."""
    if words := model.last_words(query):
        return ANSWERS[words[-1]]
    votes = Counter(model.votes(query))
    return UNSURE if votes[True] == votes[False] else ANSWERS[votes[True] > votes[False]]


@long_running
def test_any_use_follows_the_rules(lab: Lab) -> None:
    done: Counter[str] = Counter()
    machine = type("_Use", (Use,), {"lab": lab, "numbers": count(), "done": done})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )

    print(dict(done))
    assert min(done[each] for each in ("leases", "submissions", "skips", "revisions")) > 0
