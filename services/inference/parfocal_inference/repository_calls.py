"""Calls about the model repository, which two services of the protocol's dialects share."""

from __future__ import annotations

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip_convert import index_to_pb, model_to_load, model_to_unload
from parfocal_runtime.models.index import ModelState
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.tasks import in_thread


class RepositoryCalls:
    """Lists, loads and unloads the models of a process.

    Args:
        models: The models.
    """

    def __init__(self, models: LoadedModels) -> None:
        self._models = models

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """Return the versions of the repository, or those that are ready."""
        entries = await in_thread(self._models.index)
        return index_to_pb(
            entry for entry in entries if entry.state is ModelState.READY or not request.ready
        )

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load the newest version of a model."""
        name = model_to_load(request)
        await in_thread(self._models.load, name)
        return pb.RepositoryModelLoadResponse(model_name=name, is_loaded=True)

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Drop a model."""
        name = model_to_unload(request)
        await in_thread(self._models.unload, name)
        return pb.RepositoryModelUnloadResponse(model_name=name, is_unloaded=True)
