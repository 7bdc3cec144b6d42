"""What clients of the inference service see when something around it breaks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from onnx import TensorProto, helper

from inference_requests import IMAGE, block, failure
from oip_requests import base_request
from onnx_graphs import base_model, base_model_card, graph, identity
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_inference.app import build
from parfocal_inference.config import InferenceConfig
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import Exhausted
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import LocalStore, ObjectStore, S3Settings, open_store

SECONDS = 60.0
CALLERS = 32
SIDE = 500
LARGE = 1 << 20

Served = Callable[..., AbstractContextManager[grpc.Channel]]


def slow() -> bytes:
    """Return a graph that gives `x` back, after some milliseconds of multiplying.

    It has no batch dimension, so that requests stand in line.
    """
    nodes = [
        helper.make_node("MatMul", ["matrix", "matrix"], ["once"]),
        helper.make_node("Add", ["once", "x"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "matrix"], ["twice"]),
        helper.make_node("ReduceMax", ["twice"], ["nought"], keepdims=0),
        helper.make_node("Add", ["x", "nought"], ["y"]),
    ]
    return graph(
        nodes,
        inputs=[("x", TensorProto.FLOAT, (1,))],
        outputs=[("y", TensorProto.FLOAT, (1,))],
        constants=[helper.make_tensor("matrix", TensorProto.FLOAT, [SIDE, SIDE], [0.0] * SIDE**2)],
    )


def slow_request(number: int) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="slow")
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(number)
    return made


@contextmanager
def process(store: ObjectStore) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service as a process of its own, and its address."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PARFOCAL_INFERENCE_PORT": "0",
        "PARFOCAL_INFERENCE_SESSION_THREADS": "1",
        "PARFOCAL_STORE_URI": store.root,
        "PARFOCAL_ANONYMOUS_ROLE": "viewer",
        "PARFOCAL_GRACE_SECONDS": "50",
    }
    command = [sys.executable, "-m", "parfocal_inference"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as running:
        log = running.stderr
        assert log is not None
        try:
            events = map(json.loads, log)
            address = next(each["address"] for each in events if each["event"] == "listening")
            draining = threading.Thread(target=deque, args=(log,), kwargs={"maxlen": 0})
            draining.start()
            yield running, address
            draining.join()
        finally:
            running.kill()


def ready(stub: Any, name: str) -> None:
    end = time.monotonic() + SECONDS
    while not is_ready(stub, name):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_ready(stub: Any, name: str) -> bool:
    try:
        answer = stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=SECONDS)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        # So says a server that is starting.
        return False
    return bool(answer.ready)


def test_what_waits_in_line_when_sigterm_comes_is_answered(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "slow.onnx").write_bytes(slow())
    publish_file(store, "slow", tmp_path / "slow.onnx")

    with process(store) as (running, address), sync_channel(address) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        ready(stub, "slow")
        calls = [
            stub.ModelInfer.future(slow_request(number), timeout=SECONDS)
            for number in range(1, CALLERS + 1)
        ]
        # Behind them on the same connection: when this is answered, they have arrived.
        stub.ServerLive(pb.ServerLiveRequest(), timeout=SECONDS)
        waiting = sum(not call.done() for call in calls)
        running.send_signal(signal.SIGTERM)
        found = [call.result().raw_output_contents[0] for call in calls]
        ending = running.wait(timeout=SECONDS)

    assert waiting > CALLERS // 4
    numbers = [memoryview(raw).cast("f")[0] for raw in found]
    assert numbers == list(range(1, CALLERS + 1))
    assert ending == 0


def test_a_model_that_is_deleted_under_load_is_answered_or_not_found(
    store: ObjectStore, served: Served
) -> None:
    endings: Counter[str] = Counter()

    def keep_asking(stub: Any) -> None:
        while True:
            try:
                answer = stub.ModelInfer(base_request(51, model="grey"), timeout=SECONDS)
            except grpc.RpcError as error:
                endings[domain_error(error).reason] += 1
                return
            assert memoryview(answer.raw_output_contents[0]).cast("f")[0] == pytest.approx(0.2)
            endings["answered"] += 1

    with served(store, model_poll_seconds=0.05) as channel, ThreadPoolExecutor(4) as callers:
        stub: Any = GRPCInferenceServiceStub(channel)
        ready(stub, "grey")
        asking = [callers.submit(keep_asking, stub) for _ in range(4)]
        end = time.monotonic() + SECONDS
        while endings["answered"] < 20:
            assert time.monotonic() < end
            time.sleep(0.01)
        store.delete_prefix("models/grey/")
        for each in asking:
            each.result()

    assert endings.keys() == {"answered", "ERROR_REASON_MODEL_NOT_FOUND"}
    assert endings["ERROR_REASON_MODEL_NOT_FOUND"] == 4


def test_a_store_that_is_away_is_unavailable_when_a_model_is_to_be_loaded(served: Served) -> None:
    with socket.socket() as listener:
        # Bound but not listening: whoever connects is turned away.
        listener.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = S3Settings(endpoint=away, access_key="a", secret_key="b", secure=False)
        with served(open_store("s3://bucket/models", s3=settings)) as channel:
            stub: Any = GRPCInferenceServiceStub(channel)
            code, reason, _ = failure(lambda: stub.ModelInfer(base_request(), timeout=SECONDS))

    assert (code, reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "ERROR_REASON_DEPENDENCY_UNAVAILABLE",
    )


def test_a_chunk_that_is_corrupt_is_told_and_the_service_goes_on(
    store: LocalStore, served: Served
) -> None:
    path = next(each for each in store.list(f"{IMAGE}/c/"))
    store.write(path, b"these are no voxels")

    with served(store) as channel:
        stub: Any = InferenceServiceStub(channel)
        code, reason, metadata = failure(lambda: stub.SegmentBlock(block(), timeout=SECONDS))
        models: Any = GRPCInferenceServiceStub(channel)
        answer = models.ModelInfer(base_request(51, model="grey"), timeout=SECONDS)

    assert (code, reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ERROR_REASON_INVALID_ARTIFACT",
    )
    assert metadata["path"] == IMAGE
    assert answer.model_name == "grey"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of two megabytes in a folder."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_told_and_the_same_block_is_made_once_there_is_space(
    tmp_path: Path, fill: Callable[[ObjectStore], None], served: Served
) -> None:
    ballast = tmp_path / "disk" / "ballast"
    with small_disk(tmp_path / "disk"):
        store = LocalStore(tmp_path / "disk" / "store")
        fill(store)
        with served(store) as channel:
            stub: Any = InferenceServiceStub(channel)
            fill_up(ballast)
            code, reason, _ = failure(lambda: stub.SegmentBlock(block(), timeout=SECONDS))
            ballast.unlink()
            done = stub.SegmentBlock(block(), timeout=SECONDS)

    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ERROR_REASON_STORE_FULL")
    assert done.windows > 0
    assert not done.already_done


def test_a_model_for_which_there_is_no_space_is_not_there(
    tmp_path: Path, fill: Callable[[ObjectStore], None]
) -> None:
    ballast = tmp_path / "disk" / "ballast"
    with small_disk(tmp_path / "disk"):
        store = LocalStore(tmp_path / "disk" / "store")
        fill(store)
        models = ModelRepository(store)
        other, card = base_model(divisor=100.0), base_model_card(divisor=100.0)
        fill_up(ballast)
        with pytest.raises(Exhausted) as caught:
            models.publish("grey", other, card=card, lineage={})
        left = models.versions("grey")
        ballast.unlink()
        published = models.publish("grey", other, card=card, lineage={})

    assert caught.value.reason == "ERROR_REASON_STORE_FULL"
    assert left == [1]
    assert published > 1


def large_request(number: int) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="same", id=str(number))
    made.inputs.add(name="x", datatype="UINT8", shape=[1, LARGE])
    made.raw_input_contents.append(bytes(LARGE))
    return made


def settled(stub: Any, name: str) -> int:
    """The requests that were answered, once no more are."""
    before, now = -1, 0
    while now != before or not now:
        before = now
        time.sleep(0.5)
        now = answered_so_far(stub, name)
    return now


def answered_so_far(stub: Any, name: str) -> int:
    (counted,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=name)).model_stats
    return int(counted.inference_stats.success.count)


def test_who_does_not_read_answers_is_served_no_further_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "same.onnx").write_bytes(identity(TensorProto.UINT8, ("n", LARGE)))
    publish_file(store, "same", tmp_path / "same.onnx")
    numbers = range(100)

    config = InferenceConfig(port=0, anonymous_role="viewer", session_threads=1)
    with (
        serving_in_thread([build(config, store)], config) as server,
        sync_channel(server.address) as slow_channel,
        sync_channel(server.address) as channel,
    ):
        slow: Any = GRPCInferenceServiceStub(slow_channel)
        quick: Any = GRPCInferenceServiceStub(channel)
        ready(quick, "same")
        stream = slow.ModelStreamInfer(large_request(each) for each in numbers)
        answered = settled(quick, "same")
        mine = quick.ModelInfer(large_request(7), timeout=SECONDS)
        found = [each.infer_response.id for each in stream]

    assert answered < len(numbers) / 2
    assert mine.id == "7"
    assert found == [str(number) for number in numbers]


def test_connections_that_say_nothing_more_hold_up_nobody(store: ObjectStore) -> None:
    beginnings = (b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00")
    config = InferenceConfig(port=0, anonymous_role="viewer", session_threads=1)
    with (
        serving_in_thread([build(config, store)], config) as server,
        sync_channel(server.address) as channel,
        ExitStack() as silent,
    ):
        host, _, port = server.address.rpartition(":")
        for beginning in beginnings * 20:
            each = silent.enter_context(socket.create_connection((host, int(port))))
            each.sendall(beginning)
        stub: Any = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(base_request(51, model="grey"), timeout=SECONDS)

    assert answer.model_name == "grey"
