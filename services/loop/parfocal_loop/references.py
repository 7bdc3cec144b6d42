"""Whether what a round names is there, asked before the round is created."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.peers import Peers
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import NotFound, Unavailable
from parfocal_runtime.logs import get_logger
from parfocal_runtime.models.versions import is_complete
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import in_thread

_SECONDS = 5.0

log = get_logger(__name__)


class References:
    """Looks for what a new round names: its project, the rounds of its history, and its models.

    Args:
        works: The table of rounds.
        peers: The services; of them the one of labels is asked.
        store: Where the models are.
    """

    def __init__(self, works: WorkStore, peers: Peers, store: ObjectStore) -> None:
        self._works = works
        self._peers = peers
        self._store = store

    async def require(self, key: WorkKey, spec: rounds.RoundSpec) -> None:
        """Return if everything is there, or if nobody answers whether it is.

        The first steps of a round need no labels, and the later ones wait for the label store.

        Raises:
            NotFound: If there is no such project (`ERROR_REASON_PROJECT_NOT_FOUND`), an earlier
                round that nobody knows (`ERROR_REASON_WORK_NOT_FOUND`), or no such version of a
                model that the round works with (`ERROR_REASON_MODEL_NOT_FOUND`).
        """
        await self._require_known(key, spec)
        try:
            async with asyncio.timeout(_SECONDS):
                await self._require_versions(spec)
        except (TimeoutError, Unavailable) as error:
            log.warning(
                "cannot look for the models of a round", round=key.name, problem=repr(error)
            )

    async def _require_known(self, key: WorkKey, spec: rounds.RoundSpec) -> None:
        try:
            await self._peers.labels.GetProject(
                labels_service_pb2.GetProjectRequest(name=f"projects/{key.project}"),
                timeout=_SECONDS,
            )
            for index, name in enumerate(spec.history):
                earlier = WorkKey(key.project, "round", name)
                if not await self._is_known(earlier):
                    raise NotFound(
                        "ERROR_REASON_WORK_NOT_FOUND",
                        f"round.spec.history[{index}]: there is no {earlier.name}",
                        name=earlier.name,
                    )
        except grpc.RpcError as error:
            refusal = domain_error(error)
            if isinstance(refusal, NotFound):
                raise refusal from error
            log.warning("cannot ask for what a round names", round=key.name, problem=str(refusal))

    async def _require_versions(self, spec: rounds.RoundSpec) -> None:
        for field, model in _named_versions(spec):
            if not await in_thread(is_complete, self._store, model.name, model.version):
                raise NotFound(
                    "ERROR_REASON_MODEL_NOT_FOUND",
                    f"{field}: there is no version {model.version} of model {model.name}",
                    model=model.name,
                    version=model.version,
                )

    async def _is_known(self, earlier: WorkKey) -> bool:
        if await self._works.exists(earlier):
            return True
        # Labels may come from a round that this service never drove.
        queries = await self._peers.labels.ListQueries(
            labels_service_pb2.ListQueriesRequest(
                parent=f"projects/{earlier.project}", round=earlier.id, page_size=1
            ),
            timeout=_SECONDS,
        )
        return len(queries.queries) > 0


def _named_versions(spec: rounds.RoundSpec) -> Iterator[tuple[str, artifacts.ModelVersion]]:
    """Yield the versions that a round works with, by field, but for the latest ones."""
    # Candidates that are there need no model, unless it is trained further.
    if spec.base_model.version and (not spec.candidates or spec.HasField("training")):
        yield "round.spec.base_model", spec.base_model
    for index, choice in enumerate(spec.encoders):
        if choice.encoder.version:
            yield f"round.spec.encoders[{index}].encoder", choice.encoder
