"""What a reader may see: gold stays hidden from annotators, and a blind project hides hints."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parfocal_labels.agreement import Agreement
from parfocal_labels.records import (
    Label,
    LabelEvent,
    Project,
    Purpose,
    Query,
    QueryState,
    Role,
)
from parfocal_runtime.errors import PermissionDenied


@dataclass(frozen=True)
class Reader:
    """Somebody who reads what a project keeps.

    Attributes:
        name: Who.
        sees_all: Whether they are a curator of the project, from whom nothing is hidden.
    """

    name: str
    sees_all: bool = True

    def require_open(self, project: Project) -> None:
        """Return if they may see what others answered.

        Raises:
            PermissionDenied: If the project is blind (`ERROR_REASON_PROJECT_BLIND`).
        """
        if project.rules.blind and not self.sees_all:
            raise PermissionDenied(
                "ERROR_REASON_PROJECT_BLIND",
                f"projects/{project.name} is blind: only curators see what others answered",
                project=project.name,
            )

    def labels_of(self, project: Project) -> str:
        """Return whose labels they may see; empty is everybody's."""
        return self.name if project.rules.blind and not self.sees_all else ""

    def query(self, query: Query, project: Project) -> Query:
        """Return a query as they may see it."""
        if self.sees_all:
            return query
        if query.spec.role is Role.GOLD:
            query = query._replace(spec=query.spec._replace(role=Role.STRATEGY, gold=None))
        if query.state is QueryState.GOLD:
            query = query._replace(state=QueryState.OPEN)
        return _without_hints(query) if project.rules.blind else query

    def label(self, label: Label, project: Project) -> Label:
        """Return a label as they may see it."""
        if self.sees_all:
            return label
        hidden = label.purpose in (Purpose.GOLD, Purpose.REPEAT)
        purpose = Purpose.VOTE if hidden else label.purpose
        return label._replace(query=self.query(label.query, project), purpose=purpose)

    def event(self, event: LabelEvent, project: Project) -> LabelEvent:
        """Return an event as they may see it."""
        return replace(event, label=self.label(event.label, project))

    def agreement(self, agreement: Agreement) -> Agreement:
        """Return figures as they may see them; who is how good is for curators to know."""
        return agreement if self.sees_all else replace(agreement, annotators=())


SEES_ALL = Reader("")
"""Who has nothing hidden from them."""


def _without_hints(query: Query) -> Query:
    spec = query.spec._replace(strategy="", reason="", model=None)
    return query._replace(spec=spec, votes=0, skips=0)
