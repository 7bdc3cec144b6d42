"""Names of resources: `vnc` and `projects/vnc` mean the same project."""

from __future__ import annotations


def project_name(project: str) -> str:
    """Return `projects/{project}`."""
    return project if project.startswith("projects/") else f"projects/{project}"


def child_name(project: str, collection: str, child: str) -> str:
    """Return `projects/{project}/{collection}/{child}`; a full name stays as it is."""
    if child.startswith("projects/"):
        return child
    return f"{project_name(project)}/{collection}/{child}"


def last_part(name: str) -> str:
    """Return what stands after the last `/`."""
    return name.rpartition("/")[2]
