"""Which versions of a model there are, for those who name models and never run them."""

from __future__ import annotations

from parfocal_runtime.layout import model_folder, model_version_folder
from parfocal_runtime.store import ObjectStore

CARD_FILE = "rdf.yaml"
"""Written last: its presence says that a version is complete."""


def complete_versions(store: ObjectStore, name: str) -> list[int]:
    """Return the complete versions of a model, oldest first; empty if there is no such model."""
    children = store.children(model_folder(name))
    numbers = sorted(int(child) for child in children if child.isdecimal())
    return [
        number
        for number in numbers
        if store.exists(f"{model_version_folder(name, number)}/{CARD_FILE}")
    ]
