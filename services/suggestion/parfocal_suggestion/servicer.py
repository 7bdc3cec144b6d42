"""gRPC methods of the suggestion service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeAlias

import grpc

from parfocal.suggestion.v1 import selection_pb2 as selection_pb
from parfocal.suggestion.v1 import suggestion_service_pb2 as pb
from parfocal.suggestion.v1 import suggestion_service_pb2_grpc as service_grpc
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag, in_thread
from parfocal_suggestion import convert
from parfocal_suggestion.archive import load
from parfocal_suggestion.explain import explain
from parfocal_suggestion.making import make_selection
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.replay import replay
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.verdicts import propagate

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SuggestionServicer(service_grpc.SuggestionServiceServicer):
    """Answers calls from the object store; what it remembers only makes it quicker."""

    def __init__(self, store: ObjectStore, memory: Memory) -> None:
        self._store = store
        self._memory = memory

    async def Suggest(self, request: pb.SuggestRequest, context: Context) -> selection_pb.Selection:
        """Choose candidates and keep the choice."""
        order = await in_thread(convert.order_from_pb, request, self._store.resolve)
        now = datetime.now(UTC)
        stored = await in_thread(
            make_selection, self._store, order, now=now, cancel=CancelFlag(), memory=self._memory
        )
        return await in_thread(convert.selection_to_pb, stored)

    async def GetSelection(
        self, request: pb.GetSelectionRequest, context: Context
    ) -> selection_pb.Selection:
        """Get a selection."""
        name = convert.selection_name_from_pb(request.name, field="name")
        return convert.selection_to_pb(await in_thread(load, self._store, *name))

    async def ReplaySelection(
        self, request: pb.ReplaySelectionRequest, context: Context
    ) -> pb.ReplaySelectionResponse:
        """Choose again and compare."""
        name = convert.selection_name_from_pb(request.name, field="name")
        return convert.replay_to_pb(
            await in_thread(replay, self._store, *name, cancel=CancelFlag(), memory=self._memory)
        )

    async def ExplainSelection(
        self, request: pb.ExplainSelectionRequest, context: Context
    ) -> pb.ExplainSelectionResponse:
        """Explain candidates."""
        name = convert.selection_name_from_pb(request.name, field="name")
        wanted = convert.explained_from_pb(request)
        return convert.explanations_to_pb(await in_thread(explain, self._store, *name, wanted))

    async def PropagateLabels(
        self, request: pb.PropagateLabelsRequest, context: Context
    ) -> pb.PropagateLabelsResponse:
        """Carry labels to all candidates of a set."""
        wish = await in_thread(convert.propagation_from_pb, request, self._store.resolve)
        propagated = await in_thread(propagate, self._store, wish)
        # A verdict for each of a million candidates takes seconds to write.
        return await in_thread(convert.propagated_to_pb, propagated)

    async def ListStrategies(
        self, request: pb.ListStrategiesRequest, context: Context
    ) -> pb.ListStrategiesResponse:
        """List the strategies."""
        return convert.strategies_to_pb(STRATEGIES)
