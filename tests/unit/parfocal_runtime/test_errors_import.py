from __future__ import annotations

import subprocess
import sys

CHECK = """
import sys
import parfocal_runtime.errors, parfocal_runtime.box, parfocal_runtime.layout
foreign = {"grpc", "google", "numpy", "minio", "structlog"} & set(sys.modules)
sys.exit(f"imported {foreign}" if foreign else 0)
"""


def test_errors_boxes_and_paths_import_nothing_but_the_standard_library() -> None:
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}

    done = subprocess.run(
        [sys.executable, "-S", "-c", CHECK], env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
