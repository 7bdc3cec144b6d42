"""Execution providers: their names, their settings, and whether they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnxruntime as ort

from parfocal_runtime.errors import WrongState
from parfocal_runtime.models import openvino_runs
from parfocal_runtime.quota import cpu_threads

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

PRECISION = "INFERENCE_PRECISION_HINT"
"""OpenVINO's setting of what floats are computed with."""

ON_GPU = frozenset({CUDA, TENSORRT})
"""Providers whose memory is that of an NVIDIA GPU."""

HALF = {CUDA: {"use_tf32": "1", "prefer_nhwc": "1"}}
"""Settings for graphs of 16-bit floats, whose matrix units want channels last. Without TF32 cuDNN
leaves out its fastest ways to run them, and they have no bits that it could cost."""

# What holds unless a model says otherwise. The arena grows by what is asked for and not by powers
# of two, since it never gives anything back; FP32 is FP32 and neither the 10 bits of TF32 nor the 7
# of BF16. Threads that are tied to cores wait for other work on them.
_DEFAULTS: dict[str, dict[str, str]] = {
    CUDA: {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "use_tf32": "0",
    },
    OPENVINO: {PRECISION: "f32", "ENABLE_CPU_PINNING": "NO"},
}


@dataclass(frozen=True)
class SessionOptions:
    """How models run."""

    providers: tuple[str, ...] = (CPU,)
    """Execution providers by ONNX Runtime's names, all demanded, best first."""
    threads: int = 0
    """Threads of one run; 0 is what the CPU quota gives."""
    device: int = 0
    """Number of the GPU."""
    gpu_memory_bytes: int = 0
    """Most memory that the arena of one session takes on a GPU; 0 is no limit."""
    shrinks: bool = False
    """Whether the arena on the GPU gives back after each run what it took for it."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More settings of providers, by ONNX Runtime's names, of OpenVINO by its own."""

    @property
    def rounds(self) -> bool:
        """Whether runs compute with fewer bits than the graph says."""
        coarse = {
            CUDA: self.settings.get(CUDA, {}).get("use_tf32") == "1",
            OPENVINO: self.settings.get(OPENVINO, {}).get(PRECISION, "f32") != "f32",
            TENSORRT: True,
        }
        return any(coarse.get(provider, False) for provider in self.providers)

    @property
    def on_gpu(self) -> bool:
        """Whether runs take place in the memory of a GPU."""
        return any(provider in ON_GPU for provider in self.providers)


def threads_of(options: SessionOptions) -> int:
    """Return the threads of one run."""
    return options.threads or cpu_threads()


def openvino_settings(options: SessionOptions, runs: int) -> dict[str, str]:
    """Return the settings of OpenVINO for so many runs at once."""
    return {
        **_settings(OPENVINO, options),
        "INFERENCE_NUM_THREADS": str(runs * threads_of(options)),
        "NUM_STREAMS": str(runs),
    }


def available() -> list[str]:
    """Return the providers whose packages are installed, best first."""
    own = [name for name in ort.get_available_providers() if name != OPENVINO]
    return [*([OPENVINO] if openvino_runs.is_there() else []), *own]


def with_settings(options: SessionOptions) -> list[tuple[str, dict[str, str]]]:
    """Return each provider with its settings, as ONNX Runtime takes them."""
    return [(provider, _settings(provider, options)) for provider in options.providers]


def require(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Check that each provider is among those that are there.

    Raises:
        WrongState: If one is not (`ERROR_REASON_PROVIDER_UNAVAILABLE`).
    """
    for provider in wanted:
        if provider not in there:
            hint = "; pip install 'parfocal[openvino]' brings it" if provider == OPENVINO else ""
            raise unavailable(provider, f"only {', '.join(there)} can be used here{hint}")


def unavailable(provider: str, cause: str) -> WrongState:
    """Return the error for a provider that was demanded and cannot be used."""
    return WrongState(
        "ERROR_REASON_PROVIDER_UNAVAILABLE",
        f"{provider} was demanded, and {cause}",
        provider=provider,
        available=", ".join(available()),
        cause=cause,
    )


def _settings(provider: str, options: SessionOptions) -> dict[str, str]:
    settings = dict(_DEFAULTS.get(provider, {}))
    if provider in ON_GPU:
        settings["device_id"] = str(options.device)
    if provider == CUDA and options.gpu_memory_bytes:
        settings["gpu_mem_limit"] = str(options.gpu_memory_bytes)
    return {**settings, **options.settings.get(provider, {})}
