"""What the object store holds of a run: what was asked, how far it is, how it ended.

runs/<run>/spec.json                what was asked; create-only
runs/<run>/attempts/<n>.json        each start of a worker; create-only
runs/<run>/parent.json              the parent version that "the latest" meant; create-only
runs/<run>/progress.json            how far the run was when it last said so
runs/<run>/checkpoint.safetensors   where a run that was killed, or failed, goes on from
runs/<run>/decision.json            whether it publishes or was cancelled; create-only
runs/<run>/weights.safetensors      what a later run can train further
runs/<run>/result.json              how it ended; create-only, a failure can be taken back
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from parfocal_runtime.errors import AlreadyExists, DomainError, NotFound, WrongState
from parfocal_runtime.layout import checked_name, run_folder
from parfocal_runtime.store import ObjectStore
from parfocal_training.progress import Progress, TrainResult
from parfocal_training.spec import ModelRef, RunSpec, spec_from_json, spec_to_json

CHECKPOINT_FILE = "checkpoint.safetensors"

Ending = Literal["SUCCEEDED", "FAILED", "CANCELLED"]


@dataclass(frozen=True)
class Failure:
    """Why a run failed, as its `DomainError` said; an empty reason is a fault of the program."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: DomainError) -> Failure:
        """Return what `error` says."""
        return cls(error.reason, error.message, error.metadata)


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        state: The final state.
        progress: How far it had come.
        time: When it ended, ISO 8601.
        model: The published version; None unless it succeeded.
        failure: Why it failed; None unless it did.
    """

    state: Ending
    progress: Progress
    time: str
    model: ModelRef | None = None
    failure: Failure | None = None


class RunFolder:
    """The folder of one run. Methods block."""

    def __init__(self, store: ObjectStore, run: str) -> None:
        self.store = store
        self.run = checked_name(run, field="run")
        self._folder = run_folder(run)

    def path(self, name: str) -> str:
        """Return the path of an object of this run."""
        return f"{self._folder}/{name}"

    def accept(self, spec: RunSpec) -> None:
        """Write down what the run is asked to do, once.

        Raises:
            AlreadyExists: If the run was asked for something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        document = {"spec": json.loads(spec_to_json(spec)), "create_time": now()}
        if self._create("spec.json", document):
            return
        if spec_to_json(self.spec()) != spec_to_json(spec):
            raise AlreadyExists(
                "ERROR_REASON_ARTIFACT_EXISTS",
                f"run {self.run} exists and was asked for something else",
                name=self.run,
            )

    def exists(self) -> bool:
        """Return whether anybody asked for the run."""
        return self.store.exists(self.path("spec.json"))

    def spec(self) -> RunSpec:
        """Return what the run was asked to do.

        Raises:
            NotFound: If there is no such run (`ERROR_REASON_RUN_NOT_FOUND`).
        """
        return spec_from_json(json.dumps(self._accepted()["spec"]).encode())

    def create_time(self) -> str:
        """Return when the run was first asked for, ISO 8601.

        Raises:
            NotFound: If there is no such run (`ERROR_REASON_RUN_NOT_FOUND`).
        """
        return str(self._accepted()["create_time"])

    def begin_attempt(self) -> int:
        """Count one start of a worker and return how many there were."""
        number = self.attempts() + 1
        while not self._create(f"attempts/{number:04d}.json", {"time": now()}):
            number += 1
        return number

    def attempts(self) -> int:
        """Return how often a worker was started."""
        return len(self.store.children(self.path("attempts")))

    def resolve_parent(self, parent: ModelRef) -> ModelRef:
        """Return the parent version that this run started from, `parent` if it starts now."""
        self._create("parent.json", asdict(parent))
        return ModelRef(**self._read("parent.json"))

    def report(self, progress: Progress) -> None:
        """Write down how far the run is."""
        self.store.write(self.path("progress.json"), _json(asdict(progress)))

    def progress(self) -> Progress:
        """Return how far the run was when it last said so."""
        try:
            return Progress(**self._read("progress.json"))
        except NotFound:
            return Progress()

    def decide(self, decision: Literal["publish", "cancel"]) -> bool:
        """Decide, once for all, whether the run publishes; return whether it is as wanted."""
        self._create("decision.json", {"decision": decision, "time": now()})
        return bool(self._read("decision.json")["decision"] == decision)

    def is_cancelled(self) -> bool:
        """Return whether somebody cancelled the run."""
        try:
            return bool(self._read("decision.json")["decision"] == "cancel")
        except NotFound:
            return False

    def succeed(self, result: TrainResult) -> None:
        """Write down that a model was published."""
        model = ModelRef(result.model, result.version)
        self._end(Result("SUCCEEDED", result.progress, now(), model=model))

    def fail(self, failure: Failure) -> None:
        """Write down that the run failed; what it has learned is kept."""
        self._end(Result("FAILED", self.progress(), now(), failure=failure))

    def reopen(self) -> None:
        """Take a failure back."""
        result = self.result()
        if result is not None and result.state == "FAILED":
            self.store.delete(self.path("result.json"))

    def cancel(self) -> None:
        """Stop the run for good.

        Raises:
            NotFound: If there is no such run (`ERROR_REASON_RUN_NOT_FOUND`).
            WrongState: If it is over or publishing (`ERROR_REASON_WORK_FINISHED`).
        """
        self._accepted()
        result = self.result()
        if result is not None or not self.decide("cancel"):
            state = "PUBLISHING" if result is None else result.state
            raise WrongState(
                "ERROR_REASON_WORK_FINISHED", f"run {self.run} is over", name=self.run, state=state
            )
        self._end(Result("CANCELLED", self.progress(), now()))

    def result(self) -> Result | None:
        """Return how the run ended, or None if it has not."""
        try:
            document = self._read("result.json")
        except NotFound:
            return None
        document["progress"] = Progress(**document["progress"])
        document["model"] = document["model"] and ModelRef(**document["model"])
        document["failure"] = document["failure"] and Failure(**document["failure"])
        return Result(**document)

    def _end(self, result: Result) -> None:
        self._create("result.json", asdict(result))
        if result.state != "FAILED":
            self.store.delete(self.path(CHECKPOINT_FILE))

    def _accepted(self) -> dict[str, Any]:
        try:
            return self._read("spec.json")
        except NotFound as error:
            raise NotFound(
                "ERROR_REASON_RUN_NOT_FOUND", f"there is no run {self.run}", run=self.run
            ) from error

    def _create(self, name: str, document: Mapping[str, Any]) -> bool:
        return self.store.create(self.path(name), _json(document))

    def _read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.store.read(self.path(name)))
        return document


def now() -> str:
    """Return the time, ISO 8601 with time zone."""
    return datetime.now(UTC).isoformat()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1).encode()
