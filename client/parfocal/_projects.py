"""Projects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from google.protobuf.field_mask_pb2 import FieldMask

from parfocal._choices import chosen
from parfocal._connection import Connection
from parfocal._names import last_part, project_name
from parfocal._paging import PAGE_SIZE, every_item
from parfocal.labels.v1 import labels_service_pb2 as messages
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal.labels.v1.project_pb2 import (
    CONSENSUS_RULE_DAWID_SKENE,
    CONSENSUS_RULE_FIRST_VOTE,
    CONSENSUS_RULE_MAJORITY,
    CONSENSUS_RULE_N_OF_M,
    CONSENSUS_RULE_UNSPECIFIED,
    TASK_KIND_CLASSIFY,
    TASK_KIND_VERIFY,
    TIE_RULE_ADJUDICATE,
    TIE_RULE_EARLIEST,
    TIE_RULE_UNSURE,
    ConsensusRule,
    Project,
    TieRule,
)

Consensus = Literal["first-vote", "majority", "n-of-m", "dawid-skene"]
"""How votes become a consensus."""

Ties = Literal["unsure", "earliest", "adjudicate"]
"""What becomes of a query whose votes agree on no answer."""

_TASKS = {"verify": TASK_KIND_VERIFY, "classify": TASK_KIND_CLASSIFY}
_RULES: dict[Consensus | None, ConsensusRule.ValueType] = {
    None: CONSENSUS_RULE_UNSPECIFIED,
    "first-vote": CONSENSUS_RULE_FIRST_VOTE,
    "majority": CONSENSUS_RULE_MAJORITY,
    "n-of-m": CONSENSUS_RULE_N_OF_M,
    "dawid-skene": CONSENSUS_RULE_DAWID_SKENE,
}
_TIES: dict[Ties, TieRule.ValueType] = {
    "unsure": TIE_RULE_UNSURE,
    "earliest": TIE_RULE_EARLIEST,
    "adjudicate": TIE_RULE_ADJUDICATE,
}


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
        consensus: Consensus | None = None,
        votes_to_agree: int = 0,
        ties: Ties = "unsure",
        gold_share: float = 0.0,
        repeat_share: float = 0.0,
        blind: bool = False,
        display_name: str = "",
    ) -> Project:
        """Create a project; the same one again is returned as it is.

        Args:
            project: Its name: 1 to 63 of a-z, 0-9, `.`, `_`, `-`.
            task: What people are asked: is the proposed mask right, or which class it is.
            classes: The classes of a `classify` project.
            votes_needed: Votes that a query needs.
            consensus: How votes become a consensus; the majority of several if not given.
            votes_to_agree: Equal votes that decide at once, under `n-of-m`.
            ties: What becomes of a query whose votes agree on no answer.
            gold_share: Share of hidden queries with a known answer, 0 to 0.5.
            repeat_share: Share of hidden repeats of one's own queries, 0 to 0.5.
            blind: Whether annotators see neither hints nor what others answered.
            display_name: What people call it.

        Raises:
            InvalidRequestError: If a word is none of those above (`ERROR_REASON_INVALID_FIELD`).
            ConflictError: If a project of that name has other rules.

        Example:
            >>> client.projects.create("vnc", votes_needed=3)  # doctest: +SKIP
        """
        request = messages.CreateProjectRequest(
            project_id=last_part(project),
            project=Project(
                display_name=display_name,
                task_kind=chosen("task", task, _TASKS),
                classes=classes,
                votes_needed=votes_needed,
                consensus_rule=chosen("consensus", consensus, _RULES),
                votes_to_agree=votes_to_agree,
                tie_rule=chosen("ties", ties, _TIES),
                gold_share=gold_share,
                repeat_share=repeat_share,
                blind=blind,
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
