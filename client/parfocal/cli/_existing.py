"""What a command names must be there, also where a list of it is rightly empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from parfocal._client import Client
from parfocal._errors import NotFoundError, ServerError
from parfocal._names import child_name, last_part

Item = TypeVar("Item")


def of_round(client: Client, project: str, round_id: str, found: Iterable[Item]) -> Iterator[Item]:
    """Yield what was found of a round; where that is nothing, see whether there is the round.

    Raises:
        NotFoundError: If there is none (`ERROR_REASON_WORK_NOT_FOUND`).
    """
    anything = False
    for item in found:
        anything = True
        yield item
    if not anything:
        require_round(client, project, round_id)


def require_round(client: Client, project: str, round_id: str) -> None:
    """Return if there is such a round, or none is named.

    Rounds of other tools are known by their queries, those of the loop also before they have any.

    Raises:
        NotFoundError: If there is none (`ERROR_REASON_WORK_NOT_FOUND`).
    """
    if not round_id:
        return
    if next(client.labels.queries(project, round=round_id), None) is not None:
        return
    name = child_name(project, "rounds", last_part(round_id))
    try:
        client.rounds.get(project, name)
    except ServerError as error:
        # A server of labels alone knows of no other rounds.
        if error.code != "UNIMPLEMENTED":
            raise
        raise NotFoundError(
            f"there is no {name}", reason="ERROR_REASON_WORK_NOT_FOUND", metadata={"name": name}
        ) from error


def of_project(client: Client, project: str, found: Iterable[Item]) -> Iterator[Item]:
    """Yield what was found of a project; where that is nothing, see whether there is the project.

    Raises:
        NotFoundError: If there is none (`ERROR_REASON_PROJECT_NOT_FOUND`).
    """
    anything = False
    for item in found:
        anything = True
        yield item
    if anything:
        return
    try:
        client.projects.get(project)
    except ServerError as error:
        # A server of rounds alone knows of no projects.
        if error.code != "UNIMPLEMENTED":
            raise
