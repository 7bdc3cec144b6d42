"""The model repository: Triton's layout, bioimage.io cards, ONNX sessions."""

from __future__ import annotations

import os

# ONNX Runtime writes a device id into the home folder and sends events to its maker, from its
# import on, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
