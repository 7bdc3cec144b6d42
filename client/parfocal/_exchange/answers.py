"""What the words and numbers of a file mean in a project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parfocal._errors import InvalidRequestError
from parfocal._exchange.matching import Answer
from parfocal.labels.v1.project_pb2 import TASK_KIND_CLASSIFY, Project

EVERY = "*"
"""Stands for every word that is not named."""

_VERDICTS: dict[str, Answer] = {"true": True, "false": False, "unsure": None}


@dataclass(frozen=True)
class Meaning:
    """How the objects of a file answer.

    In a project that verifies an object says True, unless its word is given another verdict. In
    one that classifies it says the class of its word's name, unless it is given another.

    Attributes:
        classes: The project's classes; empty where it verifies.
        given: By word, or `*` for all others: `true`, `false`, `unsure` or a class.
    """

    classes: tuple[str, ...]
    given: Mapping[str, str]

    def of(self, word: str) -> Answer:
        """Return what an object says that the file calls by `word`, a category or a number.

        Raises:
            InvalidRequestError: If it says nothing in the project (`ERROR_REASON_UNKNOWN_CLASS`).
        """
        return self._given(word, usually=word if self.classes else "true")

    def written(self, word: str, *, is_verdict: bool = False) -> Answer:
        """Return what an answer means that the file gives as `word`; raises as `of` does.

        Args:
            word: The answer.
            is_verdict: Whether it is a verdict, and not a class of that name.
        """
        if is_verdict and word == "unsure" and not {word, EVERY} & self.given.keys():
            return None
        # Spreadsheets write True and TRUE.
        lower = word.lower()
        return self._given(word, usually=lower if lower in _VERDICTS and not self.classes else word)

    def _given(self, word: str, *, usually: str) -> Answer:
        return self.plain(self.given.get(word, self.given.get(EVERY, usually)), word=word)

    def plain(self, meant: str, *, word: str = "") -> Answer:
        """Return the answer that is written as `meant`: a verdict, or a class of the project."""
        if meant in self.classes:
            return meant
        if meant == "unsure" or (not self.classes and meant in _VERDICTS):
            return _VERDICTS[meant]
        known = [*self.classes, "unsure"] if self.classes else list(_VERDICTS)
        which = f"{word!r} means {meant!r}, which" if word and word != meant else f"{meant!r}"
        raise InvalidRequestError(
            f"{which} is none of the project's answers {known}; say which one it means",
            reason="ERROR_REASON_UNKNOWN_CLASS",
            metadata={"field": "class", "class": meant},
        )


def meaning(project: Project, pairs: Iterable[str] = ()) -> Meaning:
    """Return what words mean in a project.

    Args:
        project: The project.
        pairs: `WORD=ANSWER` each; the word `*` stands for all others.

    Raises:
        InvalidRequestError: If one is no pair (`ERROR_REASON_INVALID_FIELD`), or its answer is
            none of the project's (`ERROR_REASON_UNKNOWN_CLASS`).
    """
    given: dict[str, str] = {}
    for pair in pairs:
        word, separator, answer = pair.rpartition("=")
        if not (word and separator and answer):
            raise InvalidRequestError(
                f"expected WORD=ANSWER such as 3=glia or '*=true', got {pair!r}",
                reason="ERROR_REASON_INVALID_FIELD",
                metadata={"field": "class", "value": pair},
            )
        given[word] = answer
    classes = tuple(project.classes) if project.task_kind == TASK_KIND_CLASSIFY else ()
    found = Meaning(classes, given)
    for answer in given.values():
        found.plain(answer)
    return found
