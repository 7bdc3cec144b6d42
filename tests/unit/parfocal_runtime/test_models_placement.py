from __future__ import annotations

import pytest

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.placement import Placement, placements
from parfocal_runtime.models.providers import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    SessionOptions,
    openvino_settings,
    with_settings,
)

ON_CPU = SessionOptions(threads=3)
ON_CUDA = SessionOptions(providers=(CUDA, CPU))


def placed(text: str, options: SessionOptions = ON_CPU) -> tuple[Placement, ...]:
    return placements(read_config(text.encode()), options)


def gpu(name: str, parameters: str = "") -> str:
    return f"""instance_group [ {{ kind: KIND_GPU }} ] optimization {{ execution_accelerators {{
        gpu_execution_accelerator: [ {{ name: "{name}" {parameters} }} ] }} }}"""


def cpu(name: str, parameters: str = "") -> str:
    return f"""optimization {{ execution_accelerators {{
        cpu_execution_accelerator: [ {{ name: "{name}" {parameters} }} ] }} }}"""


@pytest.mark.parametrize("options", [ON_CPU, ON_CUDA])
def test_a_model_that_says_nothing_runs_as_all_models_of_the_process(
    options: SessionOptions,
) -> None:
    (found,) = placed("max_batch_size: 4", options)

    assert found.instances == 1
    assert found.options.on_gpu == options.on_gpu
    assert found.options.threads == options.threads


@pytest.mark.parametrize(
    ("kind", "options", "providers"),
    [
        ("KIND_GPU", ON_CPU, (CUDA,)),
        ("KIND_GPU", ON_CUDA, (CUDA,)),
        ("KIND_CPU", ON_CUDA, (CPU,)),
        ("KIND_AUTO", ON_CPU, (CPU,)),
        ("KIND_MODEL", ON_CUDA, (CUDA,)),
    ],
)
def test_the_kind_of_an_instance_says_where_it_runs(
    kind: str, options: SessionOptions, providers: tuple[str, ...]
) -> None:
    (found,) = placed(f"instance_group [ {{ kind: {kind} count: 2 }} ]", options)

    assert found.options.providers == providers
    assert found.instances == 2


def test_copies_on_several_devices_are_counted_for_each() -> None:
    found = placed(
        "instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0, 1 ] }, { kind: KIND_GPU gpus: 1 },"
        " { kind: KIND_CPU count: 4 }, { kind: KIND_GPU gpus: 7 passive: true } ]"
    )

    assert [(each.options.on_gpu, each.options.device, each.instances) for each in found] == [
        (True, 0, 2),
        (True, 1, 3),
        (False, 0, 4),
    ]


def test_tensorrt_goes_before_cuda_with_tritons_settings() -> None:
    (found,) = placed(
        gpu(
            "tensorrt",
            'parameters { key: "precision_mode" value: "FP16" } '
            'parameters { key: "max_workspace_size_bytes" value: "1073741824" }',
        )
    )

    assert found.options.providers == (TENSORRT, CUDA)
    assert dict(with_settings(found.options))[TENSORRT] == {
        "device_id": "0",
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "1073741824",
    }


def test_openvino_is_for_the_processor_alone() -> None:
    assert placed(cpu("openvino"))[0].options.providers == (OPENVINO, CPU)
    assert placed(cpu("openvino"), ON_CUDA)[0].options.providers == (CUDA,)


def test_openvino_has_threads_for_all_runs_and_rounds_only_where_the_model_says_so() -> None:
    (plain,) = placed(cpu("openvino"), SessionOptions(threads=2))
    (coarse,) = placed(cpu("openvino", 'parameters { key: "precision_mode" value: "BF16" }'))

    assert openvino_settings(plain.options, 3) == {
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_NUM_THREADS": "6",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "3",
    }
    assert openvino_settings(coarse.options, 1)["INFERENCE_PRECISION_HINT"] == "bf16"
    assert (plain.options.rounds, coarse.options.rounds) == (False, True)


def test_an_accelerator_that_only_a_gpu_can_be_demands_one() -> None:
    text = gpu("cuda").replace("kind: KIND_GPU", "kind: KIND_AUTO")

    assert placed(text)[0].options.providers == (CUDA,)


def test_cuda_neither_doubles_its_arena_nor_rounds_unless_the_model_says_so() -> None:
    plain = SessionOptions(providers=(CUDA,), gpu_memory_bytes=1 << 30, device=2)
    (tuned,) = placed(
        gpu("cuda", 'parameters { key: "cudnn_conv_algo_search" value: "1" } '
                    'parameters { key: "use_tf32" value: "1" }')
    )  # fmt: skip

    assert dict(with_settings(plain))[CUDA] == {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "use_tf32": "0",
        "device_id": "2",
        "gpu_mem_limit": str(1 << 30),
    }
    assert dict(with_settings(tuned.options))[CUDA]["cudnn_conv_algo_search"] == "HEURISTIC"
    assert dict(with_settings(tuned.options))[CUDA]["use_tf32"] == "1"


def test_shrinking_and_threads_have_tritons_names() -> None:
    (found,) = placed("""
        parameters { key: "memory.enable_memory_arena_shrinkage" value: { string_value: "gpu:0" } }
        parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
    """)

    assert found.options.shrinks
    assert found.options.threads == 2


@pytest.mark.parametrize(
    "text",
    [
        gpu("rocket"),
        gpu("openvino"),
        cpu("openvino", 'parameters { key: "precision_mode" value: "INT8" }'),
        cpu("openvino", 'parameters { key: "CACHE_DIR" value: "/etc" }'),
        cpu("tensorrt"),
        gpu("cuda", 'parameters { key: "user_compute_stream" value: "1" }'),
        gpu("tensorrt", 'parameters { key: "trt_engine_cache_path" value: "/etc" }'),
        gpu("tensorrt", 'parameters { key: "precision_mode" value: "INT8" }'),
        'parameters { key: "intra_op_thread_count" value: { string_value: "-1" } }',
    ],
)
def test_what_cannot_be_honoured_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be honoured") as caught:
        placed(text)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"
