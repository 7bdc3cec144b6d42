"""MONAI's sliding window over a volume, with torch, in its own environment: a peer of `volume.py`.

    PYTHON volume_monai.py FOLDER THREADS OVERLAP DEVICE

FOLDER holds `image.npy` (z, y, x) uint8, `graph.json` with the nodes of the network and
`weights.npz`. DEVICE is `cpu` or `cuda`. Each line of standard input is a `sw_batch_size`, the
sides z, y, x of the corner of the image to predict, and `fp32` or `fp16`; the answer is a line of
JSON with seconds of wall clock and of processor time. `map.npy` is the last result, (z, y, x)
uint8.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference  # type: ignore[import-not-found, unused-ignore]

WINDOW = (16, 128, 128)


def network(folder: Path, device: str, bits: str) -> Callable[[Any], Any]:
    """Return the network of `folder` as torch runs it on `device`."""
    nodes = json.loads((folder / "graph.json").read_text())
    half = bits == "fp16"
    # What the matrix units of a GPU want; 32 bits keep the usual order.
    order = torch.channels_last_3d if half else torch.contiguous_format

    def ready(array: Any) -> Any:
        array = array.to(device, torch.float16 if half else torch.float32)
        return array.contiguous(memory_format=order) if array.ndim == 5 else array

    with np.load(folder / "weights.npz") as file:
        weights = {name: ready(torch.from_numpy(file[name])) for name in file.files}

    def run(image: Any) -> Any:
        values = {**weights, "x": ready(image)}
        for kind, inputs, output in nodes:
            values[output] = OPERATIONS[kind](*(values[name] for name in inputs))
        return values["y"].to(torch.float32)

    return run


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Concat": lambda *parts: torch.cat(parts, dim=1),
    "Conv": lambda x, kernel, bias: F.conv3d(x, kernel, bias, padding=1),
    "ConvTranspose": lambda x, kernel: F.conv_transpose3d(x, kernel, stride=2),
    "Identity": lambda x: x,
    "MaxPool": lambda x: F.max_pool3d(x, 2),
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
}


def main() -> None:
    """Answer until standard input ends."""
    folder, threads, overlap = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    device = sys.argv[4]
    torch.set_num_threads(threads)
    # FP32 means FP32, as it does in the service.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = device == "cuda"
    networks: dict[str, Callable[[Any], Any]] = {}
    image = torch.from_numpy(np.load(folder / "image.npy"))[None, None]
    for line in sys.stdin:
        *numbers, bits = line.split()
        batch, z, y, x = map(int, numbers)
        if bits not in networks:
            networks[bits] = network(folder, device, bits)
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            found = sliding_window_inference(
                image[:, :, :z, :y, :x].to(device).to(torch.float32) / 255,
                WINDOW,
                sw_batch_size=batch,
                predictor=networks[bits],
                overlap=overlap,
                mode="gaussian",
                sigma_scale=0.1,
                padding_mode="reflect",
            )
            result = (found.clamp(0, 1) * 255).to(torch.uint8)[0, 0].cpu().numpy()
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        np.save(folder / "map.npy", result)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
