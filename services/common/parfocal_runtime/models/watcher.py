"""Picks up model versions that are published while a server runs."""

from __future__ import annotations

import threading

import structlog

from parfocal_runtime.errors import DomainError
from parfocal_runtime.models.loaded import LoadedModels

_log = structlog.get_logger(__name__)


class ModelWatcher:
    """Looks at the repository again and again, on a thread of its own.

    Args:
        models: What it keeps fresh.
        interval_seconds: How long it waits between two looks.
    """

    def __init__(self, models: LoadedModels, *, interval_seconds: float = 1.0) -> None:
        self._models = models
        self._interval = interval_seconds
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)

    def start(self) -> None:
        """Start looking; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; waits for a version that is being loaded, and for no further ones."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def has_looked(self) -> bool:
        """Whether the whole repository has been seen at least once."""
        return self._looked.is_set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the first look to end; return whether it did."""
        return self._looked.wait(timeout_seconds)

    def _watch(self) -> None:
        reported: set[tuple[str, int]] = set()
        reachable = True
        while not self._stop.is_set():
            try:
                self._models.refresh(self._stop.is_set)
            except DomainError as error:
                if reachable:
                    _log.warning("model repository does not answer", cause=error.message)
                reachable = False
            except Exception:
                # The thread must outlive whatever one look meets.
                _log.exception("model repository could not be read")
            else:
                reachable = True
                self._looked.set()
                reported = self._report(reported)
            self._stop.wait(self._interval)

    def _report(self, reported: set[tuple[str, int]]) -> set[tuple[str, int]]:
        failures = self._models.failures()
        for key in failures.keys() - reported:
            _log.error("model is not ready", cause=failures[key].message)
        return set(failures)
