"""Whether what a round names is there, asked before the round is created."""

from __future__ import annotations

import grpc

from parfocal.labels.v1 import labels_service_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.peers import Peers
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import NotFound
from parfocal_runtime.logs import get_logger

_SECONDS = 5.0

log = get_logger(__name__)


class References:
    """Looks for what a new round names: its project, and the rounds of its history.

    Args:
        works: The table of rounds.
        peers: The services; of them the one of labels is asked.
    """

    def __init__(self, works: WorkStore, peers: Peers) -> None:
        self._works = works
        self._peers = peers

    async def require(self, key: WorkKey, spec: rounds.RoundSpec) -> None:
        """Return if everything is there, or if the label store cannot be asked.

        The first steps of a round need no labels, and the later ones wait for the label store.

        Raises:
            NotFound: If there is no such project (`ERROR_REASON_PROJECT_NOT_FOUND`), or an earlier
                round that nobody knows (`ERROR_REASON_WORK_NOT_FOUND`).
        """
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
