"""Callers who share runs of a model never see each other's rows.

Thirty-two callers over sockets ask models that give back what they get. Each row says whose it is.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph
from parfocal_inference.batching import BatchingExecutor
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_inference.oip_servicer import oip_service
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.channels import aio_channel
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb
from proofs import amount, long_running

CALLERS = 32
MAX_ROWS = 16
VOCABULARY = 1000
ROWS = (0, *[1] * 8, 2, 2, 3, 3, 4, 5, 7, MAX_ROWS, MAX_ROWS + 1, 3 * MAX_ROWS + 5)
BAD = VOCABULARY + 7
MATRIX = 600
MODELS = ("numbers", "numbers-twice", "words")

Rows = npt.NDArray[np.int64]


def numbers() -> bytes:
    """Return a graph whose `y` is `x` and whose `z` is `x` + 1; it fails at `pick` >= 1000.

    It looks `pick` up in a table, so that one bad row fails the whole run. Each run multiplies
    two matrices for nothing, which takes as long for one row as for many: so requests meet.
    """
    shape = ("n", "side")
    busy = [
        helper.make_node("Cast", ["zero"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["float"], ["sum"], keepdims=0),
        helper.make_node("Add", ["matrix", "sum"], ["factor"]),
        helper.make_node("MatMul", ["factor", "factor"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["nought"], keepdims=0),
        helper.make_node("Cast", ["nought"], ["whole"], to=TensorProto.INT64),
    ]
    return graph(
        [
            helper.make_node("Gather", ["table", "pick"], ["zero"]),
            *busy,
            helper.make_node("Add", ["x", "zero"], ["known"]),
            helper.make_node("Add", ["known", "whole"], ["y"]),
            helper.make_node("Add", ["y", "one"], ["z"]),
        ],
        inputs=[("pick", TensorProto.INT64, ("n", 1)), ("x", TensorProto.INT64, shape)],
        outputs=[("y", TensorProto.INT64, shape), ("z", TensorProto.INT64, shape)],
        constants=[
            helper.make_tensor("table", TensorProto.INT64, [VOCABULARY], [0] * VOCABULARY),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("matrix", TensorProto.FLOAT, [MATRIX, MATRIX], [0.0] * MATRIX**2),
        ],
    )


def words() -> bytes:
    """Return a graph whose `y` is the text of `x`."""
    shape = ("n", "side")
    return graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[("x", TensorProto.STRING, shape)],
        outputs=[("y", TensorProto.STRING, shape)],
    )


@dataclass(frozen=True)
class Served:
    """A server, and the statistics of what it serves."""

    address: str
    statistics: InferenceStatistics


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("batching")
    store = open_store((folder / "store").as_uri())
    publish_all(store, folder)
    models = LoadedModels(ModelRepository(store), options=SessionOptions(threads=1))
    statistics = InferenceStatistics(models.loaded)
    batching = BatchingExecutor(statistics)
    watcher = ModelWatcher(models, interval_seconds=0.5)
    service = oip_service(models, watcher, batching, statistics)
    config = ServerConfig(port=0, metrics_port=0, anonymous_role="viewer")
    with serving_in_thread([service], config) as server:
        yield Served(server.address, statistics)
    batching.close()


def publish_all(store: ObjectStore, folder: Path) -> None:
    for name in MODELS:
        file = folder / "model.onnx"
        file.write_bytes(words() if name == "words" else numbers())
        publish_file(store, name, file)
        place = f"models/{name}/config.pbtxt"
        config = read_config(store.read(place))
        tune(config, instances=2 if name == "numbers-twice" else 1)
        # Text is passed on in no time, so that requests meet only if they wait for each other.
        delay_us = 3_000 if name == "words" else 300
        config.dynamic_batching.max_queue_delay_microseconds = delay_us
        store.write(place, write_config(config))


def tune(config: config_pb.ModelConfig, *, instances: int) -> None:
    config.max_batch_size = MAX_ROWS
    config.instance_group.add(count=instances, kind=config_pb.ModelInstanceGroup.KIND_CPU)
    batching = config.dynamic_batching
    batching.preferred_batch_size.extend([8])
    batching.priority_levels = 3
    batching.default_priority_level = 2
    batching.default_queue_policy.allow_timeout_override = True
    batching.priority_queue_policy[3].allow_timeout_override = True
    batching.priority_queue_policy[3].timeout_action = config_pb.ModelQueuePolicy.DELAY
    batching.priority_queue_policy[1].max_queue_size = 6


class Caller:
    """Asks one question after another and looks at every answer.

    Attributes:
        alone: Runs that its answers would have taken without other callers.
    """

    def __init__(self, number: int, stub: Any, told: Counter[str]) -> None:
        self._number = number
        self._stub = stub
        self._told = told
        self._chance = random.Random(number)
        self._asked = 0
        self.alone = 0

    async def ask(self) -> None:
        """Ask once: a random model, rows, shape, outputs, fault and patience."""
        self._asked += 1
        chance = self._chance
        rows = chance.choice(ROWS)
        side = chance.choice([1, 3, 3, 3])
        # Who asks, their how-manieth question, the row, the column.
        own = (self._number * 10**7 + self._asked) * 10**4 + np.arange(rows)[:, None] * 10
        x = own + np.arange(side)
        name = chance.choice(MODELS)
        is_bad = name != "words" and rows > 0 and chance.random() < 0.05
        outputs = chance.choice(
            [(), ("y",)] if name == "words" else [(), ("y",), ("z",), ("z", "y")]
        )
        request = text_request(x) if name == "words" else number_request(name, x, is_bad, chance)
        for output in outputs:
            request.outputs.add(name=output)
        request.parameters["priority"].int64_param = chance.randrange(5)
        request.parameters["timeout"].int64_param = chance.choice([*[0] * 8, 200, 2_000])
        ending = await self._ending(request, self._call(request))
        if isinstance(ending, pb.ModelInferResponse):
            assert not is_bad
            wanted = outputs or (("y",) if name == "words" else ("y", "z"))
            look_at(ending, x, wanted, is_text=name == "words")
            self._told["answered"] += 1
            self.alone += max(1, math.ceil(rows / MAX_ROWS))
        else:
            assert is_bad or ending is not grpc.StatusCode.INVALID_ARGUMENT
            self._told[ending.name] += 1

    def _call(self, request: pb.ModelInferRequest) -> Any:
        # A few have less patience than the server takes.
        timeout = 0.002 if self._chance.random() < 0.03 else 60.0
        return self._stub.ModelInfer(request, timeout=timeout)

    async def _ending(
        self, request: pb.ModelInferRequest, call: Any
    ) -> pb.ModelInferResponse | grpc.StatusCode:
        leaving = None
        if self._chance.random() < 0.05:
            loop = asyncio.get_running_loop()
            leaving = loop.call_later(self._chance.random() * 0.01, call.cancel)
        try:
            response: pb.ModelInferResponse = await call
        except grpc.aio.AioRpcError as error:
            return error.code()
        except asyncio.CancelledError:
            return grpc.StatusCode.CANCELLED
        finally:
            if leaving is not None:
                leaving.cancel()
        return response


def number_request(name: str, x: Rows, is_bad: bool, chance: random.Random) -> pb.ModelInferRequest:
    pick = np.array([[chance.randrange(VOCABULARY)] for _ in range(len(x))], np.int64)
    pick = pick.reshape(len(x), 1)
    if is_bad:
        pick[chance.randrange(len(x))] = BAD
    request = pb.ModelInferRequest(model_name=name)
    arrays = [("x", x), ("pick", pick)]
    chance.shuffle(arrays)
    for tensor, array in arrays:
        request.inputs.add(name=tensor, datatype="INT64", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def text_request(x: Rows) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="words")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=x.shape)
    # Without any contents at all there would be none of the right type either.
    tensor.contents.bytes_contents.extend(str(value).encode() for value in x.flat)
    return request


def look_at(
    answer: pb.ModelInferResponse, x: Rows, wanted: Sequence[str], *, is_text: bool
) -> None:
    assert [output.name for output in answer.outputs] == list(wanted)
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        assert tuple(output.shape) == x.shape
        if is_text:
            expected = b"".join(
                len(word).to_bytes(4, "little") + word for word in (str(v).encode() for v in x.flat)
            )
            assert raw == expected
        else:
            found = np.frombuffer(raw, np.int64).reshape(x.shape)
            np.testing.assert_array_equal(found, x + (output.name == "z"))


@long_running
def test_every_caller_gets_the_answer_to_what_they_asked(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    questions = amount(4_000, all=50_000)
    told: Counter[str] = Counter()

    async def ask_all() -> int:
        async with aio_channel(served.address) as channel:
            stub = oip_grpc.GRPCInferenceServiceStub(channel)
            callers = [Caller(number, stub, told) for number in range(CALLERS)]

            async def keep_asking(caller: Caller) -> None:
                for _ in range(questions // CALLERS):
                    await caller.ask()

            await asyncio.gather(*map(keep_asking, callers))
            # Calls that were cancelled end a moment later, and need the loop for that.
            await asyncio.sleep(0.5)
            return sum(caller.alone for caller in callers)

    alone = asyncio.run(ask_all())

    # ONNX Runtime writes a line for each of the faulty requests.
    capfd.readouterr()
    counts = [served.statistics.of(name, 1) for name in MODELS]
    runs = Counter[int]()
    for counted in counts:
        runs.update({rows: each.runs for rows, each in counted.snapshot().by_rows.items()})
    print(
        f"{questions} questions: {dict(told)}; {alone} runs if alone, "
        f"{runs.total()} were made: {dict(sorted(runs.items()))}"
    )
    # Whatever their endings, none is left.
    assert sum(told.values()) == questions // CALLERS * CALLERS
    assert all(counted.waiting == counted.queued == 0 for counted in counts)
    assert max(runs) == MAX_ROWS
    # What the test means to provoke must have happened.
    assert told["answered"] > questions / 2
    assert told["INVALID_ARGUMENT"] > 0
    assert told["DEADLINE_EXCEEDED"] > 0
    assert told["CANCELLED"] > 0
    assert runs.total() < 0.95 * alone
