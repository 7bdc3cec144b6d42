"""The store against a model of its rules in plain dictionaries, under random use."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from parfocal_labels.answers import FALSE, TRUE
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import QuerySpec, QueryState, Vote
from parfocal_runtime.errors import WrongState

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

VOTES = 2
TTL = timedelta(seconds=30)
PEOPLE = ("ada", "bob", "cyd")
STEPS = 120
ALL = PageRequest(1000)


class Use:
    """What people do with one project, on the store and in the model at the same time."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.random = lab.create(votes=VOTES), Random(seed)
        self.done: Counter[str] = Counter()
        self.queries: dict[int, QuerySpec] = {}
        self.leases: dict[tuple[int, str], datetime] = {}
        self.votes: dict[tuple[int, str], int] = {}
        self.withdrawn: set[int] = set()
        self.last_sequence = 0

    @property
    def now(self) -> datetime:
        return self.lab.clock.now

    def person(self) -> str:
        return self.random.choice(PEOPLE)

    def cast(self, query: int) -> int:
        return sum(voted == query for voted, _ in self.votes)

    def held(self, person: str) -> list[int]:
        return [q for (q, who), end in self.leases.items() if who == person and end > self.now]

    def available(self, person: str) -> list[int]:
        live = Counter(query for (query, _), end in self.leases.items() if end > self.now)
        unavailable = {query for query, who in self.votes if who == person} | self.withdrawn
        order = {q: (-spec.priority, spec.rank, q) for q, spec in self.queries.items()}
        return [
            query
            for query in sorted(self.queries, key=order.__getitem__)
            if query not in {*unavailable, *self.held(person)}
            and self.cast(query) + live[query] < VOTES
        ]

    def add(self) -> None:
        number = self.random.randrange(12)
        spec = QuerySpec(f"r{number % 2}", "set", number, rank=number % 3, priority=number % 2)
        self.lab.run(self.lab.store.add_queries("vnc", [spec], caller="loop"))
        listed = self.lab.run(self.lab.store.list_queries("vnc", ALL)).items
        self.queries = {query.id: query.spec for query in listed}

    def lease(self) -> None:
        person, count = self.person(), self.random.randint(1, 4)
        expected = self.available(person)[:count]

        assert self.lab.lease(person, count, seconds=TTL.total_seconds()) == expected

        self.leases.update({(query, person): self.now + TTL for query in expected})

    def renew(self) -> None:
        person = self.person()
        mine = self.held(person)

        renewed, until = self.lab.run(
            self.lab.store.renew_leases("vnc", person, list(self.queries), ttl=TTL)
        )

        assert renewed == set(mine)
        self.leases.update({(query, person): until for query in mine})

    def release(self) -> None:
        person = self.person()
        self.lab.run(self.lab.store.release_queries("vnc", person, list(self.queries)))
        self.leases = {key: end for key, end in self.leases.items() if key[1] != person}

    def submit_what_is_held(self) -> None:
        person = self.person()
        self.submit(person, self.held(person))

    def submit_anything(self) -> None:
        wanted = self.random.sample(sorted(self.queries), min(len(self.queries), 2))
        self.submit(self.person(), wanted)

    def submit(self, person: str, wanted: list[int]) -> None:
        if not wanted:
            return
        votes = [Vote(query, self.random.choice((TRUE, FALSE))) for query in wanted]
        request_id = f"call-{self.done.total()}"
        call = self.lab.store.submit_labels("vnc", person, votes, request_id=request_id)
        if not set(wanted) <= set(self.held(person)):
            with pytest.raises(WrongState):
                self.lab.run(call)
            return
        for label in self.lab.run(call):
            self.last_sequence += 1
            assert label.sequence == self.last_sequence
            self.votes[label.query.id, person] = label.sequence
            del self.leases[label.query.id, person]

    def retract(self) -> None:
        if self.votes:
            query, person = self.random.choice(sorted(self.votes))
            sequence = self.votes.pop((query, person))
            self.lab.run(self.lab.store.retract_label("vnc", sequence, caller=person))
            self.last_sequence += 1

    def wait(self) -> None:
        self.lab.clock.advance(self.random.choice((1, 5, 30)))

    def withdraw(self) -> None:
        # Seldom, because it is final.
        if self.random.random() < 0.1:
            self.lab.run(self.lab.store.withdraw_queries("vnc", "r0"))
            of_round = [query for query, spec in self.queries.items() if spec.round == "r0"]
            self.withdrawn |= {query for query in of_round if self.cast(query) < VOTES}
            gone = self.withdrawn
            self.leases = {key: end for key, end in self.leases.items() if key[0] not in gone}

    def check(self) -> None:
        listed = self.lab.run(self.lab.store.list_queries("vnc", ALL)).items
        progress = self.lab.run(self.lab.store.progress("vnc"))

        assert {query.id: query.votes for query in listed} == {
            query: self.cast(query) for query in self.queries
        }
        assert {query.id for query in listed if query.state is QueryState.DECIDED} == {
            query
            for query in self.queries
            if self.cast(query) == VOTES and query not in self.withdrawn
        }
        assert progress.leased == sum(end > self.now for end in self.leases.values())
        assert (progress.labels, progress.last_sequence) == (len(self.votes), self.last_sequence)


@pytest.mark.parametrize("seed", range(2))
def test_random_use_follows_the_rules(lab: Lab, seed: int) -> None:
    use = Use(lab, seed)
    actions = [
        use.add,
        use.lease,
        use.lease,
        use.renew,
        use.release,
        use.submit_what_is_held,
        use.submit_what_is_held,
        use.submit_anything,
        use.retract,
        use.wait,
        use.withdraw,
    ]
    for _ in range(STEPS):
        action = use.random.choice(actions)
        use.done[action.__name__] += 1
        action()
        use.check()

    assert set(use.done) == {action.__name__ for action in actions}
    assert use.last_sequence > 10, "too little happened to be a test"
