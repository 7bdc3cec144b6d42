"""gRPC methods of the inference service."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal.inference.v1 import inference_service_pb2_grpc as service_grpc
from parfocal_inference import convert
from parfocal_inference.config import InferenceConfig
from parfocal_inference.detections import detect_into_store
from parfocal_inference.propose import propose_candidates
from parfocal_inference.segmentation import BlockLimits, segment_into_store
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag, Places

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class InferenceServicer(service_grpc.InferenceServiceServicer):
    """Works on arrays of the object store; keeps no state of its own."""

    def __init__(
        self, store: ObjectStore, models: LoadedModels, *, config: InferenceConfig
    ) -> None:
        self._store = store
        self._models = models
        self._config = config
        self._limits = BlockLimits(
            windows_per_run=config.windows_per_run, most_bytes=config.max_block_bytes
        )
        self._blocks = Places(config.parallel_blocks)
        # One at a time: the same request sent twice then finds its set complete.
        self._proposals = Places(1)

    async def SegmentBlock(
        self, request: pb.SegmentBlockRequest, context: Context
    ) -> pb.SegmentBlockResponse:
        """Predict one box of an image."""
        most = self._config.max_block_voxels
        task = convert.block_task_from_pb(request, self._store.resolve, most_voxels=most)
        done = await self._blocks.in_thread(
            segment_into_store,
            self._store,
            self._models,
            task,
            limits=self._limits,
            cancel=CancelFlag(),
        )
        return convert.block_done_to_pb(done)

    async def ProposeCandidates(
        self, request: pb.ProposeCandidatesRequest, context: Context
    ) -> pb.ProposeCandidatesResponse:
        """Make a candidate set."""
        most = self._config.max_block_voxels
        proposal = convert.proposal_from_pb(request, self._store.resolve, most_voxels=most)
        most = self._config.max_candidates
        proposed = await self._proposals.in_thread(
            propose_candidates, self._store, proposal, most=most, cancel=CancelFlag()
        )
        return convert.proposed_to_pb(proposal.folder, proposed)

    async def DetectPatches(
        self, request: pb.DetectPatchesRequest, context: Context
    ) -> pb.DetectPatchesResponse:
        """Find objects in one box of an image."""
        most = self._config.max_block_voxels
        task = convert.detection_from_pb(request, self._store.resolve, most_voxels=most)
        detected = await self._blocks.in_thread(
            detect_into_store,
            self._store,
            self._models,
            task,
            batch=self._config.patches_per_run,
            most_bytes=self._config.max_block_bytes,
            cancel=CancelFlag(),
        )
        return convert.detected_to_pb(task.table, detected)
