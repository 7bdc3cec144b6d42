"""The rules of queue, leases and labels, in plain dictionaries.

`None` is the answer to what is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A query."""

    round: str
    priority: int
    rank: int
    skill: str


@dataclass(frozen=True)
class Given:
    """A label that stands."""

    query: int
    annotator: str
    answer: bool
    is_last_word: bool = False


@dataclass
class Model:
    """One project."""

    votes_needed: int
    now: int = 0
    sequence: int = 0
    queries: dict[int, Asked] = field(default_factory=dict)
    leases: dict[tuple[int, str], int] = field(default_factory=dict)
    labels: dict[int, Given] = field(default_factory=dict)
    skips: set[tuple[int, str]] = field(default_factory=set)
    skilled: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    calls: dict[tuple[str, str], tuple[object, Any]] = field(default_factory=dict)

    def votes(self, query: int) -> list[bool]:
        labels = self.labels.values()
        return [one.answer for one in labels if one.query == query and not one.is_last_word]

    def last_words(self, query: int) -> list[bool]:
        return [o.answer for o in self.labels.values() if o.query == query and o.is_last_word]

    def is_decided(self, query: int) -> bool:
        return len(self.votes(query)) >= self.votes_needed or bool(self.last_words(query))

    def is_withdrawn(self, query: int) -> bool:
        return self.queries[query].round in self.withdrawn and not self.is_decided(query)

    def is_over(self, query: int) -> bool:
        return self.is_decided(query) or self.is_withdrawn(query)

    def held(self, annotator: str) -> list[int]:
        return [q for (q, who), end in self.leases.items() if who == annotator and end > self.now]

    def due(self, annotator: str, round_: str) -> list[int]:
        """Queries that may be handed to somebody, next first."""
        holders = Counter(query for (query, _), end in self.leases.items() if end > self.now)
        done = {one.query for one in self.labels.values() if one.annotator == annotator}
        done |= {query for query, who in self.skips if who == annotator} | {*self.held(annotator)}
        open_ = [
            (-asked.priority, asked.rank, query)
            for query, asked in self.queries.items()
            if not self.is_over(query)
            and query not in done
            and round_ in ("", asked.round)
            and (not asked.skill or annotator in self.skilled)
            and len(self.votes(query)) + holders[query] < self.votes_needed
        ]
        return [query for *_, query in sorted(open_)]

    def lease(self, annotator: str, count: int, round_: str, seconds: int) -> list[int]:
        handed = self.due(annotator, round_)[:count]
        self.leases |= {(query, annotator): self.now + seconds for query in handed}
        return handed

    def renew(self, annotator: str, seconds: int) -> set[int]:
        held = self.held(annotator)
        self.leases |= {(query, annotator): self.now + seconds for query in held}
        return set(held)

    def release(self, annotator: str, queries: list[int]) -> None:
        for query in queries:
            self.leases.pop((query, annotator), None)

    def once(self, who: str, request_id: str, content: object, act: Callable[[], Any]) -> Any:
        """What a call leads to, also where it was made before."""
        if (who, request_id) not in self.calls:
            outcome = act()
            if outcome is None:
                return None
            self.calls[who, request_id] = (content, outcome)
        asked, outcome = self.calls[who, request_id]
        return outcome if asked == content else None

    def submit(self, annotator: str, answers: Mapping[int, bool]) -> list[int] | None:
        if not set(answers) <= set(self.held(annotator)):
            return None
        self.release(annotator, list(answers))
        return [self._note(Given(query, annotator, answer)) for query, answer in answers.items()]

    def skip(self, annotator: str, queries: list[int]) -> int | None:
        if not set(queries) <= set(self.held(annotator)):
            return None
        self.release(annotator, queries)
        self.skips |= {(query, annotator) for query in queries}
        return len(queries)

    def adjudicate(self, query: int, answer: bool) -> int | None:
        if self.is_withdrawn(query):
            return None
        return self._note(Given(query, "cur", answer, is_last_word=True))

    def revise(self, sequence: int, who: str, answer: bool) -> int | None:
        label = self.labels.get(sequence)
        if label is None or label.annotator != who:
            return None
        del self.labels[sequence]
        return self._note(Given(label.query, who, answer, label.is_last_word))

    def retract(self, sequence: int) -> None:
        if self.labels.pop(sequence, None):
            self.sequence += 1

    def withdraw(self, round_: str) -> None:
        self.withdrawn.add(round_)
        self._end_leases()

    def _note(self, label: Given) -> int:
        self.sequence += 1
        self.labels[self.sequence] = label
        self._end_leases()
        return self.sequence

    def _end_leases(self) -> None:
        self.leases = {key: end for key, end in self.leases.items() if not self.is_over(key[0])}
