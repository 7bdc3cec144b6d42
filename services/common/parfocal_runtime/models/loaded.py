"""The models that a server has at hand, newest versions first."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from parfocal_runtime.errors import (
    DomainError,
    Exhausted,
    InvalidInput,
    PermissionDenied,
    Unavailable,
    WrongState,
)
from parfocal_runtime.logs import get_logger
from parfocal_runtime.models.footprint import Footprint
from parfocal_runtime.models.index import IndexEntry, ModelState
from parfocal_runtime.models.loading import LoadedModel, load_model, not_found, not_ready
from parfocal_runtime.models.memory_budget import MemoryBudget, is_memory, needed_by
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.models.version_policy import kept, served
from parfocal_runtime.store import Refused
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

__all__ = ["LoadedModel", "LoadedModels"]

_log = get_logger(__name__)

_Key = tuple[str, int]
_Refusal = WrongState | Exhausted

_UNLOADED = "it was unloaded"
_NOT_IN_MEMORY = "it is not in memory; a request for it loads it"


@dataclass
class _Entry:
    """What a look at the repository found of one model.

    Attributes:
        versions: Complete versions that may serve, oldest first.
        kept: Those of them that are kept in memory.
        complete: All complete versions.
        looked_at: When the look began.
    """

    versions: tuple[int, ...]
    kept: tuple[int, ...] = ()
    complete: tuple[int, ...] = ()
    looked_at: float = field(default_factory=time.monotonic)


class _Failure(NamedTuple):
    """Why a version is not ready, and when that was found."""

    error: _Refusal
    at: float


class LoadedModels:
    """Model versions, loaded once and shared by all callers; safe from many threads.

    Callers keep what they were given: a version that is dropped, replaced or unloaded runs on for
    those who have it.

    Args:
        repository: Where they come from.
        options: How they run.
        max_idle: Most versions kept that are neither the newest of their model nor kept by its
            `version_policy`.
        memory_bytes: Most memory that all models take together, as told from their graphs; 0 is no
            limit.
        max_age_seconds: How old a look at the repository may be before `get` takes another.
        retry_seconds: After how long a version that failed is tried again when it is asked for;
            otherwise it is only by `load`, or where there was no memory and now may be some.
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        options: SessionOptions | None = None,
        max_idle: int = 4,
        memory_bytes: int = 0,
        max_age_seconds: float = 2.0,
        retry_seconds: float = math.inf,
    ) -> None:
        self._repository = repository
        self._options = options
        self._max_idle = max_idle
        self._budget = MemoryBudget(memory_bytes)
        self._max_age = max_age_seconds
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._loading: dict[_Key, threading.Lock] = {}
        self._loaded: OrderedDict[_Key, LoadedModel] = OrderedDict()
        self._failed: dict[_Key, _Failure] = {}
        self._unreadable: set[str] = set()
        self._known: dict[str, _Entry] = {}
        self._policies: dict[str, config_pb.ModelVersionPolicy] = {}
        self._kept: dict[str, tuple[int, ...]] = {}
        self._unloaded: set[str] = set()

    def get(self, name: str, version: int | None = None) -> LoadedModel:
        """Return a version, loading it if need be; by default the newest one that is ready.

        Raises:
            NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
            WrongState: If it cannot be used (`ERROR_REASON_MODEL_NOT_READY`,
                `ERROR_REASON_MODEL_SELF_TEST_FAILED`, `ERROR_REASON_PROVIDER_UNAVAILABLE`).
            Exhausted: If there is no memory for it (`ERROR_REASON_MODEL_MEMORY`).
            Unavailable: If it is not loaded yet and the object store does not answer.
        """
        if version is not None:
            return self._get_version(name, version)
        failure: _Refusal | None = None
        for candidate in reversed(self.versions(name)):
            if self._can_wait_for(name, candidate):
                continue
            try:
                return self._load(name, candidate)
            except (WrongState, Exhausted) as error:
                failure = failure or error
        raise failure or not_found(name, None)

    def at_hand(self, name: str, version: int | None = None) -> LoadedModel | None:
        """Return what `get` would return if that takes no time, else None."""
        entry = self._known.get(name)
        if entry is None or time.monotonic() - entry.looked_at > self._max_age:
            return None
        wanted = entry.versions[-1] if version is None else version
        with self._lock:
            if name in self._unloaded or (name, wanted) in self._failed:
                return None
            return self._at_hand((name, wanted))

    def is_ready(self, name: str, version: int | None = None) -> bool:
        """Return whether `get` would return; False too if there is no such version.

        Raises:
            Unavailable: If it is not loaded yet and the object store does not answer.
        """
        try:
            self.get(name, version)
        except Unavailable:
            raise
        except DomainError:
            return False
        return True

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of a model that may serve, oldest first; empty if there is none.

        They are the complete ones, or those of them that its `version_policy` lets serve.
        """
        entry = self._known.get(name)
        if entry is not None and time.monotonic() - entry.looked_at <= self._max_age:
            return entry.versions
        try:
            return self._look_at(name).versions
        except (Unavailable, WrongState):
            if entry is None:
                raise
            # What is loaded goes on serving while the store is away, or its folder is closed.
            self._known[name] = replace(entry, looked_at=time.monotonic())
            return entry.versions

    def refresh(self, stops: Callable[[], bool] = lambda: False) -> None:
        """Look at the whole repository once and load what it has that is new.

        That is the newest version of each model, or those that its `version_policy` names.

        A version becomes the one that `get` returns by default only after it has been loaded, so
        that no request waits for it. Versions that cannot be used are kept with their reason. A
        folder that cannot be looked at, such as a link that leads out of the store or one that may
        not be read, is logged.

        Args:
            stops: Asked before each version; where it is true nothing more is loaded.

        Raises:
            Unavailable: If the object store does not answer.
        """
        nothing = _Entry(())
        names = self._repository.folders()
        for name in names:
            try:
                found = self._list(name)
                for version in found.kept:
                    if stops():
                        return
                    self._try(name, version)
            except Unavailable:
                raise
            except DomainError as error:
                self._report_unreadable(name, error)
                continue
            self._unreadable.discard(name)
            self._remember(name, found)
        for name in set(self._known) - set(names):
            self._remember(name, nothing)

    def load(self, name: str) -> LoadedModel:
        """Load a model anew, and let it be used again; return its newest version.

        All versions are loaded that are kept in memory. The session that served before serves
        until the new one is ready, and on if that fails.

        Raises:
            NotFound: If there is no such model (`ERROR_REASON_MODEL_NOT_FOUND`).
            WrongState: If it cannot be used (`ERROR_REASON_MODEL_NOT_READY`,
                `ERROR_REASON_MODEL_SELF_TEST_FAILED`, `ERROR_REASON_PROVIDER_UNAVAILABLE`).
            Exhausted: If there is no memory for it (`ERROR_REASON_MODEL_MEMORY`).
            Unavailable: If the object store does not answer.
        """
        self._policies.pop(name, None)
        found = self._look_at(name)
        if not found.versions:
            raise not_found(name, None)
        with self._lock:
            self._unloaded.discard(name)
            for failed in [k for k in self._failed if k[0] == name]:
                del self._failed[failed]
        newest = self._load_anew((name, found.versions[-1]))
        for version in found.kept[:-1]:
            self._load_anew((name, version))
        return newest

    def unload(self, name: str) -> None:
        """Drop every version of a model; it is not ready until `load`.

        Raises:
            NotFound: If there is no such model (`ERROR_REASON_MODEL_NOT_FOUND`).
            Unavailable: If it was never seen and the object store does not answer.
        """
        if not self.versions(name):
            raise not_found(name, None)
        with self._lock:
            self._unloaded.add(name)
            self._forget([key for key in (*self._loaded, *self._failed) if key[0] == name])

    def index(self) -> list[IndexEntry]:
        """Return every complete version of the repository, sorted, and whether it serves.

        A model whose folder may not be read has one entry, without a version.

        Raises:
            Unavailable: If the object store does not answer.
        """
        versions: dict[str, tuple[int, ...]] = {}
        closed: list[IndexEntry] = []
        for name in self._repository.folders():
            try:
                versions[name] = self.versions(name)
            except WrongState as error:
                closed.append(IndexEntry(name, None, ModelState.UNAVAILABLE, error.message))
            except (PermissionDenied, InvalidInput):
                continue
        with self._lock:
            known = [self._entry((name, each)) for name in versions for each in versions[name]]
        return sorted([*known, *closed], key=lambda entry: (entry.name, entry.version or 0))

    def footprints(self) -> dict[_Key, Footprint]:
        """Return how much memory each version in memory takes, by name and version, sorted."""
        with self._lock:
            return {key: self._loaded[key].footprint for key in sorted(self._loaded)}

    def failures(self) -> dict[_Key, _Refusal]:
        """Return why versions that were tried are not ready, by name and version."""
        with self._lock:
            return {key: failure.error for key, failure in self._failed.items()}

    def loaded(self) -> list[_Key]:
        """Return the names and versions that are in memory, sorted."""
        with self._lock:
            return sorted(self._loaded)

    def _entry(self, key: _Key) -> IndexEntry:
        if key[0] in self._unloaded:
            return IndexEntry(*key, ModelState.UNAVAILABLE, _UNLOADED)
        if key in self._loaded:
            return IndexEntry(*key, ModelState.READY)
        if key in self._failed:
            return IndexEntry(*key, ModelState.UNAVAILABLE, self._failed[key].error.message)
        if key in self._loading and self._loading[key].locked():
            return IndexEntry(*key, ModelState.LOADING)
        return IndexEntry(*key, ModelState.UNAVAILABLE, _NOT_IN_MEMORY)

    def _get_version(self, name: str, version: int) -> LoadedModel:
        known = self._known.get(name)
        if known is None or version not in known.versions:
            known = self._look_at(name)
        if version not in known.versions:
            raise not_found(name, version)
        return self._load(name, version)

    def _can_wait_for(self, name: str, version: int) -> bool:
        """Return whether somebody is loading this version while an older one can serve."""
        with self._lock:
            if (name, version) in self._loaded:
                return False
            lock = self._loading.get((name, version))
            older = any(key[0] == name and key[1] < version for key in self._loaded)
        return older and lock is not None and lock.locked()

    def _look_at(self, name: str) -> _Entry:
        return self._remember(name, self._list(name))

    def _list(self, name: str) -> _Entry:
        try:
            return self._listed(name)
        except Refused as error:
            raise not_ready(name, None, error.message) from error

    def _listed(self, name: str) -> _Entry:
        began = time.monotonic()
        known = self._known.get(name)
        before = known.complete if known else ()
        complete = tuple(self._repository.versions(name, known=frozenset(before)))
        if not complete:
            return _Entry((), looked_at=began)
        policy = self._policies.get(name)
        if policy is None or complete != before:
            policy = self._policies[name] = self._policy_of(name)
        stay = self._kept[name] = kept(complete, policy)
        return _Entry(served(complete, policy), stay, complete, began)

    def _policy_of(self, name: str) -> config_pb.ModelVersionPolicy:
        try:
            config = self._repository.config(name)
        except (InvalidInput, Refused):
            # Loading tells what is wrong with it.
            config = None
        return (config or config_pb.ModelConfig()).version_policy

    def _remember(self, name: str, entry: _Entry) -> _Entry:
        with self._lock:
            known = self._known.get(name)
            if known is not None and known.looked_at > entry.looked_at:
                # Loading took time, and somebody has looked meanwhile.
                return known
            if entry.versions:
                self._known[name] = entry
            else:
                # Names come from callers: one that leads nowhere must not take memory.
                self._known.pop(name, None)
                self._policies.pop(name, None)
                self._kept.pop(name, None)
                self._unloaded.discard(name)
            gone = [k for k in (*self._loaded, *self._failed) if k[0] == name]
            self._forget([key for key in gone if key[1] not in entry.versions])
        return entry

    def _forget(self, keys: list[_Key]) -> None:
        for key in keys:
            self._loaded.pop(key, None)
            self._failed.pop(key, None)
        if keys:
            # What had no room may have it now.
            for key in [k for k, failure in self._failed.items() if is_memory(failure.error)]:
                del self._failed[key]

    def _report_unreadable(self, name: str, error: DomainError) -> None:
        if name not in self._unreadable:
            self._unreadable.add(name)
            _log.warning("a model cannot be looked at", model=name, cause=error.message)

    def _try(self, name: str, version: int) -> None:
        with suppress(WrongState, Exhausted):
            self._load(name, version)

    def _load_anew(self, key: _Key) -> LoadedModel:
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            return self._load_now(key)

    def _load(self, name: str, version: int) -> LoadedModel:
        key = (name, version)
        with self._lock:
            loaded = self._at_hand(key)
            loading = self._loading.setdefault(key, threading.Lock())
        if loaded is not None:
            return loaded
        with loading:
            with self._lock:
                loaded = self._at_hand(key)
            if loaded is not None:
                return loaded
            return self._load_now(key)

    def _at_hand(self, key: _Key) -> LoadedModel | None:
        self._require_wanted(key)
        if key in self._failed and not self._may_try_again(key):
            failure = self._failed[key].error
            # A copy: an exception that is raised again and again keeps every traceback.
            raise type(failure)(failure.reason, failure.message, (), **failure.metadata)
        loaded = self._loaded.get(key)
        if loaded is not None:
            self._loaded.move_to_end(key)
        return loaded

    def _may_try_again(self, key: _Key) -> bool:
        return time.monotonic() - self._failed[key].at > self._retry_seconds

    def _load_now(self, key: _Key) -> LoadedModel:
        try:
            outcome = self._outcome(key)
        except BaseException:
            with self._lock:
                self._loading.pop(key, None)
                self._budget.release(key)
            raise
        with self._lock:
            self._loading.pop(key, None)
            self._budget.release(key)
            self._require_wanted(key)
            if not isinstance(outcome, LoadedModel):
                if key not in self._loaded:
                    self._failed[key] = _Failure(outcome, time.monotonic())
                raise outcome
            self._failed.pop(key, None)
            self._loaded[key] = outcome
            self._drop_idle()
        return outcome

    def _outcome(self, key: _Key) -> LoadedModel | _Refusal:
        try:
            return self._opened(key)
        except (WrongState, Exhausted) as error:
            return error
        except DomainError:
            raise
        except Exception as error:
            # Its files hold whatever somebody put there, and others are not to suffer from it.
            _log.exception("a model could not be loaded", model=key[0], version=key[1])
            return not_ready(*key, f"loading it failed: {error}")

    def _opened(self, key: _Key) -> LoadedModel:
        stored = self._repository.read(*key)
        if self._budget:
            needed = needed_by(stored, self._options)
            with self._lock:
                self._make_room(key, needed)
                self._budget.reserve(key, needed)
        return load_model(stored, self._options)

    def _make_room(self, key: _Key, needed: int) -> None:
        """Drop versions that nobody keeps, those first that were not used for longest."""
        droppable = [each for each in self._idle() if each != key]
        while not self._budget.has_room(needed, self._taken(key)) and droppable:
            del self._loaded[droppable.pop(0)]
        self._budget.require(key, needed, self._taken(key))

    def _taken(self, key: _Key) -> int:
        # Of a version that is loaded again the former one goes as soon as this one is there.
        return sum(loaded.footprint.total for other, loaded in self._loaded.items() if other != key)

    def _require_wanted(self, key: _Key) -> None:
        # Asked again after loading: somebody may have unloaded the model meanwhile.
        if key[0] in self._unloaded:
            raise not_ready(*key, _UNLOADED)

    def _drop_idle(self) -> None:
        idle = self._idle()
        for key in idle[: max(0, len(idle) - self._max_idle)]:
            del self._loaded[key]

    def _idle(self) -> list[_Key]:
        """Return the versions in memory that are not kept there, the least recently used first."""
        newest = {name: max(v for n, v in self._loaded if n == name) for name, _ in self._loaded}
        return [key for key in self._loaded if key[1] != newest[key[0]] and not self._keeps(key)]

    def _keeps(self, key: _Key) -> bool:
        # What a look is about to load is kept before the look is over.
        return key[1] in self._kept.get(key[0], ())
