"""Predictions on images and the candidates in them, all by reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parfocal._boxes import Bounds, box_to_pb, model_to_pb
from parfocal._connection import Connection
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.inference.v1 import inference_service_pb2 as messages
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

# A block of an image may take a slow model minutes.
_LONG_SECONDS = 3600.0


class Segmentation:
    """Probability maps, and detections."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = InferenceServiceStub(connection.channel)

    def segment_block(
        self,
        image: str,
        prediction: str,
        *,
        box: Bounds,
        model: str | ModelVersion,
        overlap: float | None = None,
        augmentation: int = 1,
        empty_contrast: int | None = None,
        timeout_seconds: float = _LONG_SECONDS,
    ) -> messages.SegmentBlockResponse:
        """Predict one box of an image into its probability map; a box that is there stays.

        Args:
            image: Path of the image's array in the object store.
            prediction: Path of the probability array; it is made if it is missing.
            box: Half-open, two triples (z, y, x), in voxels.
            model: `name` (its latest version) or `name/version`.
            overlap: Share of a window that neighbours have in common; by default a quarter, and
                more where the model's halo asks for it.
            augmentation: Flipped and transposed views whose mean the map is: 1, 4, 8 or 16.
            empty_contrast: Windows whose grey values differ by at most this are taken for empty:
                the model does not run on them. By default none is.
            timeout_seconds: How long it may take.

        Example:
            >>> client.segmentation.segment_block(  # doctest: +SKIP
            ...     image.path, "projects/vnc/predictions/p.zarr",
            ...     box=((0, 0, 0), (20, 512, 512)), model="mito",
            ... ).windows
            16
        """
        request = messages.SegmentBlockRequest(
            image=image,
            prediction=prediction,
            box=box_to_pb(box),
            model=model_to_pb(model),
            overlap=overlap,
            augmentation=augmentation,
            empty=None if empty_contrast is None else messages.EmptyRule(contrast=empty_contrast),
        )
        return self._connection.call(
            self._stub.SegmentBlock, request, timeout_seconds=timeout_seconds
        )

    def detect(
        self,
        image: str,
        detections: str,
        *,
        box: Bounds,
        model: str | ModelVersion,
        stride: int = 0,
        threshold: float = 0.0,
        left_out: Iterable[int] = (),
        timeout_seconds: float = _LONG_SECONDS,
    ) -> messages.DetectPatchesResponse:
        """Find objects in one box of an image with a patch classifier; a table that is there stays.

        Args:
            image: Path of the image's array in the object store.
            detections: Path of the table, `projects/{project}/detections/...parquet`.
            box: Half-open, two triples (z, y, x), in voxels.
            model: `name` (its latest version) or `name/version`.
            stride: Pixels between neighbouring patches; 0 is a tenth of a patch.
            threshold: Least confidence of a detection; 0 is 0.5.
            left_out: Classes that are nothing to find, such as background.
            timeout_seconds: How long it may take.

        Example:
            >>> client.segmentation.detect(  # doctest: +SKIP
            ...     image.path, "projects/blood/detections/smear.parquet",
            ...     box=((0, 0, 0), (1, 480, 640)), model="cells",
            ... ).count
            21
        """
        request = messages.DetectPatchesRequest(
            image=image,
            detections=detections,
            box=box_to_pb(box),
            model=model_to_pb(model),
            stride=stride,
            threshold=threshold,
            left_out=left_out,
        )
        return self._connection.call(
            self._stub.DetectPatches, request, timeout_seconds=timeout_seconds
        )


class Candidates:
    """Candidate sets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = InferenceServiceStub(connection.channel)

    def propose(
        self,
        candidates: str,
        *,
        sources: Mapping[str, str] | Iterable[messages.CandidateSource],
        threshold: float = 0.0,
        minimum_voxels: int = 0,
        patch_side: int = 0,
        timeout_seconds: float = _LONG_SECONDS,
    ) -> messages.ProposeCandidatesResponse:
        """Turn probability maps into a candidate set: a table and aligned patches.

        Args:
            candidates: Folder of the set, `projects/{project}/candidates/{set}`.
            sources: By the path of an image: the path of its probability map; or messages, which
                can leave parts out.
            threshold: Probability above which a voxel belongs to an object; 0 is the default, 0.5.
            minimum_voxels: Objects with fewer are dropped; 0 is the default, 30.
            patch_side: Side of a patch in pixels; 0 is the default, 64.
            timeout_seconds: How long it may take.

        Example:
            >>> client.candidates.propose(  # doctest: +SKIP
            ...     "projects/vnc/candidates/set-1", sources={image.path: prediction}
            ... ).count
            620
        """
        if isinstance(sources, Mapping):
            sources = [
                messages.CandidateSource(image=image, prediction=prediction)
                for image, prediction in sources.items()
            ]
        request = messages.ProposeCandidatesRequest(
            candidates=candidates,
            sources=sources,
            threshold=threshold,
            minimum_voxels=minimum_voxels,
            patch_side=patch_side,
        )
        return self._connection.call(
            self._stub.ProposeCandidates, request, timeout_seconds=timeout_seconds
        )
