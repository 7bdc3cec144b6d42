"""Which projects a request is about: where their names stand in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.message import Message

from parfocal_runtime.errors import DomainError
from parfocal_runtime.store.paths import path_from_uri

_PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NOWHERE = ("",)

Finder = Callable[[Any], tuple[str, ...]]
"""Takes a request and returns the projects that it is about, each once. An empty name stands for
what lies outside of every project, for what names none, and for a request that says nothing."""


def project_finder(
    *,
    names: Sequence[str] = (),
    ids: Sequence[str] = (),
    paths: Sequence[str] = (),
    roots: Sequence[str] = (),
) -> Finder:
    """Return what finds the projects of the requests of one method.

    Fields that are not set are passed over. A field of a message in a message is
    `project.name`; of a repeated one, every item counts.

    Args:
        names: Fields with resource names, `projects/{project}` or longer.
        ids: Fields with bare names of projects.
        paths: Fields with paths in the object store, or URIs inside of it.
        roots: URIs of the object store's root.
    """
    if len(names) == 1 and not ids and not paths and "." not in names[0]:
        return _finder_of_one(names[0])
    readers = [
        (tuple(field.split(".")), read)
        for fields, read in (
            (names, _project_of_name),
            (ids, _project),
            (paths, lambda path: _project_of_path(path, roots)),
        )
        for field in fields
    ]

    def find(request: Any) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for steps, read in readers:
            # Thousands of items may name the same few things.
            for text in set(_texts(request, steps)):
                if text:
                    found[read(text)] = None
        return tuple(found) or _NOWHERE

    return find


def _finder_of_one(field: str) -> Finder:
    get = attrgetter(field)
    return lambda request: (_project_of_name(get(request)),)


def _texts(message: Any, steps: tuple[str, ...]) -> Iterable[str]:
    value = getattr(message, steps[0])
    if len(steps) == 1:
        return (value,) if isinstance(value, str) else value
    if isinstance(value, Message):
        return _texts(value, steps[1:])
    return (text for item in value for text in _texts(item, steps[1:]))


def _project_of_name(name: str) -> str:
    collection, _, rest = name.partition("/")
    return _project(rest.partition("/")[0]) if collection == "projects" else ""


def _project_of_path(path: str, roots: Sequence[str]) -> str:
    try:
        return _project_of_name(path_from_uri(path, roots))
    except DomainError:
        return ""


def _project(text: str) -> str:
    return text if _PROJECT.fullmatch(text) else ""
