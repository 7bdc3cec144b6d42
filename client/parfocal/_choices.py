"""Words that stand for the values of an enum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from parfocal._errors import InvalidRequestError

Word = TypeVar("Word", bound=str | None)
Value = TypeVar("Value")


def chosen(field: str, word: Word, known: Mapping[Word, Value]) -> Value:
    """Return what a word stands for.

    Raises:
        InvalidRequestError: If it is none of those that are known (`ERROR_REASON_INVALID_FIELD`).
    """
    if word not in known:
        raise InvalidRequestError(
            f"{field} must be one of {', '.join(filter(None, known))}, got {word!r}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": field, "value": str(word)},
        )
    return known[word]
