"""Projects: statements on their table."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import Enum

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.paging import Page, PageRequest, page_of
from parfocal_labels.records import Project, ProjectChange, Rules
from parfocal_labels.rows import project_from_row, rules_to_row
from parfocal_labels.schema import CHANNEL, projects
from parfocal_runtime.database import insert_new
from parfocal_runtime.errors import AlreadyExists, Conflict, NotFound


class Hold(Enum):
    """What a transaction needs of a project's row until it ends.

    On SQLite there is one writer, and every transaction that writes has the whole database.
    On PostgreSQL the row is locked first of all, so that no two transactions wait for each
    other: `RULES` keeps the rules as they are and lets everybody else go on, `NUMBERS` lets
    one transaction after the other take sequence numbers, `ALL` excludes all of these.
    """

    NOTHING = "nothing"
    RULES = "rules"
    NUMBERS = "numbers"
    ALL = "all"


async def find_project(
    connection: AsyncConnection, name: str, *, hold: Hold = Hold.NOTHING
) -> Project:
    """Return the project called `name`.

    Raises:
        NotFound: If there is none (`ERROR_REASON_PROJECT_NOT_FOUND`).
    """
    statement = select(projects).where(projects.c.name == name)
    if hold is not Hold.NOTHING:
        statement = statement.with_for_update(
            read=hold is Hold.RULES, key_share=hold is not Hold.ALL
        )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(
            "ERROR_REASON_PROJECT_NOT_FOUND", f"there is no project {name!r}", project=name
        )
    return project_from_row(row)


async def create_project(
    connection: AsyncConnection, name: str, *, display_name: str, rules: Rules, now: datetime
) -> Project:
    """Create a project, or return the one that has this name and these rules.

    Raises:
        AlreadyExists: If the name is taken by other rules (`ERROR_REASON_PROJECT_EXISTS`).
    """
    values = {
        "name": name,
        "display_name": display_name,
        "revision": 1,
        "last_sequence": 0,
        "create_time": now,
        "update_time": now,
        **rules_to_row(rules),
    }
    await connection.execute(insert_new(connection, projects).values(values))
    project = await find_project(connection, name)
    if project.rules != rules:
        raise AlreadyExists(
            "ERROR_REASON_PROJECT_EXISTS",
            f"a project {name!r} with other rules exists",
            project=name,
        )
    return project


async def list_projects(
    connection: AsyncConnection, page: PageRequest, *, only: Collection[str] | None = None
) -> Page[Project]:
    """Return projects by name; where `only` is given, those of these names."""
    statement = select(projects).order_by(projects.c.name).limit(page.size + 1)
    if only is not None:
        statement = statement.where(projects.c.name.in_(sorted(only)))
    if page.after:
        statement = statement.where(projects.c.name > page.after[0])
    rows = await connection.execute(statement)
    return page_of(
        [project_from_row(row) for row in rows], page, key=lambda project: (project.name,)
    )


async def change_project(
    connection: AsyncConnection,
    project: Project,
    change: ProjectChange,
    *,
    revision: int | None,
    now: datetime,
) -> Project:
    """Give `project`, held `ALL`, new values and return it.

    Args:
        connection: Open transaction.
        project: As it is now.
        change: The new values.
        revision: The revision that the caller knows; None overwrites any.
        now: The present time.

    Raises:
        Conflict: If the project is at another revision (`ERROR_REASON_ETAG_MISMATCH`).
        InvalidInput: If it cannot change so (`ERROR_REASON_INVALID_FIELD`).
    """
    if revision is not None and revision != project.revision:
        raise Conflict(
            "ERROR_REASON_ETAG_MISMATCH",
            f"the project {project.name!r} changed in between; read it again",
            name=f"projects/{project.name}",
        )
    rules = change.applied_to(project.rules)
    name = project.display_name if change.display_name is None else change.display_name
    if (name, rules) == (project.display_name, project.rules):
        return project
    statement = (
        update(projects)
        .where(projects.c.id == project.id)
        .values(
            display_name=name,
            revision=project.revision + 1,
            update_time=now,
            **rules_to_row(rules),
        )
        .returning(*projects.c)
    )
    return project_from_row((await connection.execute(statement)).one())


async def take_sequences(connection: AsyncConnection, project: Project, count: int) -> range:
    """Return the next `count` sequence numbers of `project`, held `NUMBERS`."""
    last = project.last_sequence + count
    await connection.execute(
        update(projects).where(projects.c.id == project.id).values(last_sequence=last)
    )
    if connection.dialect.name == "postgresql":
        # Whoever listens hears of it when the transaction commits.
        await connection.execute(select(func.pg_notify(CHANNEL, str(project.id))))
    return range(project.last_sequence + 1, last + 1)
