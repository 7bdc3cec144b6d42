"""How much memory all models of a process may take together."""

from __future__ import annotations

from parfocal_runtime.errors import DomainError, Exhausted, InvalidInput
from parfocal_runtime.models.loading import StoredModel, memory_of, not_ready
from parfocal_runtime.models.sessions import SessionOptions

_MEMORY = "ERROR_REASON_MODEL_MEMORY"

_Key = tuple[str, int]


class MemoryBudget:
    """A limit, and what is promised to versions that are being loaded.

    To be used by whoever holds the lock of the models.

    Args:
        limit: Bytes; 0 is no limit, and then the budget is false.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserved: dict[_Key, int] = {}

    def __bool__(self) -> bool:
        """Return whether there is a limit."""
        return self._limit > 0

    def has_room(self, needed: int, taken: int) -> bool:
        """Return whether there is room for `needed` bytes where models take `taken`."""
        return taken + sum(self._reserved.values()) + needed <= self._limit

    def require(self, key: _Key, needed: int, taken: int) -> None:
        """Check that there is room for a version.

        Raises:
            Exhausted: If there is none (`ERROR_REASON_MODEL_MEMORY`).
        """
        if self.has_room(needed, taken):
            return
        name, version = key
        promised = taken + sum(self._reserved.values())
        raise Exhausted(
            _MEMORY,
            f"version {version} of model {name} takes {needed} bytes, and others have {promised} "
            f"of the {self._limit} that models may take; unload one or lower its max_batch_size",
            model=name,
            version=version,
            needed=needed,
            taken=promised,
            limit=self._limit,
        )

    def reserve(self, key: _Key, needed: int) -> None:
        """Promise room to a version that is being loaded."""
        self._reserved[key] = needed

    def release(self, key: _Key) -> None:
        """End the promise: the version is loaded and counted as such, or it never will be."""
        self._reserved.pop(key, None)


def needed_by(stored: StoredModel, options: SessionOptions | None) -> int:
    """Return the bytes that a version takes.

    Raises:
        WrongState: If it cannot be told, since the version cannot be loaded
            (`ERROR_REASON_MODEL_NOT_READY`).
    """
    try:
        return memory_of(stored, options).total
    except InvalidInput as error:
        raise not_ready(stored.name, stored.version, error.message) from error


def is_memory(error: DomainError) -> bool:
    """Return whether an error says that there was no memory for a model."""
    return error.reason == _MEMORY
