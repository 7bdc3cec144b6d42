"""What people are asked, and what they can answer."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from parfocal_runtime.errors import InvalidInput


class TaskKind(Enum):
    """What is asked of people: to judge a proposal, or to name its class."""

    VERIFY = "verify"
    CLASSIFY = "classify"


class Verdict(Enum):
    """A judgement on a proposal; `UNSURE` is an answer too, and counts as a vote."""

    TRUE = "true"
    FALSE = "false"
    UNSURE = "unsure"


class Answer(NamedTuple):
    """One answer: a verdict, or the name of a class of the project; never both.

    In a project that classifies, `UNSURE` is the only verdict with a meaning.
    """

    verdict: Verdict | None = None
    class_name: str | None = None


TRUE, FALSE, UNSURE = (Answer(verdict) for verdict in Verdict)


def checked_answer(
    answer: Answer,
    *,
    task_kind: TaskKind,
    classes: tuple[str, ...],
    field: str,
    class_field: str = "",
) -> Answer:
    """Return `answer` if the project asks for answers of this kind.

    Args:
        answer: The answer.
        task_kind: What the project asks.
        classes: Its classes.
        field: What the request calls the answer.
        class_field: What it calls the class; empty is `class_name` of `field`.

    Raises:
        InvalidInput: If it does not (`ERROR_REASON_INVALID_FIELD`), or if the class is none
            of the project's (`ERROR_REASON_UNKNOWN_CLASS`); the metadata names `field`.
    """
    if task_kind is TaskKind.VERIFY:
        if answer.verdict is None or answer.class_name is not None:
            raise _misfit(answer, field=field, wanted="a verdict")
    elif answer.class_name is None:
        if answer.verdict is not Verdict.UNSURE:
            raise _misfit(answer, field=field, wanted="a class or the verdict unsure")
    elif answer.verdict is not None:
        raise _misfit(answer, field=field, wanted="a class or the verdict unsure, not both")
    elif answer.class_name not in classes:
        named = class_field or f"{field}.class_name"
        # `class` is no name for an argument.
        metadata: dict[str, Any] = {"field": named, "class": answer.class_name}
        raise InvalidInput(
            "ERROR_REASON_UNKNOWN_CLASS",
            f"{named} must be one of {list(classes)}, got {answer.class_name!r}",
            **metadata,
        )
    return answer


def _misfit(answer: Answer, *, field: str, wanted: str) -> InvalidInput:
    given = [answer.verdict.value] if answer.verdict else []
    given += [answer.class_name] if answer.class_name is not None else []
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"{field} must be {wanted}, got {' and '.join(map(repr, given)) or 'nothing'}",
        field=field,
        value=" ".join(given),
    )
