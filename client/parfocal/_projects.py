"""Projects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from google.protobuf.field_mask_pb2 import FieldMask

from parfocal._connection import Connection
from parfocal._names import last_part, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal.labels.v1 import labels_service_pb2 as messages
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal.labels.v1.project_pb2 import (
    CONSENSUS_RULE_FIRST_VOTE,
    CONSENSUS_RULE_MAJORITY,
    TASK_KIND_CLASSIFY,
    TASK_KIND_VERIFY,
    Project,
)

_TASKS = {"verify": TASK_KIND_VERIFY, "classify": TASK_KIND_CLASSIFY}


class Projects:
    """Projects: labelling efforts with their classes and rules."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = LabelsServiceStub(connection.channel)

    def create(
        self,
        project: str,
        *,
        task: Literal["verify", "classify"] = "verify",
        classes: Iterable[str] = (),
        votes_needed: int = 1,
        display_name: str = "",
    ) -> Project:
        """Create a project; the same one again is returned as it is.

        Args:
            project: Its name: 1 to 63 of a-z, 0-9, `.`, `_`, `-`.
            task: What people are asked: is the proposed mask right, or which class it is.
            classes: The classes of a `classify` project.
            votes_needed: Votes that decide a query; the majority of several.
            display_name: What people call it.

        Raises:
            ConflictError: If a project of that name has other rules.

        Example:
            >>> client.projects.create("vnc", votes_needed=3)  # doctest: +SKIP
        """
        rule = CONSENSUS_RULE_FIRST_VOTE if votes_needed == 1 else CONSENSUS_RULE_MAJORITY
        request = messages.CreateProjectRequest(
            project_id=last_part(project),
            project=Project(
                display_name=display_name,
                task_kind=_TASKS[task],
                classes=classes,
                votes_needed=votes_needed,
                consensus_rule=rule,
            ),
        )
        return self._connection.call(self._stub.CreateProject, request)

    def get(self, project: str) -> Project:
        """Return a project.

        Raises:
            NotFoundError: If there is none of that name.

        Example:
            >>> client.projects.get("vnc").votes_needed  # doctest: +SKIP
            3
        """
        request = messages.GetProjectRequest(name=project_name(project))
        return self._connection.call(self._stub.GetProject, request)

    def list(self) -> Iterator[Project]:
        """Yield all projects by name.

        Example:
            >>> [project.name for project in client.projects.list()]  # doctest: +SKIP
            ['projects/vnc']
        """

        def fetch(token: str) -> tuple[Iterable[Project], str]:
            request = messages.ListProjectsRequest(page_size=PAGE_SIZE, page_token=token)
            page = self._connection.call(self._stub.ListProjects, request)
            return page.projects, page.next_page_token

        return every_item(fetch)

    def update(self, project: Project, *fields: str) -> Project:
        """Change a project, guarded by its `etag`.

        Args:
            project: The project with its new values.
            *fields: The fields to change; none means all that may change.

        Raises:
            ConflictError: If somebody else changed it in between; get it again.

        Example:
            >>> project = client.projects.get("vnc")  # doctest: +SKIP
            >>> project.votes_needed = 5  # doctest: +SKIP
            >>> client.projects.update(project, "votes_needed")  # doctest: +SKIP
        """
        request = messages.UpdateProjectRequest(
            project=project, update_mask=FieldMask(paths=fields)
        )
        return self._connection.call(self._stub.UpdateProject, request)
