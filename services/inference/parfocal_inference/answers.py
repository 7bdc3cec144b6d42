"""Inference requests of the Open Inference Protocol, from their message to the answer's."""

from __future__ import annotations

import time

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip_convert import schedule_from_pb, version_from_pb
from parfocal_inference.serving import Inference
from parfocal_inference.tensors import inputs_from_pb, outputs_from_pb, outputs_to_pb
from parfocal_runtime.errors import DomainError, InvalidInput
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.status import message_of
from parfocal_runtime.tasks import in_thread


class Answers:
    """Answers requests, each with one run.

    Args:
        models: The models.
        inference: Runs them.
    """

    def __init__(self, models: LoadedModels, inference: Inference) -> None:
        self._models = models
        self._inference = inference

    async def model(self, name: str, version: str, *, field: str) -> LoadedModel:
        """Return the model that a request names.

        Args:
            name: Name of the model.
            version: A decimal number; empty is the newest.
            field: Where in the request the version stands.

        Raises:
            InvalidInput: If the version is no number (`ERROR_REASON_INVALID_FIELD`).
            NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
            WrongState: If it cannot be used.
        """
        wanted = version_from_pb(version, field=field)
        # A thread costs more than the look-up; it is needed only where the store is asked.
        model = self._models.at_hand(name, wanted)
        return model if model else await in_thread(self._models.get, name, wanted)

    async def answer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """Return the answer to a request.

        Raises:
            DomainError: As `Inference.run`, or if the request does not fit the model.
        """
        started = time.monotonic_ns()
        model = await self.model(request.model_name, request.model_version, field="model_version")
        try:
            schedule = schedule_from_pb(request)
            inputs = inputs_from_pb(request, model.session.inputs)
            outputs = outputs_from_pb(request, model.session.outputs)
        except InvalidInput:
            self._inference.refused(model, started_ns=started)
            raise

        def packed(found: dict[str, Array]) -> pb.ModelInferResponse:
            response = pb.ModelInferResponse(
                model_name=model.name, model_version=str(model.version), id=request.id
            )
            outputs_to_pb(response, found, model.session.outputs)
            return response

        return await self._inference.run(
            model, inputs, outputs, started_ns=started, pack=packed, schedule=schedule
        )

    async def answer_in_stream(self, request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        """Return the answer to a request of a stream, which says so if the request failed."""
        try:
            return pb.ModelStreamInferResponse(infer_response=await self.answer(request))
        except DomainError as error:
            return pb.ModelStreamInferResponse(
                error_message=f"{message_of(error)} ({error.reason})",
                infer_response=pb.ModelInferResponse(id=request.id),
            )
