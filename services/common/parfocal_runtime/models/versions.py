"""Which versions of a model there are, for those who name models and never run them."""

from __future__ import annotations

import re

from parfocal_runtime.layout import model_folder, model_version_folder
from parfocal_runtime.store import ObjectStore, Refused

CARD_FILE = "rdf.yaml"
"""Written last: its presence says that a version is complete."""

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def complete_versions(
    store: ObjectStore, name: str, *, known: frozenset[int] = frozenset()
) -> list[int]:
    """Return the complete versions of a model, oldest first; empty if there is no such model.

    Args:
        store: Where the repository is.
        name: Name of the model.
        known: Versions that were complete before; they are not looked at again.
    """
    return [
        version
        for version in claimed_versions(store, name)
        if version in known or is_complete(store, name, version)
    ]


def claimed_versions(store: ObjectStore, name: str) -> list[int]:
    """Return the versions of a model that somebody began to write, complete or not."""
    children = store.children(model_folder(name))
    return sorted(int(child) for child in children if _VERSION.fullmatch(child))


def is_complete(store: ObjectStore, name: str, version: int) -> bool:
    """Return whether there is such a version of a model, and all of it.

    One whose card may not be read counts as complete: who loads it is told so.
    """
    try:
        return store.exists(f"{model_version_folder(name, version)}/{CARD_FILE}")
    except Refused:
        return True
