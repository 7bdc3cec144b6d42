"""Models in the object store, in the layout of a Triton model repository.

A version's folder gets `lineage.json` first and `rdf.yaml` last. The first is create-only and
so claims the number; the second makes the version visible, and names the sha256 of all between.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parfocal_runtime.errors import AlreadyExists, InvalidInput, NotFound, PermissionDenied
from parfocal_runtime.layout import checked_name, model_folder, model_version_folder
from parfocal_runtime.models.card_yaml import (
    MODEL_FILE,
    CardFiles,
    ReadCard,
    read_card,
    sha256,
    write_card,
)
from parfocal_runtime.models.cards import CardFields
from parfocal_runtime.models.config_pbtxt import (
    default_config,
    read_config,
    with_tensors,
    write_config,
)
from parfocal_runtime.models.graph import opset_of
from parfocal_runtime.models.loading import (
    LoadedModel,
    StoredModel,
    load_model,
    not_found,
    not_ready,
    self_test_failed,
)
from parfocal_runtime.models.self_test import disagreement
from parfocal_runtime.models.sessions import (
    ModelSession,
    SessionOptions,
    invalid_model,
    open_session,
)
from parfocal_runtime.models.versions import CARD_FILE, claimed_versions, complete_versions
from parfocal_runtime.store import ObjectStore, Refused
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

LINEAGE_FILE = "lineage.json"
CONFIG_FILE = "config.pbtxt"
WARMUP_FOLDER = "warmup"

_PUBLICATION = "publication"


@dataclass(frozen=True)
class _Publication:
    """One call of `publish`: what it writes, and how it knows its own claim again."""

    key: str
    model: bytes
    card: CardFiles
    lineage: Mapping[str, Any]

    @property
    def digest(self) -> str:
        # The card names the sha256 of the graph and of every test tensor.
        return sha256(self.card.rdf + _json(self.lineage))

    @property
    def claim(self) -> dict[str, str]:
        return {"key": self.key or self.digest, "digest": self.digest}


@dataclass(frozen=True)
class ListedModel:
    """What the repository has under one name.

    Attributes:
        name: Name of the model.
        versions: Its complete versions, oldest first; empty where they cannot be told.
        reason: Why they cannot be told; empty where they can.
    """

    name: str
    versions: list[int]
    reason: str = ""


class ModelRepository:
    """Named models with numbered versions.

    All methods block, and are safe to call from many threads and processes at once.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def models(self) -> list[ListedModel]:
        """Return the models that have a complete version, or a folder that is closed, by name.

        Raises:
            Unavailable: If the object store does not answer.
        """
        listed = [self._listed(name) for name in self.folders()]
        return [model for model in listed if model.versions or model.reason]

    def folders(self) -> list[str]:
        """Return the names under which a version is, or may one day be, complete, sorted."""
        return [name for name in self._store.children("models") if _is_name(name)]

    def versions(self, name: str, *, known: frozenset[int] = frozenset()) -> list[int]:
        """Return the complete versions of a model, oldest first; empty if there is no such model.

        Args:
            name: Name of the model.
            known: Versions that were complete before; they are not looked at again.
        """
        if not _is_name(name):
            return []
        return complete_versions(self._store, name, known=known)

    def load(
        self, name: str, version: int | None = None, *, options: SessionOptions | None = None
    ) -> LoadedModel:
        """Return a version, the newest by default, ready to run.

        Raises:
            NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
            WrongState: If its files are not those that its card names, cannot be loaded, or do
                not reproduce the test tensors (`ERROR_REASON_MODEL_NOT_READY`,
                `ERROR_REASON_MODEL_SELF_TEST_FAILED`).
        """
        return load_model(self.read(name, version), options)

    def read(self, name: str, version: int | None = None) -> StoredModel:
        """Return the files of a version, the newest by default, after checking their sha256.

        Raises:
            NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
            WrongState: If they are not those that its card names, or may not be read
                (`ERROR_REASON_MODEL_NOT_READY`).
        """
        if version is None:
            version = max(self.versions(name), default=0)
        try:
            read = self._card(name, version)
            model = self._store.read(_file(name, version, MODEL_FILE))
            config = self.config(name)
            files = self._warmup_files(name, config)
            lineage = self.lineage(name, version)
        except (InvalidInput, Refused) as error:
            raise not_ready(name, version, error.message) from error
        except NotFound as error:
            if error.reason == "ERROR_REASON_MODEL_NOT_FOUND":
                raise
            raise not_ready(name, version, error.message) from error
        if sha256(model) != read.model_sha256:
            raise not_ready(name, version, f"{MODEL_FILE} is not the one of its card (sha256)")
        return StoredModel(name, version, model, read.card, lineage, config, files)

    def card(self, name: str, version: int) -> CardFields:
        """Return the card of a version, with its test tensors.

        Raises:
            NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
            InvalidInput: If it is broken (`ERROR_REASON_INVALID_MODEL`).
        """
        return self._card(name, version).card

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """Return where a version comes from, as it was published; empty if nothing is known."""
        lineage = self._claimed(name, version)
        lineage.pop(_PUBLICATION, None)
        return lineage

    def publish(
        self,
        name: str,
        model: bytes,
        *,
        card: CardFields,
        lineage: Mapping[str, Any],
        version: int | None = None,
        key: str = "",
    ) -> int:
        """Add a version, visible when it is complete, and return its number.

        Publishing the same again returns the version that exists, and finishes one that was
        interrupted. Of several callers with different content each gets a version of its own.

        Args:
            name: Name of the model.
            model: The ONNX file.
            card: Its card.
            lineage: Where it comes from: parent version, snapshot, parameters, seed, metrics.
            version: The number wanted; None is the next one.
            key: What makes two publications the same, such as the id of a training run; by
                default their content.

        Raises:
            InvalidInput: If the name, the graph or the card is ill-formed.
            WrongState: If the graph does not compute what the card says
                (`ERROR_REASON_MODEL_SELF_TEST_FAILED`).
            AlreadyExists: If `version` is something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        """
        checked_name(name, field="name")
        files = write_card(name, card, model, opset=opset_of(model))
        session = open_session(model)
        cause = disagreement(session, card)
        if cause:
            raise self_test_failed(name, version, cause)
        publication = _Publication(key, model, files, lineage)
        number = self._claim(name, version, publication)
        folder = model_version_folder(name, number)
        if self._store.exists(f"{folder}/{CARD_FILE}"):
            return number
        self._write_config(name, session)
        self._store.create(f"{folder}/{MODEL_FILE}", model)
        for file, content in files.tensors.items():
            self._store.create(f"{folder}/{file}", content)
        self._store.create(f"{folder}/{CARD_FILE}", files.rdf)
        return number

    def _listed(self, name: str) -> ListedModel:
        try:
            return ListedModel(name, self.versions(name))
        except (Refused, PermissionDenied, InvalidInput) as error:
            return ListedModel(name, [], error.message)

    def _card(self, name: str, version: int) -> ReadCard:
        try:
            rdf = self._store.read(_file(name, version, CARD_FILE))
        except NotFound as error:
            raise not_found(name, version) from error
        return read_card(rdf, lambda file: self._store.read(_file(name, version, file)))

    def config(self, name: str) -> config_pb.ModelConfig | None:
        """Return how a model is to be served; None if nothing says.

        Raises:
            InvalidInput: If what says so cannot be read (`ERROR_REASON_INVALID_MODEL`).
        """
        try:
            return read_config(self._store.read(f"{model_folder(name)}/{CONFIG_FILE}"))
        except NotFound:
            return None

    def _warmup_files(self, name: str, config: config_pb.ModelConfig | None) -> dict[str, bytes]:
        files = {
            wanted.input_data_file
            for warmup in (config.model_warmup if config else ())
            for wanted in warmup.inputs.values()
            if wanted.input_data_file
        }
        folder = f"{model_folder(name)}/{WARMUP_FOLDER}"
        for file in files:
            if "/" in file or file in (".", ".."):
                raise invalid_model(f"input_data_file must be the name of a file, not {file!r}")
        return {file: self._store.read(f"{folder}/{file}") for file in files}

    def _claimed(self, name: str, version: int) -> dict[str, Any]:
        try:
            content = json.loads(self._store.read(_file(name, version, LINEAGE_FILE)))
        except (NotFound, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _claim(self, name: str, version: int | None, publication: _Publication) -> int:
        numbers = claimed_versions(self._store, name)
        for number in numbers if version is None else [version]:
            if self._is_own(name, number, publication):
                return number
        number = version or max(numbers, default=0) + 1
        claim = _json({**publication.lineage, _PUBLICATION: publication.claim})
        while number in numbers or not self._store.create(_file(name, number, LINEAGE_FILE), claim):
            if self._is_own(name, number, publication):
                break
            if version is not None:
                raise AlreadyExists(
                    "ERROR_REASON_ARTIFACT_EXISTS",
                    f"version {version} of model {name} exists and is something else",
                    name=f"{name}/{version}",
                )
            number += 1
        return number

    def _is_own(self, name: str, number: int, publication: _Publication) -> bool:
        claimed = self._claimed(name, number).get(_PUBLICATION, {})
        if claimed.get("key") != publication.claim["key"]:
            return False
        # Another content under the same key may only be met whole: two graphs must not mix.
        return claimed.get("digest") == publication.digest or self._store.exists(
            _file(name, number, CARD_FILE)
        )

    def _write_config(self, name: str, session: ModelSession) -> None:
        path = f"{model_folder(name)}/{CONFIG_FILE}"
        fresh = default_config(name, session.inputs, session.outputs)
        if self._store.create(path, write_config(fresh)):
            return
        # People tune this file: it is touched only where the new graph would make it wrong.
        existing = self.config(name) or fresh
        wanted = with_tensors(existing, session.inputs, session.outputs)
        if _tensors(existing) != _tensors(wanted):
            self._store.write(path, write_config(wanted))


def _is_name(name: str) -> bool:
    try:
        checked_name(name, field="name")
    except InvalidInput:
        return False
    return True


def _file(name: str, version: int, file: str) -> str:
    return f"{model_version_folder(name, version)}/{file}"


def _tensors(config: config_pb.ModelConfig) -> list[tuple[str, int, list[int]]]:
    found: list[tuple[str, int, list[int]]] = []
    found += ((tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input)
    found += ((tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output)
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(value), sort_keys=True, indent=1, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """Return `value` with null for what JSON cannot hold: NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
