"""The votes on many queries as arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
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
        query_ids: The queries that have votes, each once, in order.
        names: The annotators who gave them, each once, in order.
        choices: The answers that were given, each once, verdicts before classes.
    """

    queries: NDArray[np.int64]
    annotators: NDArray[np.int64]
    answers: NDArray[np.int64]
    query_ids: tuple[int, ...]
    names: tuple[str, ...]
    choices: tuple[Answer, ...]

    @classmethod
    def of(cls, votes: Iterable[tuple[int, str, Answer]]) -> BallotTable:
        """Return the table of `votes`: query, annotator and answer of each."""
        ids, names, answers = list(zip(*votes, strict=True)) or ((), (), ())
        queries, query_ids = _numbered(ids, key=int)
        annotators, different_names = _numbered(names, key=str)
        choices, different_answers = _numbered(answers, key=_order)
        return cls(queries, annotators, choices, query_ids, different_names, different_answers)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Votes on each query; shape (queries,)."""
        return np.bincount(self.queries, minlength=len(self.query_ids))

    def only(self, wanted: NDArray[np.bool_]) -> BallotTable:
        """Return the table of the votes that `wanted`, of shape (votes,), marks."""
        queries, query_ids = _remaining(self.queries[wanted], self.query_ids)
        annotators, names = _remaining(self.annotators[wanted], self.names)
        answers, choices = _remaining(self.answers[wanted], self.choices)
        return BallotTable(queries, annotators, answers, query_ids, names, choices)

    def contested(self) -> BallotTable:
        """Return the table of the votes on queries with two votes or more."""
        return self.only(self.sizes[self.queries] >= 2)


def _numbered(
    values: Sequence[_Value], *, key: Callable[[_Value], Any]
) -> tuple[NDArray[np.int64], tuple[_Value, ...]]:
    different = tuple(sorted(set(values), key=key))
    numbers = {value: number for number, value in enumerate(different)}
    return np.array([numbers[value] for value in values], dtype=np.int64), different


def _remaining(
    numbers: NDArray[np.int64], values: tuple[_Value, ...]
) -> tuple[NDArray[np.int64], tuple[_Value, ...]]:
    kept, renumbered = np.unique(numbers, return_inverse=True)
    return renumbered.astype(np.int64), tuple(values[number] for number in kept)


def _order(answer: Answer) -> tuple[bool, str, str]:
    verdict = answer.verdict.value if answer.verdict else ""
    return (answer.class_name is not None, verdict, answer.class_name or "")
