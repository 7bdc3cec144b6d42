"""What a process can say of each model version of its repository."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    """Whether a version serves, in Triton's words."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """A version of the repository, as one process has it.

    Attributes:
        name: Name of the model.
        version: Its version; None where the folder of the model may not be read.
        state: Whether it serves.
        reason: Why it does not; empty where it does.
    """

    name: str
    version: int | None
    state: ModelState
    reason: str = ""
