"""Annotators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from google.protobuf.field_mask_pb2 import FieldMask

from parfocal._connection import Connection
from parfocal._names import child_name, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal.labels.v1 import labels_service_pb2 as messages
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal.labels.v1.project_pb2 import Annotator


class Annotators:
    """Annotators: what they may judge, and how well they do. For curators."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = LabelsServiceStub(connection.channel)

    def list(self, project: str) -> Iterator[Annotator]:
        """Yield the annotators of a project by name, with their counts.

        Example:
            >>> for each in client.annotators.list("vnc"):  # doctest: +SKIP
            ...     print(each.name, each.labels, each.gold_right, each.gold_answered)
        """

        def fetch(token: str) -> tuple[Iterable[Annotator], str]:
            request = messages.ListAnnotatorsRequest(
                parent=project_name(project), page_size=PAGE_SIZE, page_token=token
            )
            page = self._connection.call(self._stub.ListAnnotators, request)
            return page.annotators, page.next_page_token

        return every_item(fetch)

    def update(
        self,
        project: str,
        annotator: str,
        *,
        skills: Iterable[str] | None = None,
        suspended: bool | None = None,
    ) -> Annotator:
        """Say what somebody may judge, from the next lease on.

        Args:
            project: Name of the project.
            annotator: Who: the name of the caller who labels. New ones are added.
            skills: All that they have; None keeps what is there.
            suspended: Whether they are handed queries at all; None keeps what is there.

        Example:
            >>> client.annotators.update("vnc", "ada", skills=["glia"])  # doctest: +SKIP
        """
        request = messages.UpdateAnnotatorRequest(
            annotator=Annotator(
                name=child_name(project, "annotators", quote(annotator, safe="@:")),
                skills=skills or (),
                suspended=bool(suspended),
            ),
            update_mask=FieldMask(paths=_given(skills=skills, suspended=suspended)),
        )
        return self._connection.call(self._stub.UpdateAnnotator, request)


def _given(**values: object) -> list[str]:
    """Return the names of the values that are given; one at least, as none would mean all."""
    given = [name for name, value in values.items() if value is not None]
    if not given:
        raise ValueError(f"give one of {', '.join(values)}")
    return given
