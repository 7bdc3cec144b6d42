"""The votes on many queries as arrays of numbers."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from parfocal_labels.answers import Answer

_Value = TypeVar("_Value", bound=Hashable)


@dataclass(frozen=True, eq=False)
class BallotTable:
    """Votes on queries: three numbers for each vote.

    Attributes:
        queries: The query, an index into `query_ids`; shape (votes,), int64.
        annotators: The annotator, an index into `names`; shape (votes,), int64.
        answers: The answer, an index into `choices`; shape (votes,), int64.
        query_ids: The queries that have votes, each once, in order; shape (queries,), int64.
        names: The annotators who gave them, each once, in order.
        choices: The answers that were given, each once, verdicts before classes.
    """

    queries: NDArray[np.int64]
    annotators: NDArray[np.int64]
    answers: NDArray[np.int64]
    query_ids: NDArray[np.int64]
    names: tuple[str, ...]
    choices: tuple[Answer, ...]

    @classmethod
    def of(cls, votes: Iterable[tuple[int, str, Answer]]) -> BallotTable:
        """Return the table of `votes`: query, annotator and answer of each."""
        box = BallotBox()
        for vote in votes:
            box.add(*vote)
        return box.counted()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Votes on each query; shape (queries,)."""
        return np.bincount(self.queries, minlength=len(self.query_ids))

    def only(self, wanted: NDArray[np.bool_]) -> BallotTable:
        """Return the table of the votes that `wanted`, of shape (votes,), marks."""
        kept, queries = np.unique(self.queries[wanted], return_inverse=True)
        annotators, names = _remaining(self.annotators[wanted], self.names)
        answers, choices = _remaining(self.answers[wanted], self.choices)
        return BallotTable(queries, annotators, answers, self.query_ids[kept], names, choices)

    def contested(self) -> BallotTable:
        """Return the table of the votes on queries with two votes or more."""
        return self.only(self.sizes[self.queries] >= 2)


class BallotBox:
    """Takes votes one by one, and keeps three numbers of each."""

    def __init__(self) -> None:
        self._queries, self._annotators, self._answers = array("q"), array("q"), array("q")
        self._names: dict[str, int] = {}
        self._choices: dict[Answer, int] = {}

    def add(self, query: int, annotator: str, answer: Answer) -> None:
        """Take in a vote."""
        self._queries.append(query)
        self._annotators.append(self._names.setdefault(annotator, len(self._names)))
        self._answers.append(self._choices.setdefault(answer, len(self._choices)))

    def counted(self) -> BallotTable:
        """Return the table of all votes so far."""
        query_ids, queries = np.unique(_numbers(self._queries), return_inverse=True)
        annotators, names = _in_order(_numbers(self._annotators), self._names, key=str)
        answers, choices = _in_order(_numbers(self._answers), self._choices, key=_order)
        return BallotTable(queries, annotators, answers, query_ids, names, choices)


def _numbers(given: array[int]) -> NDArray[np.int64]:
    return np.array(given, dtype=np.int64)


def _in_order(
    numbers: NDArray[np.int64], values: dict[_Value, int], *, key: Callable[[_Value], Any]
) -> tuple[NDArray[np.int64], tuple[_Value, ...]]:
    """Return values in the order of `key`, and numbers that count in it."""
    ordered = sorted(values, key=key)
    place = np.empty(len(values), dtype=np.int64)
    place[[values[value] for value in ordered]] = np.arange(len(values))
    return place[numbers], tuple(ordered)


def _remaining(
    numbers: NDArray[np.int64], values: tuple[_Value, ...]
) -> tuple[NDArray[np.int64], tuple[_Value, ...]]:
    kept, renumbered = np.unique(numbers, return_inverse=True)
    return renumbered.astype(np.int64), tuple(values[number] for number in kept)


def _order(answer: Answer) -> tuple[bool, str, str]:
    verdict = answer.verdict.value if answer.verdict else ""
    return (answer.class_name is not None, verdict, answer.class_name or "")
