"""What `volume.py` measures with: an image, a network, services as processes, and the peer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from serving_models import VOLUME, unet

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_runtime.arrays import create_array
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.models.cards import CardFields, base_card
from parfocal_runtime.models.providers import CPU
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import open_session
from parfocal_runtime.store import ObjectStore, S3Settings

HERE = Path(__file__).resolve().parent
WINDOW: Triple = (VOLUME[1], VOLUME[2], VOLUME[3])
CHUNKS = (16, 128, 128)
TICKS = os.sysconf("SC_CLK_TCK")

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cost:
    """What something took.

    Attributes:
        wall: Seconds of wall clock.
        cpu: Seconds of processor time.
    """

    wall: float
    cpu: float


def base_unet() -> bytes:
    """Return the U-Net as a base model: uint8 `image` in, `probability` out."""
    model = onnx.load_from_string(unet())
    graph = model.graph
    shape = ["n", *VOLUME]
    scale = numpy_helper.from_array(np.array(1 / 255, np.float32), "scale")
    cast = helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT)
    graph.node.insert(0, cast)
    graph.node.insert(1, helper.make_node("Mul", ["grey", "scale"], ["x"]))
    graph.node[-1].output[0] = "probability"
    graph.initializer.append(scale)
    graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.UINT8, shape))
    graph.output[0].CopyFrom(helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape))
    return bytes(model.SerializeToString())


def smoothing() -> bytes:
    """Return a base model of one small convolution, for what is about maps and not about speed."""
    shape = ["n", *VOLUME]
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["grey", "kernel"], ["logit"], pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    kernel = np.random.default_rng(0).normal(0, 0.01, (1, 1, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "smoothing",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def publish(store: ObjectStore, name: str, model: bytes) -> None:
    """Publish a base model with the card that it deserves."""
    image = np.random.default_rng(0).integers(0, 256, (1, *VOLUME), np.uint8)
    found = open_session(model).run({"image": image})["probability"]
    card: CardFields = base_card(
        "Of the benchmark.",
        test_input=image,
        test_output=found.astype(np.float32),
        halo=(0, 0, 0),
        voxel_size_nm=(1.0, 1.0, 1.0),
    )
    ModelRepository(store).publish(name, model, card=card, lineage={})


def picture(shape: Triple) -> Image:
    """Return an image (z, y, x) that compresses about as microscopy does."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: shape[1], : shape[2]]
    waves = 128 + 40 * np.sin(y / 17) * np.cos(x / 23)
    image = np.empty(shape, np.uint8)
    for section in image:
        section[:] = np.clip(waves + rng.normal(0, 12, shape[1:]), 0, 255)
    return image


def write_image(store: ObjectStore, path: str, image: Image) -> None:
    """Write an image as services expect it."""
    chunks = [min(side, most) for side, most in zip(image.shape, CHUNKS, strict=True)]
    array = create_array(store, path, shape=image.shape, dtype=np.uint8, chunks=chunks)
    array.write(image).result()


def request(image: str, prediction: str, box: Box, *, model: str) -> pb.SegmentBlockRequest:
    """Return the request for a block."""
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    return pb.SegmentBlockRequest(
        image=image,
        prediction=prediction,
        box=geometry_pb2.Box(
            start=geometry_pb2.Index3(z=z0, y=y0, x=x0), stop=geometry_pb2.Index3(z=z1, y=y1, x=x1)
        ),
        model=artifact_pb2.ModelVersion(name=model, version=1),
    )


class Replica:
    """An inference service as a process of its own.

    Attributes:
        address: Where it answers.
        process: The process.
    """

    def __init__(
        self,
        store_uri: str,
        folder: Path,
        *,
        threads: int,
        s3: S3Settings | None,
        providers: tuple[str, ...] = (CPU,),
    ) -> None:
        tokens, secret = folder / "tokens", folder / "token"
        if not secret.exists():
            secret.write_text(write_token(tokens, name="benchmark", role=Role.CURATOR))
        self.token = secret.read_text()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PARFOCAL_INFERENCE_PORT": "0",
            "PARFOCAL_INFERENCE_METRICS_PORT": "0",
            # Where other work takes the processor away, looking for new models would count for
            # more than it costs.
            "PARFOCAL_INFERENCE_MODEL_POLL_SECONDS": "60",
            "PARFOCAL_INFERENCE_SESSION_THREADS": str(threads),
            "PARFOCAL_INFERENCE_PROVIDERS": ",".join(providers),
            "PARFOCAL_STORE_URI": store_uri,
            "PARFOCAL_TOKENS_FILE": str(tokens),
        }
        if s3 is not None:
            environment["PARFOCAL_S3_ENDPOINT"] = s3.endpoint
            environment["PARFOCAL_S3_ACCESS_KEY"] = s3.access_key
            environment["PARFOCAL_S3_SECRET_KEY"] = s3.secret_key
            environment["PARFOCAL_S3_SECURE"] = str(s3.secure).lower()
        command = [sys.executable, "-m", "parfocal_inference"]
        self.process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder
        )
        self.address = self._listening()
        self._channel = sync_channel(self.address, token=self.token)
        self.stub = InferenceServiceStub(self._channel)

    def _listening(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if '"listening"' in line:
                # Read on, so that the pipe never fills up.
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return str(json.loads(line)["address"])
        raise RuntimeError("the service ended before it listened")

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self, name: str) -> int:
        """Return `VmRSS`, the memory held now, or `VmHWM`, the most that was held."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def forget_peak(self) -> None:
        """Let `VmHWM` begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        self.process.kill()

    def close(self) -> None:
        """Hang up and end it."""
        self._channel.close()
        self.process.terminate()
        self.process.wait()


@contextmanager
def replica(
    store: ObjectStore,
    folder: Path,
    *,
    threads: int = 1,
    s3: S3Settings | None = None,
    providers: tuple[str, ...] = (CPU,),
) -> Iterator[Replica]:
    """Yield a service over `store` until the block ends."""
    made = Replica(store.root, folder, threads=threads, s3=s3, providers=providers)
    try:
        yield made
    finally:
        made.close()


class Monai:
    """MONAI in its own environment, with the weights of a base model of `serving_models`.

    Args:
        python: Python of the environment.
        folder: Where files may be written.
        image: What is predicted, (z, y, x) uint8.
        model: The ONNX file.
        threads: Of torch.
        device: Where torch runs, `cpu` or `cuda`.
    """

    def __init__(
        self,
        python: str,
        folder: Path,
        image: Image,
        *,
        model: bytes,
        threads: int,
        device: str = "cpu",
    ) -> None:
        self._folder = folder
        graph = onnx.load_from_string(model).graph
        weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        # MONAI is given grey values from 0 to 1.
        nodes = [node for node in graph.node if node.op_type not in ("Cast", "Mul")]
        names = {nodes[0].input[0]: "x", graph.output[0].name: "y"}
        listed = [
            [node.op_type, [names.get(name, name) for name in node.input],
             names.get(node.output[0], node.output[0])]
            for node in nodes
        ]  # fmt: skip
        np.save(folder / "image.npy", image)
        np.savez(folder / "weights.npz", **weights)
        (folder / "graph.json").write_text(json.dumps(listed))
        script = str(HERE / "volume_monai.py")
        command = [python, script, str(folder), str(threads), "0.25", device]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self, sw_batch: int, shape: Triple, *, bits: str = "fp32") -> Cost:
        """Predict the corner of `shape` of the image once, with floats of so many bits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{sw_batch} {shape[0]} {shape[1]} {shape[2]} {bits}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Cost(**answer)

    def map(self) -> Image:
        """Return what the last run made."""
        return np.asarray(np.load(self._folder / "map.npy"), np.uint8)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
